"""What compile needs to know of a workload: itself, the intercepts to route, and how each laptop is reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xds.registry.intercept import Intercept, Target
from xds.registry.session import Session, TargetReport
from xds.registry.workload import Address, Workload

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Reach:
    """Where the sidecar sends what is for a target, and whether it is worth a try.

    `generation` is another one after each absence.
    """

    address: Address
    up: bool
    generation: str = "0"


def reach(session: Session, target: Target) -> Reach:
    """How a session's target is reached: the one place that knows that laptops are reached directly.

    A target on the laptop itself is reached at the address that the laptop announced; any other host is taken as it
    is.
    """
    report = session.targets.get(target, TargetReport())
    host = session.address if target.host in LOOPBACK_NAMES else target.host
    return Reach(
        Address(host, target.port),
        up=session.present and report.health.usable,
        generation=f"{session.returns}.{report.returns}",
    )


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
    by port, the tokens of those who ask which route a request takes.
    """

    workload: Workload
    routed: tuple[Routed, ...] = ()
    lingering: tuple[Routed, ...] = ()
    explaining: Mapping[int, frozenset[str]] = field(default_factory=dict)
