"""One workload: all of its resources, each spliced from fragments that are serialised once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from xds.compile import cluster, endpoint, names, wire
from xds.compile.listener import listener
from xds.compile.match import Gate, route_match, route_matches
from xds.compile.route import app_route, intercept_route
from xds.compile.state import Routed, WorkloadState
from xds.registry.intercept import Intercept, Kind, WhenDown
from xds.registry.precedence import sort_key
from xds.registry.workload import Address, AppProtocol, Instance, Port, WorkloadId

Named = dict[str, bytes]
"""Serialised resources of one type by name."""


@dataclass(slots=True)
class Compiled:
    """The resources of a workload: those that its instances share, and each instance's own by instance id."""

    clusters: Named = field(default_factory=dict)
    routes: Named = field(default_factory=dict)
    listeners: dict[str, Named] = field(default_factory=dict)
    endpoints: dict[str, Named] = field(default_factory=dict)


def compile_workload(state: WorkloadState) -> Compiled:
    """Compile a workload. UDP ports have no resources."""
    out = Compiled(
        listeners={instance: {} for instance in state.workload.instances},
        endpoints={instance: {} for instance in state.workload.instances},
    )
    for port in state.workload.ports:
        if port.protocol is not AppProtocol.UDP:
            _compile_port(out, state, port)
    return out


def _compile_port(out: Compiled, state: WorkloadState, port: Port) -> None:
    workload = state.workload
    name = names.port(workload.id, port.number)
    app = names.app_cluster(workload.id, port.number)
    routed = [one for one in state.routed if port.number in one.laptops]
    out.clusters[app] = _app_cluster(app)
    if port.protocol.may_be_http:
        out.routes[name] = route_configuration(name, app, workload.id, port.number, routed)
    for one in routed:
        laptop = laptop_cluster(one.intercept, workload.id, port.number)
        out.clusters[laptop] = _laptop_cluster(laptop)
    for instance in workload.instances.values():
        out.listeners[instance.id][name] = _listener(name, instance.listen[port.number], port.protocol, app)
        out.endpoints[instance.id].update(_endpoints(workload.id, port, instance, app, routed))


def _endpoints(workload: WorkloadId, port: Port, instance: Instance, app: str, routed: list[Routed]) -> Named:
    address = instance.app[port.number]
    found = {app: endpoint.app(app, address)}
    for one in routed:
        name = laptop_cluster(one.intercept, workload, port.number)
        fallback = address if one.intercept.spec.when_down is WhenDown.CLUSTER else None
        found[name] = endpoint.laptop(name, one.laptops[port.number], fallback)
    return found


def laptop_cluster(intercept: Intercept, workload: WorkloadId, port: int) -> str:
    """The name of the cluster that takes an intercept's requests on a port. Raises KeyError for another's port."""
    target = intercept.spec.target(port)
    if target is None:
        raise KeyError(port)
    return names.laptop_cluster(workload, port, intercept.session, target, intercept.spec.when_down)


def route_configuration(name: str, app: str, workload: WorkloadId, port: int, routed: list[Routed]) -> bytes:
    """The RouteConfiguration of a port: name = 1, virtual_hosts = 2 {name = 1, domains = 2, routes = 3}."""
    routes = wire.repeated(3, _routes(app, workload, port, routed))
    host = wire.text(1, "all") + wire.text(2, "*") + routes
    return wire.text(1, name) + wire.field(2, host)


def _routes(app: str, workload: WorkloadId, port: int, routed: list[Routed]) -> Iterator[bytes]:
    by_precedence = sorted(routed, key=lambda one: sort_key(one.intercept))
    personal = [one for one in by_precedence if one.intercept.spec.kind is Kind.PERSONAL]
    everything = [one for one in by_precedence if one.intercept.spec.kind in {Kind.GLOBAL, Kind.REPLACE}]
    gated = [one for one in personal if one.intercept.spec.match.gated]
    plain = [one for one in personal if not one.intercept.spec.match.gated]
    gate = Gate.of(one.intercept.spec.match for one in gated)

    def intercepts(those: list[Routed], behind: Gate | None = None) -> Iterator[bytes]:
        for one in those:
            yield from _intercept_routes(one, laptop_cluster(one.intercept, workload, port), behind)

    if gate:
        yield from intercepts(plain, gate)
        if everything:
            first = everything[0]
            yield from _intercept_routes(first, laptop_cluster(first.intercept, workload, port), gate)
        else:
            yield _app_route(app, gate)
        yield from intercepts(gated)
    yield from intercepts(plain)
    yield from intercepts(everything)
    yield _app_route(app, None)


@lru_cache(maxsize=65536)
def _fragments(routed: _RouteKey, cluster_name: str, gate: Gate | None) -> tuple[bytes, ...]:
    return tuple(
        bytes(intercept_route(routed.value, cluster_name, match))
        for match in route_matches(routed.value.intercept.spec.match, gate)
    )


@dataclass(frozen=True, slots=True)
class _RouteKey:
    """What of a routed intercept is in its routes: neither its disposition nor its laptop's health."""

    id: str
    away_since: str
    value: Routed = field(compare=False, hash=False)


def _intercept_routes(routed: Routed, cluster_name: str, gate: Gate | None) -> tuple[bytes, ...]:
    # Ids are never used twice and what the routes show of an intercept never changes.
    return _fragments(_RouteKey(routed.intercept.id, routed.away_since, routed), cluster_name, gate)


@lru_cache(maxsize=4096)
def _app_route(app: str, gate: Gate | None) -> bytes:
    return bytes(app_route(app, route_match(None, gate.matchers() if gate else [])))


@lru_cache(maxsize=4096)
def _app_cluster(name: str) -> bytes:
    return bytes(cluster.app(name))


@lru_cache(maxsize=65536)
def _laptop_cluster(name: str) -> bytes:
    return bytes(cluster.laptop(name))


@lru_cache(maxsize=4096)
def _listener(name: str, address: Address, protocol: AppProtocol, app: str) -> bytes:
    return bytes(listener(name, address, protocol, app))


def cache_sizes() -> Mapping[str, int]:
    """How many fragments are kept, by kind."""
    caches = {"routes": _fragments, "app routes": _app_route, "clusters": _laptop_cluster, "listeners": _listener}
    return {kind: cache.cache_info().currsize for kind, cache in caches.items()}
