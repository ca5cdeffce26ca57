"""What the server knows of its clients, for people and for whoever waits for an acknowledgement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from xds.serve.store import View


class Variant(StrEnum):
    """The two ways of telling state."""

    DELTA = "delta"
    SOTW = "sotw"


class SyncState(StrEnum):
    """How far a client is with one type."""

    SYNCED = "SYNCED"
    """It has acknowledged the newest state."""
    STALE = "STALE"
    """Something was sent or is about to be, and is not acknowledged."""
    NOT_SENT = "NOT SENT"
    """It asked, and nothing of what it asked for exists."""
    NACKED = "NACKED"
    """It refused what was sent last and nothing newer was sent since."""
    NOT_REQUESTED = "NOT REQUESTED"
    """It has never asked for this type on this stream."""


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """One open stream. `number` is unique in this process; `connected` is in seconds since the epoch."""

    number: int
    view: View
    node_id: str
    user_agent: str
    peer: str
    variant: Variant
    aggregated: bool
    connected: float

    def __str__(self) -> str:
        return f"stream {self.number} ({self.variant}, {self.view})"


@dataclass(slots=True)
class LastSent:
    """The last response of a type. `resources` maps names to versions; `at` is in seconds since the epoch."""

    nonce: str
    revision: int
    resources: Mapping[str, str]
    removed: tuple[str, ...]
    at: float


@dataclass(frozen=True, slots=True)
class Nack:
    """A refusal: the client's words, what it refused (name → version), and the store's revision that it was sent at.

    `took` is in seconds, from the response to the refusal.
    """

    text: str
    revision: int
    resources: Mapping[str, str]
    at: float
    nonce: str = ""
    took: float = 0.0


@dataclass(frozen=True, slots=True)
class Ack:
    """The client has taken what was sent at that revision of the store, `took` seconds after it was sent."""

    revision: int
    nonce: str = field(default="", compare=False)
    took: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """One type of one stream. `acked_revision` is the newest store revision known to be in force at the client."""

    type_url: str
    state: SyncState
    wildcard: bool
    names: frozenset[str]
    last_sent: LastSent | None
    acked_revision: int
    acked: Mapping[str, str]
    nack: Nack | None


@dataclass(frozen=True, slots=True)
class ClientStatus:
    """One stream and each type asked for on it."""

    stream: StreamInfo
    types: Mapping[str, TypeStatus]


@dataclass(frozen=True, slots=True)
class Lag:
    """A type of a stream that has not acknowledged everything up to the revision asked about."""

    stream: StreamInfo
    type_url: str
    state: SyncState
    nack: Nack | None


class Observer:
    """Told of what happens on streams, on the event loop. What it raises is logged and goes no further.

    Overwrite what you want to be told of.
    """

    def on_connect(self, stream: StreamInfo) -> None:
        """A client was let in."""

    def on_disconnect(self, stream: StreamInfo) -> None:
        """A client that was let in is gone."""

    def on_response(self, stream: StreamInfo, type_url: str, sent: LastSent, size: int) -> None:
        """A response of that many bytes is being written."""

    def on_verdict(self, stream: StreamInfo, type_url: str, verdict: Ack | Nack) -> None:
        """A response was acknowledged or refused; each is told of at most once."""

    def on_ack(self, stream: StreamInfo, type_url: str, revision: int) -> None:
        """More is in force than before; `revision` is the newest that now is for this type."""

    def on_nack(self, stream: StreamInfo, type_url: str, nack: Nack) -> None:
        """A response was refused. The same content is not sent again."""
