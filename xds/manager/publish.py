"""From the registry to the xDS server's store: a workload that changed is compiled and its resources put in place."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from xds.compile import names
from xds.compile.state import Routed, WorkloadState, reach
from xds.compile.workload import Compiled, Named
from xds.manager.clock import Clock
from xds.registry.intercept import Intercept
from xds.registry.session import Session
from xds.registry.state import State
from xds.registry.workload import Workload
from xds.serve.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource
from xds.serve.store import Store

SMALL: Final = 4096
"""Bytes of a resource that is worth keeping."""


def workload_state(state: State, workload: Workload, ids: Iterable[str], clock: Clock) -> WorkloadState:
    """What compile has to know of a workload to route those intercepts."""
    routed = [_routed(state, state.intercepts[key], clock) for key in sorted(ids)]
    return WorkloadState(workload, tuple(routed))


def _routed(state: State, intercept: Intercept, clock: Clock) -> Routed:
    session = state.session(intercept.session)
    laptops = {mapping.port: reach(session, mapping.target) for mapping in intercept.spec.ports}
    since = _away_since(intercept, session)
    return Routed(intercept, laptops, "" if since is None else clock.wall(since).isoformat(timespec="seconds"))


def _away_since(intercept: Intercept, session: Session) -> float | None:
    """When the laptop, or the first of the intercept's targets on it, ceased to answer; None where all of it does."""
    if not session.present:
        return session.present_since
    reports = [session.targets.get(mapping.target) for mapping in intercept.spec.ports]
    return min((one.since for one in reports if one and not one.health.usable), default=None)


def put(store: Store, workload: Workload, compiled: Compiled, reason: str) -> int:
    """Replace a workload's resources by these, for this reason, and return the store's revision."""
    group = str(workload.id)
    nodes = {
        names.node(workload.id, instance): [
            *_resources(LISTENER, compiled.listeners[instance]),
            *_resources(ENDPOINT, compiled.endpoints[instance]),
        ]
        for instance in workload.instances
    }
    shared = [
        *_resources(CLUSTER, compiled.clusters),
        *_resources(LISTENER, compiled.hops),
        *_resources(ROUTE, compiled.routes),
    ]
    return store.replace(group={group: shared}, nodes=nodes, reason=reason)


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
