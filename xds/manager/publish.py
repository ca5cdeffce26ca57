"""From the registry to the xDS server's store: a workload that changed is compiled and its resources put in place."""

from __future__ import annotations

from collections.abc import Iterable

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


def workload_state(state: State, workload: Workload, ids: Iterable[str], clock: Clock) -> WorkloadState:
    """What compile has to know of a workload to route those intercepts."""
    routed = [_routed(state, state.intercepts[key], clock) for key in sorted(ids)]
    return WorkloadState(workload, tuple(routed))


def _routed(state: State, intercept: Intercept, clock: Clock) -> Routed:
    session = state.session(intercept.session)
    laptops = {mapping.port: reach(session, mapping.target) for mapping in intercept.spec.ports}
    return Routed(intercept, laptops, "" if session.present else _since(session, clock))


def _since(session: Session, clock: Clock) -> str:
    return clock.wall(session.present_since).isoformat(timespec="seconds")


def put(store: Store, workload: Workload, compiled: Compiled) -> int:
    """Replace a workload's resources by these, and return the store's revision."""
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
    return store.replace(group={group: shared}, nodes=nodes)


def drop(store: Store, workload: Workload) -> None:
    """Remove every resource of a workload."""
    store.replace(
        group={str(workload.id): []}, nodes={names.node(workload.id, instance): [] for instance in workload.instances}
    )


def _resources(type_url: str, named: Named) -> list[Resource]:
    return [Resource.of(type_url, name, body) for name, body in named.items()]
