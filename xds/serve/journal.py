"""What was sent to each node, why, and what it said of it: the last pushes, and whoever watches a node live.

Why something was sent is for the caller of the store to say, in words of his own: they are kept and never read.

It must cost next to nothing where nobody looks. A push is one small object that its response, its acknowledgement and
its history share; what a response holds is listed once for all streams that are sent the same. A history has an end:
for each node, for all nodes together (those that were sent nothing for longest give way first), and for nodes that are
gone. A watcher has a queue with an end, and what doesn't fit is counted instead: no stream ever waits for him.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Final, TypeAlias

from xds.serve.resource import Resource
from xds.serve.status import StreamInfo
from xds.serve.wire import DeltaRequest, SotwRequest

CONNECTED: Final = "connected"
RECONNECTED: Final = "reconnected, with what it had"
SUBSCRIPTION: Final = "subscription"
ASKED_AGAIN: Final = "asked for again"
WARMING: Final = "endpoints of clusters that it was sent"

MOST_NAMES: Final = 50
"""Names kept of one push or request; the others are counted."""
MOST_REASONS: Final = 8
"""Reasons kept of one push; the others are counted."""
LONGEST_NACK: Final = 2000
"""Characters kept of a refusal."""


class Outcome(StrEnum):
    """What became of a push."""

    WAITING = "waiting"
    ACKED = "acked"
    NACKED = "nacked"
    CUT_OFF = "cut off"
    """The stream ended before the client said anything."""


@dataclass(frozen=True, slots=True)
class Item:
    """A resource in a push; `size` is that of its body, bytes."""

    name: str
    version: str
    size: int


@dataclass(frozen=True, slots=True)
class Contents:
    """What a response holds. `version` is its own, empty in delta; `more_…` counts what is not listed; `weight` is how
    much it takes to keep it, in names."""

    version: str
    items: tuple[Item, ...] = ()
    more_items: int = 0
    removed: tuple[str, ...] = ()
    more_removed: int = 0
    weight: int = 4

    @classmethod
    def of(cls, resources: Collection[Resource], removed: Collection[str], version: str) -> Contents:
        """The contents of a response with these resources and removals."""
        items = tuple(Item(each.name, each.version, len(each.body)) for each in islice(resources, MOST_NAMES))
        gone = tuple(islice(removed, MOST_NAMES))
        more = (len(resources) - len(items), len(removed) - len(gone))
        return cls(version, items, more[0], gone, more[1], weight=4 + len(items) + len(gone))


@dataclass(slots=True, eq=False)
class Pushed:
    """A response. Times are seconds since the epoch, `size` is all of it in bytes, `revision` the store's."""

    type_url: str
    nonce: str
    revision: int
    at: float
    size: int
    contents: Contents
    reasons: tuple[str, ...]
    outcome: Outcome = Outcome.WAITING
    answered: float | None = None
    nack: str = ""

    def settle(self, outcome: Outcome, at: float, nack: str = "") -> None:
        """The client has said, or will never say, what it makes of it."""
        self.outcome = outcome
        self.answered = max(at, self.at)
        self.nack = nack[:LONGEST_NACK]


@dataclass(slots=True)
class Reasons:
    """Why the next response goes out, each reason once, in order."""

    _named: tuple[str, ...] = ()
    _unnamed: int = 0

    def add(self, reason: str) -> None:
        """One more; an empty one is none."""
        if not reason or reason in self._named:
            return
        if len(self._named) < MOST_REASONS:
            self._named = (*self._named, reason)
        else:
            self._unnamed += 1

    def all(self) -> tuple[str, ...]:
        """All of them."""
        return (*self._named, f"and {self._unnamed} more") if self._unnamed else self._named

    def clear(self) -> None:
        """They are dealt with."""
        self._named = ()
        self._unnamed = 0


class Meaning(StrEnum):
    """What a request says of a response."""

    ASKS = "request"
    ACK = "ack"
    NACK = "nack"
    STALE = "stale"
    """It speaks of a response that is settled already, or of another stream's."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. `after` is the time from its response to it, seconds; `kept` counts what the client said it has."""

    at: float
    type_url: str
    meaning: Meaning
    nonce: str
    version: str
    size: int
    names: tuple[str, ...]
    more_names: int
    unsubscribed: tuple[str, ...]
    kept: int
    after: float | None
    error: str


@dataclass(frozen=True, slots=True)
class Came:
    """A stream of the node began."""

    at: float
    stream: StreamInfo


@dataclass(frozen=True, slots=True)
class Went:
    """A stream of the node ended."""

    at: float
    stream: StreamInfo


@dataclass(frozen=True, slots=True)
class Lost:
    """So many events the watcher was too slow for."""

    count: int


Event: TypeAlias = Pushed | Asked | Came | Went | Lost


class Tap:
    """What a watcher of a node is told, as it happens. Types: those to be told of; empty for all."""

    def __init__(self, types: Collection[str], limit: int) -> None:
        self.types = frozenset(types)
        self._limit = limit
        self._queue: deque[Event] = deque()
        self._lost = 0
        self._awake = asyncio.Event()

    def wants(self, type_url: str) -> bool:
        """Whether events of that type are to be told."""
        return not self.types or type_url in self.types

    def put(self, event: Event) -> None:
        """Tell of an event, or count it as lost where the watcher is too slow."""
        if len(self._queue) >= self._limit:
            self._lost += 1
        else:
            self._note_lost()
            self._queue.append(event)
        self._awake.set()

    def _note_lost(self) -> None:
        if self._lost:
            self._queue.append(Lost(self._lost))
            self._lost = 0

    async def next(self) -> Event:
        """The next event, as soon as there is one."""
        while not self._queue:
            self._note_lost()
            if not self._queue:
                self._awake.clear()
                await self._awake.wait()
        return self._queue.popleft()


class Scribe:
    """Writes down what passes on one stream."""

    __slots__ = ("_info", "_journal", "_node")

    def __init__(self, journal: Journal, info: StreamInfo) -> None:
        self._journal = journal
        self._info = info
        self._node = info.view.node

    def pushed(self, push: Pushed) -> None:
        """A response is about to be sent."""
        self._journal.keep(self._node, push)
        for tap in self._journal.taps(self._node):
            if tap.wants(push.type_url):
                tap.put(push)

    @property
    def watched(self) -> bool:
        """Whether anybody is to be told of requests."""
        return bool(self._journal.taps(self._node))

    def asked(self, request: SotwRequest | DeltaRequest, size: int, answers: Pushed | None, at: float) -> None:
        """A request came; `answers` is the response that it speaks of, if it does."""
        event = _asked(request, size, answers, at)
        for tap in self._journal.taps(self._node):
            if tap.wants(request.type_url):
                tap.put(event)

    def closed(self, at: float) -> None:
        """The stream has ended."""
        self._journal.close(self._info, at)


def _asked(request: SotwRequest | DeltaRequest, size: int, answers: Pushed | None, at: float) -> Asked:
    error = request.error
    if error is not None:
        meaning = Meaning.NACK
    elif answers is not None:
        meaning = Meaning.ACK
    else:
        meaning = Meaning.STALE if request.nonce else Meaning.ASKS
    delta, sotw = (request, None) if isinstance(request, DeltaRequest) else (None, request)
    names = delta.subscribe if delta else sotw.names if sotw else ()
    return Asked(
        at=at,
        type_url=request.type_url,
        meaning=meaning,
        nonce=request.nonce,
        version=sotw.version_info if sotw else "",
        size=size,
        names=names[:MOST_NAMES],
        more_names=max(0, len(names) - MOST_NAMES),
        unsubscribed=delta.unsubscribe[:MOST_NAMES] if delta else (),
        kept=len(delta.initial_versions) if delta else 0,
        after=max(0.0, at - answers.at) if answers is not None else None,
        error=(error.message or f"refused with code {error.code}")[:LONGEST_NACK] if error else "",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much is kept."""

    pushes: int = 200
    """Of one node."""
    weight: int = 1_000_000
    """Of all nodes together, in names of resources, see `Contents.weight`."""
    gone_nodes: int = 500
    gone_seconds: float = 3600.0
    """How many nodes without a stream are remembered, and for how long."""
    events: int = 1000
    """That wait for one watcher."""
    watchers: int = 32
    """At a time."""


class TooManyWatchersError(Exception):
    """As many watch already as may."""


class Journal:
    """The last pushes to each node, and the taps. For one event loop."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self._bounds = bounds or Bounds()
        self._books: OrderedDict[str, deque[Pushed]] = OrderedDict()
        """By node, that which was pushed to last at the end."""
        self._weight = 0
        self._streams: Counter[str] = Counter()
        self._gone: OrderedDict[str, float] = OrderedDict()
        self._taps: dict[str, list[Tap]] = {}

    def __repr__(self) -> str:
        return f"<Journal nodes={len(self._books)} weight={self._weight} taps={sum(map(len, self._taps.values()))}>"

    @property
    def weight(self) -> int:
        """How much is kept, see `Contents.weight`."""
        return self._weight

    def history(self, node: str) -> tuple[Pushed, ...]:
        """The last pushes to a node, the oldest first."""
        return tuple(self._books.get(node, ()))

    def knows(self, node: str) -> bool:
        """Whether anything is kept of a node."""
        return node in self._books

    def open(self, info: StreamInfo) -> Scribe:
        """A stream begins."""
        node = info.view.node
        self._streams[node] += 1
        self._gone.pop(node, None)
        for tap in self.taps(node):
            tap.put(Came(info.connected, info))
        return Scribe(self, info)

    def close(self, info: StreamInfo, at: float) -> None:
        """A stream has ended."""
        node = info.view.node
        self._streams[node] -= 1
        if self._streams[node] <= 0:
            del self._streams[node]
            self._gone[node] = at
        self.forget_old(at)
        for tap in self.taps(node):
            tap.put(Went(at, info))

    def forget_old(self, at: float) -> None:
        """Forget nodes that have been gone for too long, or are too many."""
        while self._gone:
            node, since = next(iter(self._gone.items()))
            if len(self._gone) <= self._bounds.gone_nodes and at - since <= self._bounds.gone_seconds:
                return
            del self._gone[node]
            self._drop(node)

    def keep(self, node: str, push: Pushed) -> None:
        """Write down a push."""
        books = self._books
        book = books.get(node)
        if book is None:
            book = books[node] = deque()
        elif len(book) >= self._bounds.pushes:
            self._weight -= book.popleft().contents.weight
        book.append(push)
        books.move_to_end(node)
        self._weight += push.contents.weight
        while self._weight > self._bounds.weight and len(books) > 1:
            oldest, idle = next(iter(books.items()))
            self._weight -= idle.popleft().contents.weight
            if not idle:
                del books[oldest]

    def _drop(self, node: str) -> None:
        for push in self._books.pop(node, ()):
            self._weight -= push.contents.weight

    def taps(self, node: str) -> Iterable[Tap]:
        """Who watches a node."""
        return self._taps.get(node, ())

    @contextmanager
    def tap(self, node: str, types: Collection[str] = ()) -> Iterator[Tap]:
        """Watch a node, whether it is there or not, for as long as the context lasts. Raises TooManyWatchersError."""
        if sum(map(len, self._taps.values())) >= self._bounds.watchers:
            raise TooManyWatchersError(f"{self._bounds.watchers} others watch nodes already; try again later")
        tap = Tap(types, self._bounds.events)
        self._taps.setdefault(node, []).append(tap)
        try:
            yield tap
        finally:
            self._taps[node].remove(tap)
            if not self._taps[node]:
                del self._taps[node]
