"""What compile needs to know of a workload: itself, the intercepts to route, and how each laptop is reached."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from xds.compile.same import Same
from xds.registry.gateway import Gateway
from xds.registry.intercept import Intercept, Target
from xds.registry.session import Session, TargetReport
from xds.registry.state import State
from xds.registry.workload import Address, Workload

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Reach:
    """Where the sidecar sends what is for a target, and whether it is worth a try.

    `generation` is another one after each absence. `tunnel` is the name of the laptop's tunnels, where it is reached
    through the gateways; the address is then one that the laptop itself connects to.
    """

    address: Address
    up: bool
    generation: str = "0"
    tunnel: str = ""


def reach(session: Session, target: Target) -> Reach:
    """How a session's target is reached: the one place that knows the ways there are.

    Without a tunnel, a target on the laptop itself is reached at the address that the laptop announced; any other host
    is taken as it is.
    """
    report = session.targets.get(target, TargetReport())
    up = session.reachable and report.health.usable
    generation = f"{session.returns}.{report.returns}"
    if session.tunnel is not None:
        return Reach(Address(target.host, target.port), up, generation, session.node)
    host = session.address if target.host in LOOPBACK_NAMES else target.host
    return Reach(Address(host, target.port), up, generation)


@dataclass(frozen=True, slots=True)
class Routed:
    """An intercept that sidecars have routes for. `away_since` is for people: since when its laptop does not answer."""

    intercept: Intercept
    laptops: Mapping[int, Reach]
    away_since: str = ""


@dataclass(frozen=True, slots=True)
class WorkloadState:
    """A workload and its routed intercepts, in any order.

    `lingering` are intercepts that have no routes any more, but still have what their routes led to. `explaining` are,
    by port, the tokens of those who ask which route a request takes. `gateways` are all that there are.
    """

    workload: Workload
    routed: tuple[Routed, ...] = ()
    lingering: tuple[Routed, ...] = ()
    explaining: Mapping[int, frozenset[str]] = field(default_factory=dict)
    gateways: tuple[Gateway, ...] = ()


def workload_state(
    state: State, workload: Workload, ids: Iterable[str], *, when: Callable[[float], str]
) -> WorkloadState:
    """A workload and those intercepts of it. `when` writes a time of the registry's clock for people."""
    return WorkloadState(workload, tuple(_routed(state, state.intercepts[key], when) for key in sorted(ids)))


def _routed(state: State, intercept: Intercept, when: Callable[[float], str]) -> Routed:
    session = state.session(intercept.session)
    since = _away_since(intercept, session)
    there = _there(Same(intercept), Same(session))
    return there if since is None else replace(there, away_since=when(since))


@lru_cache(maxsize=16384)
def _there(intercept: Same[Intercept], session: Same[Session]) -> Routed:
    """An intercept whose laptop answers: the same object until something becomes of the intercept or its session."""
    ports = intercept.value.spec.ports
    return Routed(intercept.value, {one.port: reach(session.value, one.target) for one in ports})


def _away_since(intercept: Intercept, session: Session) -> float | None:
    """When the laptop, or the first of the intercept's targets on it, ceased to answer; None where all of it does."""
    if not session.reachable:
        return session.present_since
    reports = [session.targets.get(mapping.target) for mapping in intercept.spec.ports]
    return min((one.since for one in reports if one and not one.health.usable), default=None)
