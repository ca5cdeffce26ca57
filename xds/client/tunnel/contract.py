"""What a tunnel is to the daemon. Every kind keeps this contract, and the same tests run against every kind.

    start(offer) ──▶ dials every gateway of the offer, and dials again for as long as it isn't stopped
    declare(targets)  may be called before and after: these are served, everything else is refused
    offer(offer)      a renewed token, other gateways, another node
    stop()            nothing of it is left: no process, no connection, no file that holds a secret

What a request on the tunnel bears, by which the laptop's end decides (`HEADERS`), and what it does with it:

    x-byway-target    HOST:PORT of the local process, as `Target.authority` writes it. Not declared: 403, and nothing is
                      connected to.
    x-byway-protocol  what the client spoke: HTTP/2 is spoken with the process too (in clear, by prior knowledge),
                      anything else is HTTP/1.1. WebSocket and other upgrades arrive as extended CONNECT (RFC 8441) and
                      become an Upgrade of HTTP/1.1; where the client spoke HTTP/2 they remain extended CONNECT.
    CONNECT           without `:protocol`: the stream's bytes are the connection's bytes, each direction ends by itself.

    every header that begins with `x-byway-` is taken out of the request before the process sees it, and
    `x-byway-away` out of what the process answers. Nothing else is changed: header fields, trailers, informational
    answers and the absence of any time limit are the client's and the process's own.

    The process does not accept the connection: 503 with `x-byway-away: target` and a JSON body that names intercept,
    owner and target (`error`, `intercept`, `name`, `owner`, `target`). The header says that nothing was processed, so
    that the request may go elsewhere; hence it is never on an answer that comes after the connection was accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import Protocol

from xds.terminal.words import host_port

TARGET_HEADER = "x-byway-target"
PROTOCOL_HEADER = "x-byway-protocol"
TO_HEADER = "x-byway-to"
"""`<intercept id>/<workload port>`."""
NAME_HEADER = "x-byway-name"
OWNER_HEADER = "x-byway-owner"
AWAY_HEADER = "x-byway-away"
HEADER_PREFIX = "x-byway-"

CARRIER_AUTHORITY = "tunnel.byway:443"
"""The `:authority` of the CONNECT that carries the tunnel."""

AWAY = "this target does not accept connections"
"""`error` of the JSON body when the process refuses."""


class CannotRunError(Exception):
    """This kind of tunnel can't run on this machine; the text says why."""


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """A process on the laptop (or one that the laptop reaches), as an intercept names it."""

    host: str
    port: int

    @property
    def authority(self) -> str:
        """HOST:PORT, or [HOST]:PORT of an IPv6 address: the value of `x-byway-target`."""
        return host_port(self.host, self.port)


@dataclass(frozen=True, slots=True, order=True)
class Gateway:
    """One gateway, as the manager offers it. `server_name` is the DNS name in its certificate."""

    name: str
    host: str
    port: int
    server_name: str


@dataclass(frozen=True, slots=True)
class Offer:
    """The manager's offer of a tunnel.

    `node` names the laptop to the gateways. `token` is secret: it proves the node to the gateways, is valid for
    minutes, and is followed by another in time. `ca` (PEM) signs the gateways' certificates.
    """

    node: str
    token: str = field(repr=False)
    ca: bytes = field(repr=False)
    gateways: tuple[Gateway, ...]


@dataclass(frozen=True, slots=True)
class GatewayState:
    """A gateway, and whether there is a live tunnel to it.

    `since`: of `time.monotonic()`, when that last changed. `reason`: why it is down, for people; empty when it is up.
    """

    name: str
    up: bool
    since: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TunnelState:
    """How a tunnel is. `broken`: why it has given up for good, for people; another kind has to take its place."""

    gateways: tuple[GatewayState, ...] = ()
    broken: str = ""

    @property
    def up(self) -> tuple[str, ...]:
        """The names of the gateways with a live tunnel."""
        return tuple(each.name for each in self.gateways if each.up)


class Tunnel(Protocol):
    """A tunnel. It is made with a `Changed` to call, and used from one event loop."""

    @property
    def kind(self) -> str:
        """`envoy` or `python`."""

    @property
    def state(self) -> TunnelState:
        """How it is now, a gateway of the offer each in the offer's order. A tunnel that does not answer is down: a
        silent network or a hung process is known within a few seconds (`HEARD_WITHIN`)."""

    async def start(self, offer: Offer) -> None:
        """Begin to dial. Returns when the local side is ready, whether a gateway answers or not.

        Raises CannotRunError, and leaves nothing behind then.
        """

    async def offer(self, offer: Offer) -> None:
        """Go on with this offer. Where only the token changed, nothing is interrupted; gateways that remain keep their
        tunnels. Another node means new tunnels. Raises CannotRunError."""

    async def declare(self, targets: Set[Target]) -> None:
        """Serve these targets and no others. Returns when it is in force, so that a request that is sent after this has
        returned finds its target. What is in flight at a target that is no longer served may end."""

    async def stop(self) -> None:
        """End every tunnel and leave nothing behind. May be called twice, and at any time."""


Changed = Callable[[], None]
"""Called, on the event loop, whenever `state` has changed."""

MakeTunnel = Callable[[Changed], Tunnel]

HEARD_WITHIN = 6.0
"""Seconds within which a gateway, a network or a process that has gone silent counts as down."""
