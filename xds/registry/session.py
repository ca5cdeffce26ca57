"""Sessions: a user on a laptop, with two clocks.

*Activity* is what the user does; it decides about the right to block others and about the end of the session.
*Presence* is whether the laptop can answer; it decides where requests go, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from xds.registry.intercept import Target


class TargetHealth(StrEnum):
    """What the laptop says about a target."""

    UNKNOWN = "unknown"
    LISTENING = "listening"
    NOT_LISTENING = "not listening"
    STOPPED = "stopped"

    @property
    def usable(self) -> bool:
        """Worth a try: what nobody has looked at yet is tried, since a refused connection falls back anyway."""
        return self in {TargetHealth.UNKNOWN, TargetHealth.LISTENING}


@dataclass(frozen=True, slots=True)
class TargetReport:
    """A target's health and, for people, why. `returns` counts how often it became usable again; `since` is when it
    last became usable or ceased to be (registry clock, seconds).
    """

    health: TargetHealth = TargetHealth.UNKNOWN
    detail: str = ""
    returns: int = 0
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Tunnel:
    """What a laptop said of its tunnel: what runs it, the gateways to which it is there, and what is wrong."""

    kind: str
    up: frozenset[str] = frozenset()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """A user's session. Times are registry clock, seconds.

    `token_hash` stands for the secret token; `epoch` counts (re)connections, the newest one is the only one served.
    `returns` counts how often the laptop could be reached again, and `present_since` is when that, or its presence,
    last changed.

    `address` is where sidecars reach a laptop directly. One with a `tunnel` is reached through the gateways instead, by
    the name `node`, which is that of one process on the laptop: `daemon`.
    """

    id: str
    user: str
    host: str
    token_hash: str
    address: str
    epoch: int = 1
    last_activity: float = 0.0
    present: bool = False
    present_since: float = 0.0
    returns: int = 0
    targets: Mapping[Target, TargetReport] = field(default_factory=dict)
    daemon: str = ""
    tunnel: Tunnel | None = None

    @property
    def owner(self) -> str:
        """As people name it: user@host."""
        return f"{self.user}@{self.host}"

    @property
    def node(self) -> str:
        """The name of the laptop's tunnels. Another daemon of the same session has another one, and its tunnels end."""
        return f"{self.id}.{self.daemon}"

    @property
    def reachable(self) -> bool:
        """Whether requests get as far as the laptop; if anything takes them there is another question."""
        return self.present and (self.tunnel is None or bool(self.tunnel.up))
