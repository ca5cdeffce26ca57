"""From the registry to the xDS server's store: a workload that changed is compiled and its resources put in place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xds.compile import names
from xds.compile.gateway import CompiledGateways
from xds.compile.state import WorkloadState
from xds.compile.state import workload_state as state_of
from xds.compile.workload import Compiled, Named
from xds.manager.clock import Clock
from xds.registry.state import State
from xds.registry.workload import Workload
from xds.serve.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Resource
from xds.serve.store import Key, Store

Held = Mapping[Key, Resource]
"""What an owner has in the store now."""


def workload_state(state: State, workload: Workload, ids: Iterable[str], clock: Clock) -> WorkloadState:
    """What compile has to know of a workload to route those intercepts."""
    return state_of(state, workload, ids, when=lambda at: clock.wall(at).isoformat(timespec="seconds"))


def put(store: Store, workload: Workload, compiled: Compiled, reason: str) -> int:
    """Replace a workload's resources by these, for this reason, and return the store's revision."""
    group = str(workload.id)
    nodes = {}
    for instance in workload.instances:
        node = names.node(workload.id, instance)
        held = store.contents(node=node)
        nodes[node] = [
            *_resources(LISTENER, compiled.listeners[instance], held),
            *_resources(ENDPOINT, compiled.endpoints[instance], held),
            *_secrets(held),
        ]
    held = store.contents(group=group)
    shared = [
        *_resources(CLUSTER, compiled.clusters, held),
        *_resources(LISTENER, compiled.hops, held),
        *_resources(ROUTE, compiled.routes, held),
    ]
    return store.replace(group={group: shared}, nodes=nodes, reason=reason)


def _secrets(held: Held) -> list[Resource]:
    """A node's certificates, which have nothing to do with what its workload is given."""
    return [one for one in held.values() if one.type_url == SECRET]


def put_gateways(store: Store, compiled: CompiledGateways, reason: str) -> int:
    """Replace the gateways' resources by these, for this reason, and return the store's revision."""
    held = store.contents(group=names.GATEWAYS)
    shared = [
        *_resources(CLUSTER, compiled.clusters, held),
        *_resources(ENDPOINT, compiled.endpoints, held),
        *_resources(ROUTE, compiled.routes, held),
    ]
    nodes = {}
    for name, named in compiled.listeners.items():
        node = names.gateway_node(name)
        held = store.contents(node=node)
        nodes[node] = [*_resources(LISTENER, named, held), *_secrets(held)]
    return store.replace(group={names.GATEWAYS: shared}, nodes=nodes, reason=reason)


def drop(store: Store, workload: Workload, reason: str) -> None:
    """Remove what all instances of a workload share."""
    store.replace(group={str(workload.id): []}, reason=reason)


def drop_nodes(store: Store, nodes: Iterable[str], reason: str) -> None:
    """Remove what these nodes have of their own."""
    store.replace(nodes={node: [] for node in nodes}, reason=reason)


def _resources(type_url: str, named: Named, held: Held) -> list[Resource]:
    return [_resource(held.get((type_url, name)), type_url, name, body) for name, body in named.items()]


def _resource(held: Resource | None, type_url: str, name: str, body: bytes) -> Resource:
    """Of a workload's thousands of clusters and endpoints few change at a time, and a version is a hash."""
    return held if held is not None and held.body == body else Resource.of(type_url, name, body)
