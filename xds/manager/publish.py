"""From the registry to the xDS server's store: a workload that changed is compiled and its resources put in place."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from xds.compile import names
from xds.compile.gateway import CompiledGateways
from xds.compile.state import WorkloadState
from xds.compile.state import workload_state as state_of
from xds.compile.workload import Compiled, Named
from xds.manager.clock import Clock
from xds.registry.state import State
from xds.registry.workload import Workload
from xds.serve.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Resource
from xds.serve.store import Store

SMALL: Final = 4096
"""Bytes of a resource that is worth keeping."""


def workload_state(state: State, workload: Workload, ids: Iterable[str], clock: Clock) -> WorkloadState:
    """What compile has to know of a workload to route those intercepts."""
    return state_of(state, workload, ids, when=lambda at: clock.wall(at).isoformat(timespec="seconds"))


def put(store: Store, workload: Workload, compiled: Compiled, reason: str) -> int:
    """Replace a workload's resources by these, for this reason, and return the store's revision."""
    group = str(workload.id)
    nodes = {
        names.node(workload.id, instance): [
            *_resources(LISTENER, compiled.listeners[instance]),
            *_resources(ENDPOINT, compiled.endpoints[instance]),
            *_secrets(store, names.node(workload.id, instance)),
        ]
        for instance in workload.instances
    }
    shared = [
        *_resources(CLUSTER, compiled.clusters),
        *_resources(LISTENER, compiled.hops),
        *_resources(ROUTE, compiled.routes),
    ]
    return store.replace(group={group: shared}, nodes=nodes, reason=reason)


def _secrets(store: Store, node: str) -> list[Resource]:
    """A node's certificates, which have nothing to do with what its workload is given."""
    return [one for one in store.contents(node=node).values() if one.type_url == SECRET]


def put_gateways(store: Store, compiled: CompiledGateways, reason: str) -> int:
    """Replace the gateways' resources by these, for this reason, and return the store's revision."""
    shared = [
        *_resources(CLUSTER, compiled.clusters),
        *_resources(ENDPOINT, compiled.endpoints),
        *_resources(ROUTE, compiled.routes),
    ]
    nodes = {
        node: [*_resources(LISTENER, named), *_secrets(store, node)]
        for name, named in compiled.listeners.items()
        for node in [names.gateway_node(name)]
    }
    return store.replace(group={names.GATEWAYS: shared}, nodes=nodes, reason=reason)


def drop(store: Store, workload: Workload, reason: str) -> None:
    """Remove what all instances of a workload share."""
    store.replace(group={str(workload.id): []}, reason=reason)


def drop_nodes(store: Store, nodes: Iterable[str], reason: str) -> None:
    """Remove what these nodes have of their own."""
    store.replace(nodes={node: [] for node in nodes}, reason=reason)


def _resources(type_url: str, named: Named) -> list[Resource]:
    return [
        _small(type_url, name, body) if len(body) <= SMALL else Resource.of(type_url, name, body)
        for name, body in named.items()
    ]


@lru_cache(maxsize=65536)
def _small(type_url: str, name: str, body: bytes) -> Resource:
    """Of a workload's thousands of clusters and endpoints few change at a time, and a version is a hash."""
    return Resource.of(type_url, name, body)
