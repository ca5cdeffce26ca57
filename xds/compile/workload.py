"""One workload: all of its resources, each spliced from fragments that are serialised once."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from xds.compile import cluster, endpoint, hop, names, tcp
from xds.compile.encode import encode
from xds.compile.keep import Kept, intercept_key
from xds.compile.listener import listener
from xds.compile.route_table import route_configuration, whole_port
from xds.compile.same import Same
from xds.compile.state import Routed, WorkloadState
from xds.registry.gateway import Gateway
from xds.registry.intercept import Intercept, Kind
from xds.registry.workload import Address, AppProtocol, Port, Workload

Named = dict[str, bytes]
"""Serialised resources of one type by name."""


@dataclass(slots=True)
class Compiled:
    """The resources of a workload: those that its instances share, and each instance's own by instance id."""

    clusters: Named = field(default_factory=dict)
    routes: Named = field(default_factory=dict)
    hops: Named = field(default_factory=dict)
    """Internal listeners."""
    listeners: dict[str, Named] = field(default_factory=dict)
    endpoints: dict[str, Named] = field(default_factory=dict)


def compile_workload(state: WorkloadState) -> Compiled:
    """Compile a workload. UDP ports have no resources."""
    out = Compiled(
        listeners={instance: {} for instance in state.workload.instances},
        endpoints={instance: {} for instance in state.workload.instances},
    )
    if state.gateways:
        out.clusters[names.GATEWAYS] = _gateways_cluster()
        for named in out.endpoints.values():
            named[names.GATEWAYS] = _gateways(state.gateways)
    for port in state.workload.ports:
        if port.protocol is not AppProtocol.UDP:
            _compile_port(out, state, port)
    return out


def _compile_port(out: Compiled, state: WorkloadState, port: Port) -> None:
    name = names.port(state.workload.id, port.number)
    tcp_cluster = names.tcp_cluster(state.workload.id, port.number)
    for instance in state.workload.instances.values():
        out.listeners[instance.id][name] = _listener(name, instance.listen[port.number], port.protocol, tcp_cluster)
    if port.protocol.may_be_http:
        _compile_requests(out, state, port.number)
    if port.protocol.may_be_tcp:
        _compile_connections(out, state, port.number)


def _compile_requests(out: Compiled, state: WorkloadState, port: int) -> None:
    """What takes a port's requests to the app and to laptops."""
    workload = state.workload
    app = names.app_cluster(workload.id, port)
    routed = _on_port(state.routed, port)
    out.clusters[app] = _app_cluster(app)
    tokens = state.explaining.get(port, frozenset())
    out.routes[names.port(workload.id, port)] = route_configuration(workload.id, port, routed, tokens)
    for instance in workload.instances.values():
        here = endpoint.app_locality(instance.app[port], priority=0)
        out.endpoints[instance.id][app] = endpoint.assignment(app, [here])
    ways = [Same(one) for one in (*routed, *_on_port(state.lingering, port))]
    for way in ways:
        clusters, hops = _way(way, port)
        out.clusters.update(clusters)
        out.hops.update(hops)
    for instance in workload.instances.values():
        own, address = out.endpoints[instance.id], instance.app[port]
        for way in ways:
            own.update(_way_from(way, port, address))


@lru_cache(maxsize=16384)
def _way(routed: Same[Routed], port: int) -> tuple[Named, Named]:
    """The clusters and the hop that take requests to a laptop. The same object means that nothing has become of it."""
    intercept, reach = routed.value.intercept, routed.value.laptops[port]
    name = names.intercept_cluster(intercept.spec.workload, port, intercept.id)
    laptop = "" if reach.tunnel else names.laptop_cluster(name)
    clusters: Named = {name: _hop_cluster(name)}
    hops: Named = {}
    if laptop:
        clusters[laptop] = _laptop_cluster(laptop)
    if reach.up:
        listener_name = names.hop(name, reach.generation)
        key = intercept_key(intercept)
        hops[listener_name] = _hop(listener_name, laptop, key) if laptop else _gateway_hop(listener_name, port, key)
    return clusters, hops


@lru_cache(maxsize=131072)
def _way_from(routed: Same[Routed], port: int, app: Address) -> Named:
    """The endpoints of these clusters, for an instance whose app is there."""
    intercept = routed.value.intercept
    name = names.intercept_cluster(intercept.spec.workload, port, intercept.id)
    return hop.assignments(name, intercept, routed.value.laptops[port], app)


def _compile_connections(out: Compiled, state: WorkloadState, port: int) -> None:
    """What takes a port's connections that carry no HTTP to the app, or all of them to one laptop."""
    workload = state.workload
    name = names.tcp_cluster(workload.id, port)
    routed = _on_port(state.routed, port)
    holder = whole_port(routed)
    way = (names.intercept_cluster(workload.id, port, holder.intercept.id), holder) if holder else None
    out.clusters[name] = _tcp_cluster(name)
    for instance in workload.instances.values():
        out.endpoints[instance.id][name] = tcp.assignment(name, way, port, instance.app[port])
    for one in [*routed, *_on_port(state.lingering, port)]:
        if one.intercept.spec.kind is not Kind.PERSONAL:
            _compile_tcp_way(out, workload, one, port)


def _compile_tcp_way(out: Compiled, workload: Workload, routed: Routed, port: int) -> None:
    """The cluster and the hop that take connections to a laptop."""
    name = names.intercept_cluster(workload.id, port, routed.intercept.id)
    reach = routed.laptops[port]
    if reach.tunnel:
        if reach.up:
            listener_name = names.tcp_hop(name, reach.generation)
            out.hops[listener_name] = _tcp_gateway_hop(listener_name, port, intercept_key(routed.intercept))
        return
    laptop = names.tcp_laptop_cluster(name)
    out.clusters[laptop] = _tcp_laptop_cluster(laptop)
    if reach.up:
        listener_name = names.tcp_hop(name, reach.generation)
        out.hops[listener_name] = _tcp_hop(listener_name, laptop)
    for instance in workload.instances.values():
        found = tcp.laptop_assignment(laptop, routed.intercept, reach, instance.app[port])
        out.endpoints[instance.id][laptop] = found


def _on_port(those: tuple[Routed, ...], port: int) -> list[Routed]:
    return [one for one in those if port in one.laptops]


@lru_cache(maxsize=8192)
def _hop(name: str, laptop_cluster: str, intercept: Kept[Intercept]) -> bytes:
    return encode(hop.internal_listener(name, intercept.value, laptop_cluster))


@lru_cache(maxsize=8192)
def _gateway_hop(name: str, port: int, intercept: Kept[Intercept]) -> bytes:
    return encode(hop.gateway_listener(name, intercept.value, port))


@lru_cache(maxsize=8192)
def _tcp_gateway_hop(name: str, port: int, intercept: Kept[Intercept]) -> bytes:
    return encode(tcp.gateway_listener(name, intercept.value, port))


@lru_cache(maxsize=8)
def _gateways_cluster() -> bytes:
    return encode(cluster.gateways())


@lru_cache(maxsize=64)
def _gateways(gateways: tuple[Gateway, ...]) -> bytes:
    return endpoint.assignment(names.GATEWAYS, [endpoint.gateways_locality(gateways)])


@lru_cache(maxsize=8192)
def _app_cluster(name: str) -> bytes:
    return encode(cluster.app(name))


@lru_cache(maxsize=65536)
def _hop_cluster(name: str) -> bytes:
    return encode(cluster.hop(name))


@lru_cache(maxsize=65536)
def _laptop_cluster(name: str) -> bytes:
    return encode(cluster.laptop(name))


@lru_cache(maxsize=8192)
def _tcp_hop(name: str, laptop_cluster: str) -> bytes:
    return encode(tcp.internal_listener(name, laptop_cluster))


@lru_cache(maxsize=8192)
def _tcp_cluster(name: str) -> bytes:
    return encode(cluster.tcp(name))


@lru_cache(maxsize=65536)
def _tcp_laptop_cluster(name: str) -> bytes:
    return encode(cluster.tcp_laptop(name))


@lru_cache(maxsize=8192)
def _listener(name: str, address: Address, protocol: AppProtocol, tcp_cluster: str) -> bytes:
    return encode(listener(name, address, protocol, tcp_cluster))
