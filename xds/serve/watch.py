"""The state of one type on one stream: what the client wants, has, was sent, acknowledged and refused.

No I/O and no clock. A watch is told of requests (`on_request`) and of changes (`dirty`), and is asked for the next
response when the stream may write (`make`, then `unmake`). It keeps no responses: each is made from the newest snapshot
at that moment, so what changed twice goes out once and what nobody wants any more never goes out.

An exchange goes round like this:

    dirty ──make──▶ in flight ──ACK──▶ acknowledged
                        └─────NACK──▶ rejected: not sent again until its content changes

At most one response is in flight, so that a slow client costs nothing and always gets the newest state next. The
exception is the endpoints of a cluster that is warming: the client holds back the acknowledgement of its clusters until
these arrive.

Two passes make a push "make before break" across types: `make` adds and changes, `unmake` removes, and the stream calls
`unmake` when no type has anything left to add.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from xds.serve.push import WARMING, Contents, Outcome, Pushed, Reasons
from xds.serve.resource import Resource
from xds.serve.status import Ack, LastSent, Nack, SyncState, TypeStatus
from xds.serve.store import Encoded, Snapshot
from xds.serve.subscription import Subscription
from xds.serve.wire import DeltaRequest, ErrorDetail, SotwRequest, with_nonce

_MOST_ENCODED = 64
"""Serialised responses kept per snapshot. Streams in step share one; the bound is for those out of step."""

Request = TypeVar("Request", SotwRequest, DeltaRequest)


@dataclass(slots=True)
class Moment:
    """When a response is made: the store's revision, the response's nonce, and seconds since the epoch."""

    revision: int
    nonce: str
    at: float


@dataclass(slots=True)
class Push:
    """What to put into a response: resources, names reported as absent, and which resources are new to the client."""

    resources: list[Resource]
    removed: list[str] = field(default_factory=list)
    fresh: list[Resource] = field(default_factory=list)


@dataclass(slots=True)
class Response:
    """A response, serialised, and the resources in it that the client did not have in this version."""

    data: bytes
    fresh: list[Resource]
    pushed: Pushed


@dataclass(slots=True)
class Flight:
    """A response that is neither acknowledged nor refused yet."""

    sent: LastSent
    since: int
    """The oldest change that it carries."""
    gating: bool
    """Whether the next response waits for its acknowledgement."""
    pushed: Pushed


class Watch(ABC, Generic[Request]):
    """One type on one stream. Subclasses are the two variants of the protocol."""

    def __init__(self, type_url: str, identifier: str) -> None:
        self.type_url = type_url
        self.subscription = Subscription()
        self.started = False
        """Whether the client has asked for this type at all."""
        self.make_due = False
        """Whether there may be something to add."""
        self.unmake_due = False
        """Whether there may be something to remove."""
        self.touched: set[str] = set()
        """Names that must go out again because the client waits for them without asking."""
        self.flights: dict[str, Flight] = {}
        self.last_sent: LastSent | None = None
        self.nack: Nack | None = None
        self.acked: dict[str, str] = {}
        self.acked_revision = 0
        self.reasons = Reasons()
        """Why there is, or may be, something to send."""
        self._identifier = identifier
        self._asked: set[str] = set()
        self._asked_all = False
        self._greet = False
        self._pending: int | None = None
        self._rejected: dict[str, str] = {}
        self._rejected_since: int | None = None

    def __repr__(self) -> str:
        wanted = sorted(self.subscription.names) + ["*"] * self.subscription.wildcard
        return f"<{type(self).__name__} {self.type_url.rpartition('.')[2]} {wanted} {self.state}>"

    # What happens to it

    @abstractmethod
    def on_request(self, request: Request, at: float) -> Ack | Nack | None:
        """Take in a request; say what it says of a response, if it does."""

    def dirty(self, revision: int, reason: str = "") -> None:
        """Something of this type changed in the view, in this revision and for this reason: it is owed from now on,
        and due when `release` says so."""
        self.reasons.add(reason)
        if self._pending is None:
            self._pending = revision

    def release(self) -> None:
        """What changed may go out."""
        self.make_due = self.unmake_due = True

    def touch(self, names: Iterable[str]) -> None:
        """These have to go out again unasked: the client waits for them (a cluster is warming)."""
        self.touched.update(names)

    # What it sends

    @property
    def blocked(self) -> bool:
        """Whether it waits for an acknowledgement before the next response."""
        return any(flight.gating for flight in self.flights.values())

    def make(self, snapshot: Snapshot, moment: Moment) -> Response | None:
        """The next response that adds or changes something, or that answers a request; None if there is none, or it
        has to wait (then `make_due` stays)."""
        urgent = [snapshot.resources[name] for name in sorted(self.touched) if name in snapshot.resources]
        self.touched.clear()
        self.unmake_due = self.unmake_due and self._removals(snapshot) is not None
        waits = self.blocked or not self.started
        if waits and urgent:
            return self._send(Push(urgent, fresh=urgent), snapshot, moment, gating=False)
        push = self._additions(snapshot, urgent) if self.started else None
        if push is None or not waits:
            self.make_due = self._greet = self._asked_all = False
            self._asked.clear()
        if push is not None and not waits:
            return self._send(push, snapshot, moment)
        self._rest(moment.revision)
        return None

    def unmake(self, snapshot: Snapshot, moment: Moment) -> Response | None:
        """The next response that removes something; None if there is none, or it has to wait (then `unmake_due`
        stays)."""
        push = self._removals(snapshot)
        if push is not None and self.blocked:
            return None
        self.unmake_due = False
        if push is not None:
            return self._send(push, snapshot, moment)
        self._rest(moment.revision)
        return None

    @abstractmethod
    def _additions(self, snapshot: Snapshot, urgent: list[Resource]) -> Push | None:
        """What the client lacks, has in another version or has asked for, and `urgent`. Changes nothing."""

    @abstractmethod
    def _removals(self, snapshot: Snapshot) -> Push | None:
        """What the client has and should not."""

    @abstractmethod
    def _encode(self, push: Push) -> tuple[bytes, str]:
        """The response without its nonce, and its version; empty where the variant has none for all of it."""

    @abstractmethod
    def _on_sent(self, push: Push) -> None:
        """Note what the client has from now on."""

    def _with_suspects(self, push: list[Resource], snapshot: Snapshot) -> list[Resource]:
        """Add what was refused together with any of these.

        A refusal does not say which resource was at fault, and a client stops at the first: the innocent ones were
        perhaps not applied. They go out again when one of the suspects changes, and not before.
        """
        if len(self._rejected) < 2 or not any(each.name in self._rejected for each in push):
            return push
        names = {each.name for each in push}
        others = (name for name in self._rejected if name not in names and self.subscription.covers(name))
        return push + [snapshot.resources[name] for name in sorted(others) if name in snapshot.resources]

    def _send(self, push: Push, snapshot: Snapshot, moment: Moment, *, gating: bool = True) -> Response:
        encoded = self._shared(push, snapshot)
        data = with_nonce(encoded.prefix, moment.nonce)
        if not gating:
            self.reasons.add(WARMING)
        pushed = Pushed(
            self.type_url, moment.nonce, moment.revision, moment.at, len(data), encoded.contents, self.reasons.all()
        )
        self._on_sent(push)
        versions = {each.name: each.version for each in push.resources}
        sent = LastSent(moment.nonce, moment.revision, versions, tuple(push.removed), moment.at)
        since = snapshot.revision if self._pending is None else self._pending
        if not self.make_due and not self.unmake_due:
            self._pending = None
            self.reasons.clear()
        self.last_sent = sent
        self.flights[moment.nonce] = Flight(sent, since, gating, pushed)
        return Response(data, push.fresh, pushed)

    def _shared(self, push: Push, snapshot: Snapshot) -> Encoded:
        """The response without its nonce, serialised once for all streams that are to be sent the same."""
        if not push.resources:
            return self._encoded(push)
        contents = tuple((each.name, each.version) for each in push.resources)
        key = (type(self), self.type_url, self._identifier, contents, tuple(push.removed))
        encoded = snapshot.encoded.get(key)
        if encoded is None:
            if len(snapshot.encoded) >= _MOST_ENCODED:
                snapshot.encoded.clear()
            encoded = snapshot.encoded[key] = self._encoded(push)
        return encoded

    def _encoded(self, push: Push) -> Encoded:
        prefix, version = self._encode(push)
        return Encoded(prefix, Contents.of(push.resources, push.removed, version))

    def _rest(self, revision: int) -> None:
        """Nothing is left to say: what the client holds is the newest state, unless it still has to tell."""
        if self.make_due or self.unmake_due:
            return
        self._pending = None
        self.reasons.clear()
        if self.owed is None:
            self.acked_revision = revision

    # What the client says of it

    def _verdict(self, nonce: str, error: ErrorDetail | None, at: float) -> Ack | Nack | None:
        """Match an ACK or a NACK with its response: by nonce, and by `error_detail` alone (xDS protocol, "ACK and NACK
        semantics summary"). Responses before that one are settled too: a client may skip acknowledgements that a later
        one supersedes."""
        flight = self.flights.get(nonce)
        if flight is None:
            return None
        while (earliest := next(iter(self.flights))) != nonce:
            self._accept(self.flights.pop(earliest), at)
        del self.flights[nonce]
        if error is not None:
            return self._reject(flight, error, at)
        self._accept(flight, at)
        return Ack(flight.sent.revision, nonce, max(0.0, at - flight.sent.at))

    def _accept(self, flight: Flight, at: float) -> None:
        flight.pushed.settle(Outcome.ACKED, at)
        sent: LastSent = flight.sent
        for name in (*sent.resources, *sent.removed):
            self._rejected.pop(name, None)
        self._note_acked(sent)
        self._forgive()
        owed = self.owed
        self.acked_revision = max(self.acked_revision, sent.revision if owed is None else min(sent.revision, owed - 1))

    def _note_acked(self, sent: LastSent) -> None:
        # What was unsubscribed from meanwhile is the client's own affair; kept here, it would stay for ever.
        self.acked.update({name: each for name, each in sent.resources.items() if self.subscription.covers(name)})
        for name in sent.removed:
            self.acked.pop(name, None)

    def _reject(self, flight: Flight, error: ErrorDetail, at: float) -> Nack:
        sent: LastSent = flight.sent
        text = error.message or f"refused with code {error.code}"
        nack = Nack(text, sent.revision, sent.resources, at, sent.nonce, max(0.0, at - sent.at))
        flight.pushed.settle(Outcome.NACKED, at, text)
        for name in sent.removed:
            # It is not there any more, so that nothing can make up for its refusal.
            self._rejected.pop(name, None)
        rejected = {name: each for name, each in sent.resources.items() if self._misses(name)}
        if rejected or not sent.resources:
            # What the client has unsubscribed from meanwhile is not missing there.
            self.nack = nack
            self._rejected |= rejected
            known = self._rejected_since
            self._rejected_since = flight.since if known is None else min(known, flight.since)
        return nack

    def _misses(self, name: str) -> bool:
        """Whether the client should have this."""
        return self.subscription.covers(name)

    def _forget(self, names: Iterable[str]) -> None:
        """The client has dropped these by itself."""
        for name in names:
            self._asked.discard(name)
            self.acked.pop(name, None)
            if self._rejected.pop(name, None) is not None:
                self._forgive()

    def _unwanted(self, known: Iterable[str]) -> set[str]:
        """Names of which something is kept, and that the client does not want any more."""
        kept = (*known, *self._asked, *self.acked, *self._rejected)
        return {name for name in kept if not self.subscription.covers(name)}

    def _forgive(self) -> None:
        if not self._rejected:
            self.nack = self._rejected_since = None

    # What can be said of it

    @property
    def owed(self) -> int | None:
        """The oldest revision whose change of this type the client has not acknowledged; None if there is none."""
        since = [flight.since for flight in self.flights.values()]
        since += [each for each in (self._pending, self._rejected_since) if each is not None]
        return min(since, default=None)

    def close(self, at: float) -> None:
        """The stream has ended: nobody will say anything more of what is in flight."""
        for flight in self.flights.values():
            flight.pushed.settle(Outcome.CUT_OFF, at)

    def expect(self, revision: int) -> None:
        """Count as unacknowledged from this revision on, if a response is due for another reason than a change."""
        if self.make_due and self._pending is None:
            self._pending = revision

    @property
    def state(self) -> SyncState:
        """How far the client is."""
        if not self.started:
            return SyncState.NOT_REQUESTED
        if self.nack is not None and not self.flights:
            return SyncState.NACKED
        if self.owed is not None:
            return SyncState.STALE
        return SyncState.SYNCED if self.last_sent or self.acked else SyncState.NOT_SENT

    def status(self) -> TypeStatus:
        """All of it, to be shown."""
        names = frozenset(self.subscription.names)
        acked: Mapping[str, str] = dict(self.acked)
        return TypeStatus(
            self.type_url,
            self.state,
            self.subscription.wildcard,
            names,
            self.last_sent,
            self.acked_revision,
            acked,
            self.nack,
        )
