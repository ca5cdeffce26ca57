"""What the laptop's Envoy does with the requests that come on a tunnel: its HTTP connection manager, the routes to the
declared targets, and their clusters.

Two clusters for each target, since the process is spoken to as the client spoke: HTTP/1.1, or HTTP/2 in clear. Raw
connections (CONNECT) go to the daemon, see `envoy_raw`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterDiscoveryType,
    ClusterDnsLookupFamily,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    DataSource,
    Http2ProtocolOptions,
    KeepaliveSettings,
    Pipe,
    SocketAddress,
)
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    EndpointAdditionalAddress,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    FilterConfig,
    HeaderMatcher,
    Route,
    RouteAction,
    RouteActionUpgradeConfig,
    RouteConfiguration,
    RouteMatch,
    RouteMatchConnectMatcher,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from xds.client.tunnel.addresses import addresses_of
from xds.client.tunnel.contract import AWAY_HEADER, PROTOCOL_HEADER, TARGET_HEADER, Target
from xds.compile.cluster import UNLIMITED
from xds.compile.encode import encode, pack
from xds.compile.transparent import FOREVER, MAX_HEADERS_KB, common_options, http1_options
from xds.serve import CLUSTER, ROUTE, Resource

ROUTES = "targets"
"""The name of the route configuration."""

STREAM_WINDOW = 1 << 20
CONNECTION_WINDOW = 64 << 20
"""Bytes of HTTP/2's windows. With Envoy's defaults (16 MiB, 24 MiB), two slow downloads take the whole
connection's window and stall every other request on it."""

MANY_STREAMS = (1 << 31) - 1
MANY_FRAMES = 1 << 24
"""The gateway is no stranger: it has proved itself, and multiplexes all requests on one connection. Envoy's limits
against floods would end that connection, and with it all of them."""

RAW = "raw"
"""The cluster of the daemon, which makes raw connections: a Unix socket in Envoy's folder."""
STRIP = "strip"
"""The filter that takes our headers away."""

TARGET_CONNECT_TIMEOUT = timedelta(seconds=4)
"""One whose backlog overflows is busy, not away: the kernel asks it again after one second and after three."""

UNDECLARED = "no intercept of this laptop has that target\n"

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def http2_options() -> Http2ProtocolOptions:
    """HTTP/2 with many streams that don't get in each other's way, and with upgrades (RFC 8441)."""
    return Http2ProtocolOptions(
        allow_connect=True,
        max_concurrent_streams=MANY_STREAMS,
        initial_stream_window_size=STREAM_WINDOW,
        initial_connection_window_size=CONNECTION_WINDOW,
        max_outbound_frames=MANY_FRAMES,
        max_outbound_control_frames=MANY_FRAMES,
        # One malformed message ends its own stream, and not everybody's.
        override_stream_error_on_invalid_http_message=True,
    )


def keepalive(interval: float, timeout: float) -> KeepaliveSettings:
    """PINGs, which notice a silent peer within `interval` + `timeout` seconds."""
    return KeepaliveSettings(interval=timedelta(seconds=interval), timeout=timedelta(seconds=timeout))


def target_resources(targets: Iterable[Target]) -> list[Resource]:
    """The clusters of these targets, and the route configuration that leads to them and to nothing else."""
    ordered = sorted(targets)
    clusters = [
        Resource.of(CLUSTER, cluster.name, encode(cluster))
        for target in ordered
        for cluster in (_cluster(target, http2=False), _cluster(target, http2=True))
    ]
    host = VirtualHost(
        name="all",
        domains=["*"],
        routes=[*(route for target in ordered for route in _routes(target)), *_refusals()],
    )
    # A route may come a moment before its cluster only where both are new, and then nobody uses it yet.
    table = RouteConfiguration(name=ROUTES, virtual_hosts=[host], validate_clusters=False)
    return [Resource.of(CLUSTER, RAW, encode(_raw_cluster())), *clusters, Resource.of(ROUTE, ROUTES, encode(table))]


def _name(target: Target, *, http2: bool) -> str:
    return f"{'http2' if http2 else 'http1'}/{target.authority}"


def _routes(target: Target) -> Iterator[Route]:
    mine = _header(TARGET_HEADER, target.authority)
    raw = _to(RAW)
    raw.upgrade_configs = [RouteActionUpgradeConfig(upgrade_type="CONNECT")]
    http2 = [mine, _header(PROTOCOL_HEADER, "HTTP/2")]
    # Whoever makes the connection goes by our headers, and takes them away.
    kept = {STRIP: pack(FilterConfig(disabled=True))}
    connect = RouteMatch(connect_matcher=RouteMatchConnectMatcher(), headers=[mine])
    yield Route(match=connect, route=raw, typed_per_filter_config=kept)
    yield _route(RouteMatch(prefix="", headers=http2), _to(_name(target, http2=True)))
    yield _route(RouteMatch(prefix="", headers=[mine]), _to(_name(target, http2=False)))


def _route(match: RouteMatch, action: RouteAction) -> Route:
    # Who may say that nothing was processed is this Envoy, not the process.
    return Route(match=match, route=action, response_headers_to_remove=[AWAY_HEADER])


def _to(cluster: str) -> RouteAction:
    return RouteAction(cluster=cluster, timeout=FOREVER, idle_timeout=FOREVER)


def _refusals() -> Iterator[Route]:
    for match in (RouteMatch(connect_matcher=RouteMatchConnectMatcher()), RouteMatch(prefix="")):
        body = DataSource(inline_string=UNDECLARED)
        yield Route(match=match, direct_response=DirectResponseAction(status=403, body=body))


def _header(name: str, value: str) -> HeaderMatcher:
    return HeaderMatcher(name=name, string_match=StringMatcher(exact=value))


def _raw_cluster() -> Cluster:
    options = HttpProtocolOptions(
        common_http_protocol_options=common_options(),
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=http2_options()),
    )
    endpoint = Endpoint(address=Address(pipe=Pipe(path=RAW)))
    localities = [LocalityLbEndpoints(lb_endpoints=[LbEndpoint(endpoint=endpoint)])]
    return Cluster(
        name=RAW,
        type=ClusterDiscoveryType.STATIC,
        connect_timeout=TARGET_CONNECT_TIMEOUT,
        circuit_breakers=_unlimited(),
        load_assignment=ClusterLoadAssignment(cluster_name=RAW, endpoints=localities),
        typed_extension_protocol_options={HTTP_OPTIONS: pack(options)},
    )


def _unlimited() -> CircuitBreakers:
    limits = CircuitBreakersThresholds(
        max_connections=UNLIMITED, max_pending_requests=UNLIMITED, max_requests=UNLIMITED, max_retries=UNLIMITED
    )
    return CircuitBreakers(thresholds=[limits])


def _cluster(target: Target, *, http2: bool) -> Cluster:
    common = common_options()
    common.max_response_headers_kb = MAX_HEADERS_KB
    explicit = (
        HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=http2_options())
        if http2
        else HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=http1_options())
    )
    options = HttpProtocolOptions(common_http_protocol_options=common, explicit_http_config=explicit)
    cluster = located(_name(target, http2=http2), target.host, target.port, TARGET_CONNECT_TIMEOUT)
    cluster.circuit_breakers = _unlimited()
    cluster.typed_extension_protocol_options = {HTTP_OPTIONS: pack(options)}
    return cluster


def located(name: str, host: str, port: int, connect_timeout: timedelta) -> Cluster:
    """A cluster of one endpoint. Where the host stands for several addresses, the next is tried when one refuses."""
    addresses = addresses_of(host)
    endpoint = Endpoint(
        address=_address((addresses or (host,))[0], port),
        additional_addresses=[EndpointAdditionalAddress(address=_address(each, port)) for each in addresses[1:]],
    )
    localities = [LocalityLbEndpoints(lb_endpoints=[LbEndpoint(endpoint=endpoint)])]
    cluster = Cluster(
        name=name,
        type=ClusterDiscoveryType.STATIC,
        connect_timeout=connect_timeout,
        load_assignment=ClusterLoadAssignment(cluster_name=name, endpoints=localities),
    )
    if not addresses:
        cluster.type = ClusterDiscoveryType.LOGICAL_DNS
        cluster.dns_lookup_family = ClusterDnsLookupFamily.ALL
        # A name that can't be resolved now must not hold up what else is to be in force.
        cluster.wait_for_warm_on_init = False
    return cluster


def _address(host: str, port: int) -> Address:
    return Address(socket_address=SocketAddress(address=host, port_value=port))
