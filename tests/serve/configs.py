"""Resources for tests: opaque ones, and real Envoy configuration made with envoy-data-plane."""

from __future__ import annotations

from typing import Any

from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    ClusterDiscoveryType,
    ClusterEdsClusterConfig,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    AggregatedConfigSource,
    ApiVersion,
    ConfigSource,
    SocketAddress,
)
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import (
    HeaderMatcher,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpFilter,
    Rds,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher
from envoy_data_plane.google.protobuf import Any as AnyMessage

from xds.serve import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource
from xds.serve.protobuf import encode_field, fields

_TYPES: dict[Any, str] = {
    Cluster: CLUSTER,
    ClusterLoadAssignment: ENDPOINT,
    Listener: LISTENER,
    RouteConfiguration: ROUTE,
}


def opaque(type_url: str, name: str, content: str = "1", *, eds: str | None = None) -> Resource:
    """A resource with no meaning: name and content in a field that no type has. `eds` makes a cluster that asks for
    endpoints under that name."""
    body = encode_field(100, f"{name}={content}")
    if eds is not None:
        body += encode_field(3, encode_field(2, eds))
    return Resource.of(type_url, name, body)


def content_of(body: bytes) -> tuple[str, str]:
    """Name and content of an opaque resource."""
    (value,) = (value for number, _, value in fields(body) if number == 100)
    assert isinstance(value, bytes)
    name, _, content = value.decode().rpartition("=")
    return name, content


def resource(message: Any) -> Resource:
    name = message.cluster_name if isinstance(message, ClusterLoadAssignment) else message.name
    return Resource.of(_TYPES[type(message)], name, bytes(message))


def _packed(message: Any, type_name: str) -> AnyMessage:
    return AnyMessage(type_url=f"type.googleapis.com/{type_name}", value=bytes(message))


_ADS = ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)


def _address(port: int) -> Address:
    return Address(socket_address=SocketAddress(address="127.0.0.1", port_value=port))


def eds_cluster(name: str, service: str = "") -> Resource:
    config = ClusterEdsClusterConfig(eds_config=_ADS, service_name=service)
    return resource(Cluster(name=name, type=ClusterDiscoveryType.EDS, eds_cluster_config=config))


def endpoints(name: str, port: int) -> Resource:
    endpoint = LbEndpoint(endpoint=Endpoint(address=_address(port)))
    return resource(ClusterLoadAssignment(cluster_name=name, endpoints=[LocalityLbEndpoints(lb_endpoints=[endpoint])]))


def listener(name: str, port: int, route: str) -> Resource:
    router = HttpFilter(name="router", typed_config=_packed(Router(), "envoy.extensions.filters.http.router.v3.Router"))
    manager = HttpConnectionManager(
        stat_prefix="test", rds=Rds(config_source=_ADS, route_config_name=route), http_filters=[router]
    )
    kind = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    chain = FilterChain(filters=[Filter(name="http", typed_config=_packed(manager, kind))])
    return resource(Listener(name=name, address=_address(port), filter_chains=[chain]))


def routes(name: str, cluster: str, regex: str | None = None) -> Resource:
    """Everything to one cluster; `regex` adds a condition on a header to a first route."""
    to_cluster = Route(match=RouteMatch(prefix="/"), route=RouteAction(cluster=cluster))
    first = []
    if regex is not None:
        value = StringMatcher(safe_regex=RegexMatcher(regex=regex))
        match = RouteMatch(prefix="/", headers=[HeaderMatcher(name="x-test", string_match=value)])
        first = [Route(match=match, route=RouteAction(cluster=cluster))]
    host = VirtualHost(name="all", domains=["*"], routes=[*first, to_cluster])
    return resource(RouteConfiguration(name=name, virtual_hosts=[host]))
