"""Intercepts: which requests of which workload go to which port of which laptop, and what has become of that."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from xds.registry.match import Match
from xds.registry.workload import WorkloadId


class Kind(StrEnum):
    """What an intercept takes."""

    PERSONAL = "personal"
    """Requests that match its conditions."""
    GLOBAL = "global"
    """Every request or connection of the port."""
    REPLACE = "replace"
    """Every port of the container that it takes out of the pod."""
    MIRROR = "mirror"
    """A copy of every request that matches, whoever answers it."""


class WhenDown(StrEnum):
    """Who answers a matching request while the laptop is away."""

    CLUSTER = "cluster"
    FAIL = "fail"


class Disposition(StrEnum):
    """What has become of an intercept (design §4)."""

    PENDING = "pending"
    """Created, not yet acknowledged by every live sidecar."""
    ACTIVE = "active"
    """Acknowledged."""
    DISPLACED = "displaced"
    """Lost to a newcomer while its owner was inactive; comes back when nothing conflicts any more."""
    REJECTED = "rejected"
    """Envoy refused it; its text is in `reason`."""
    ENDED = "ended"
    """Left, revoked or expired."""

    @property
    def routed(self) -> bool:
        """Whether sidecars have a route for it; the same intercepts block others."""
        return self in {Disposition.PENDING, Disposition.ACTIVE}


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """Where on (or from) the laptop a port's requests go: `localhost:8080`."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, order=True)
class PortMapping:
    """A workload's port number and the target that takes its requests."""

    port: int
    target: Target


@dataclass(frozen=True, slots=True)
class InterceptSpec:
    """What the user asks for. `name` is unique within the session."""

    name: str
    workload: WorkloadId
    ports: tuple[PortMapping, ...]
    match: Match = field(default_factory=Match)
    kind: Kind = Kind.PERSONAL
    shared: bool = False
    when_down: WhenDown = WhenDown.CLUSTER

    @property
    def numbers(self) -> frozenset[int]:
        """The workload's ports that it takes from."""
        return frozenset(mapping.port for mapping in self.ports)

    def target(self, port: int) -> Target | None:
        """Where the requests of a workload's port go."""
        return next((mapping.target for mapping in self.ports if mapping.port == port), None)


@dataclass(frozen=True, slots=True)
class Displacement:
    """By whom an intercept was displaced, and since when (registry clock, seconds)."""

    intercept: str
    owner: str
    since: float


@dataclass(frozen=True, slots=True)
class Intercept:
    """An intercept of a session. `sequence` orders creation and never goes back; it is no clock."""

    id: str
    session: str
    owner: str
    spec: InterceptSpec
    sequence: int
    disposition: Disposition = Disposition.PENDING
    reason: str = ""
    displaced: Displacement | None = None
