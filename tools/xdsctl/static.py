"""Resources as the static part of a bootstrap, so that `envoy --mode validate` looks at them.

Envoy looks at nothing in that mode that would come later: what a listener would get by RDS and a cluster by EDS. So
every resource is taken apart into *units*, each of which is put where Envoy looks at it, and can be left out:

    a listener           as itself, with an empty route configuration in place of what comes by RDS
    a route configuration  in an internal listener made for it, without its routes
    a route              in its route configuration
    a cluster            as itself, with no endpoints in place of what comes by EDS
    endpoints            in a static cluster made for them

What units say of each other is not Envoy's to refuse: it takes a route to a cluster that is not there, and answers 503.
`dangling` finds that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xds.bootstrap import sidecar_bootstrap
from xds.registry.regex import MAX_PROGRAM_SIZE
from xdsctl.resources import Resource

Json = dict[str, Any]
NOWHERE = "xdsctl-nowhere"
"""The cluster of an ADS server that isn't asked: resources may refer to ADS."""
_ASKED = {
    "api_type": "GRPC",
    "transport_api_version": "V3",
    "grpc_services": [{"envoy_grpc": {"cluster_name": NOWHERE}}],
}
GATEWAYS_OWN = frozenset({"accept", "jwks", "laptops"})
"""The clusters of a gateway's bootstrap that its routes lead to."""
_MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = {
    "name": "envoy.filters.http.router",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
}


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """A part that Envoy can be shown without the others. `route` names one of a route configuration."""

    type: str
    name: str
    body: Json
    place: tuple[int, int] | None = None
    """Of a route: the numbers of its virtual host, and of itself in that."""
    route: str = ""

    @property
    def title(self) -> str:
        """As people name it."""
        return f"{self.type} {self.name}" + (f", route {self.route}" if self.place else "")


def units_of(resources: Mapping[str, Sequence[Resource]]) -> tuple[list[Unit], list[Unit]]:
    """What to show Envoy at first, and, once it has taken all of that, the routes of the configurations."""
    frames = [Unit(kind, one.name, one.body) for kind in _BUILDERS for one in resources.get(kind, ())]
    routes = []
    for one in resources.get("routes", ()):
        for number, host in enumerate(one.body.get("virtual_hosts", [])):
            for index, route in enumerate(host.get("routes", [])):
                name = route.get("name") or f"{index + 1} of virtual host {host.get('name', number + 1)}"
                routes.append(Unit("routes", one.name, one.body, (number, index), name))
    return frames, routes


def bootstrap(units: Iterable[Unit], node: str) -> Json:
    """A bootstrap in which Envoy looks at these units, with what a sidecar's bootstrap allows and limits."""
    template = sidecar_bootstrap(
        {
            **{"node": node, "workload": node.rpartition("/")[0] or node, "max_program_size": MAX_PROGRAM_SIZE},
            **{"admin_socket": "", "manager_host": "", "manager_port": 1, "secret_file": ""},
        }
    )
    kept = {key: template[key] for key in ("node", "bootstrap_extensions", "layered_runtime")}
    listeners: list[Json] = []
    clusters: list[Json] = [{"name": NOWHERE, "type": "STATIC", "load_assignment": {"cluster_name": NOWHERE}}]
    together: dict[tuple[str, str], list[Unit]] = {}
    for unit in units:
        together.setdefault((unit.type, unit.name), []).append(unit)
    for (kind, _), those in together.items():
        place = clusters if kind in {"clusters", "endpoints"} else listeners
        place.append(_BUILDERS[kind](those))
    static = {"listeners": listeners, "clusters": clusters}
    return {**kept, "dynamic_resources": {"ads_config": _ASKED}, "static_resources": static}


def _listener(those: Sequence[Unit]) -> Json:
    return {key: _without_rds(value) for key, value in _plain(those[0].body).items()}


def _without_rds(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_rds(each) for each in value]
    if not isinstance(value, dict):
        return value
    if value.get("@type") == _MANAGER and "rds" in value:
        rest = {key: each for key, each in value.items() if key != "rds"}
        return {**rest, "route_config": {"name": value["rds"].get("route_config_name", "")}}
    return {key: _without_rds(each) for key, each in value.items()}


def _routes(those: Sequence[Unit]) -> Json:
    wanted = {one.place for one in those}
    body = _plain(those[0].body)
    hosts = []
    for number, host in enumerate(body.get("virtual_hosts", [])):
        routes = [route for index, route in enumerate(host.get("routes", [])) if (number, index) in wanted]
        hosts.append({**host, "routes": routes})
    # By RDS a route may lead to a cluster that is not there yet; that is the default there, and not here.
    configuration = {**body, "virtual_hosts": hosts, "validate_clusters": False}
    manager = {"@type": _MANAGER, "stat_prefix": "routes", "route_config": configuration, "http_filters": [_ROUTER]}
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {"name": f"routes {those[0].name}", "internal_listener": {}, "filter_chains": [chain]}


def _cluster(those: Sequence[Unit]) -> Json:
    body: Json = _secrets_without_ads(_plain(those[0].body))
    if body.get("type") != "EDS":
        return body
    rest = {key: value for key, value in body.items() if key != "eds_cluster_config"}
    return {**rest, "type": "STATIC", "load_assignment": {"cluster_name": body.get("name", "")}}


def _secrets_without_ads(value: Any) -> Any:
    """With secrets by a stream of their own: a static cluster comes before ADS does, and Envoy 1.40 crashes on that."""
    if isinstance(value, list):
        return [_secrets_without_ads(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "ads" in value.get("sds_config", {}):
        rest = {key: each for key, each in value["sds_config"].items() if key != "ads"}
        return {**value, "sds_config": {**rest, "api_config_source": _ASKED}}
    return {key: _secrets_without_ads(each) for key, each in value.items()}


def _endpoints(those: Sequence[Unit]) -> Json:
    name = f"endpoints {those[0].name}"
    assignment = {**_plain(those[0].body), "cluster_name": name}
    return {"name": name, "type": "STATIC", "load_assignment": assignment}


_BUILDERS: dict[str, Callable[[Sequence[Unit]], Json]] = {
    "clusters": _cluster,
    "endpoints": _endpoints,
    "listeners": _listener,
    "routes": _routes,
}


def _plain(body: Json) -> Json:
    """Without its type, which a message that stands in a field of its own type has not."""
    return {key: value for key, value in body.items() if key != "@type"}


def dangling(resources: Mapping[str, Sequence[Resource]], own: Iterable[str] = ()) -> list[str]:
    """What refers to something that isn't there, as sentences. `own`: the clusters of the node's bootstrap."""
    there = {kind: {one.name for one in resources.get(kind, ())} for kind in _BUILDERS}
    there["clusters"].update(own)
    found = [
        f"listeners {one.name} asks for routes {name}, which there are not"
        for one in resources.get("listeners", ())
        for name in _named(one.body, "rds", "route_config_name")
        if name not in there["routes"]
    ]
    for kind in ("listeners", "routes"):
        for one in resources.get(kind, ()):
            names = dict.fromkeys(_clusters(one.body))
            found += [
                f"{kind} {one.name} leads to cluster {name}, which there is not"
                for name in names
                if name not in there["clusters"]
            ]
    return found


def _named(value: Any, holder: str, key: str) -> Iterator[str]:
    """The texts under a key in a mapping of that name, wherever it stands."""
    if isinstance(value, list):
        for each in value:
            yield from _named(each, holder, key)
    elif isinstance(value, dict):
        for name, each in value.items():
            if name == holder and isinstance(each, dict) and each.get(key):
                yield str(each[key])
            yield from _named(each, holder, key)


def _clusters(value: Any) -> Iterator[str]:
    """The clusters that routes and TCP proxies lead to, or copy to."""
    if isinstance(value, list):
        for each in value:
            yield from _clusters(each)
        return
    if not isinstance(value, dict):
        return
    if str(value.get("@type", "")).endswith(".TcpProxy") and "cluster" in value:
        yield value["cluster"]
    for name, each in value.items():
        if name == "route" and isinstance(each, dict) and "cluster" in each:
            yield each["cluster"]
        if name == "weighted_clusters" and isinstance(each, dict):
            yield from (one["name"] for one in each.get("clusters", []) if "name" in one)
        if name == "request_mirror_policies":
            yield from (one["cluster"] for one in each if "cluster" in one)
        yield from _clusters(each)
