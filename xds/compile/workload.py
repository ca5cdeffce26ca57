"""One workload: all of its resources, each spliced from fragments that are serialised once."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from xds.compile import cluster, endpoint, hop, names
from xds.compile.encode import encode
from xds.compile.keep import Kept, intercept_key
from xds.compile.listener import listener
from xds.compile.route_table import route_configuration
from xds.compile.state import Routed, WorkloadState
from xds.registry.intercept import Intercept
from xds.registry.workload import Address, AppProtocol, Instance, Port, WorkloadId

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
        out.routes[name] = route_configuration(workload.id, port.number, routed)
    ways = [*routed, *(one for one in state.lingering if port.number in one.laptops)]
    for one in ways:
        _compile_way(out, one, names.intercept_cluster(workload.id, port.number, one.intercept.id), port.number)
    for instance in workload.instances.values():
        out.listeners[instance.id][name] = _listener(name, instance.listen[port.number], port.protocol, app)
        out.endpoints[instance.id].update(_endpoints(workload.id, port.number, instance, app, ways))


def _compile_way(out: Compiled, routed: Routed, name: str, port: int) -> None:
    """The clusters and the hop that lead to a laptop."""
    laptop = names.laptop_cluster(name)
    out.clusters[name] = _hop_cluster(name)
    out.clusters[laptop] = _laptop_cluster(laptop)
    reach = routed.laptops[port]
    if reach.up:
        listener_name = names.hop(name, reach.generation)
        out.hops[listener_name] = _hop(listener_name, laptop, intercept_key(routed.intercept))


def _endpoints(workload: WorkloadId, port: int, instance: Instance, app: str, ways: list[Routed]) -> Named:
    address = instance.app[port]
    found = {app: endpoint.assignment(app, [endpoint.app_locality(address, priority=0)])}
    for one in ways:
        name = names.intercept_cluster(workload, port, one.intercept.id)
        found |= hop.assignments(name, one.intercept, one.laptops[port], address)
    return found


@lru_cache(maxsize=8192)
def _hop(name: str, laptop_cluster: str, intercept: Kept[Intercept]) -> bytes:
    return encode(hop.internal_listener(name, intercept.value, laptop_cluster))


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
def _listener(name: str, address: Address, protocol: AppProtocol, app: str) -> bytes:
    return encode(listener(name, address, protocol, app))
