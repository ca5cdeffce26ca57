"""The last pushes to each node, and whoever watches a node live.

It must cost next to nothing where nobody looks. A push is one small object that its response, its acknowledgement and
its history share; what a response holds is listed once for all streams that are sent the same. A history has an end:
for each node, for all nodes together (those that were sent nothing for longest give way first), and for nodes that are
gone.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from xds.serve.push import Pushed
from xds.serve.status import StreamInfo
from xds.serve.tap import Came, Tap, Went, asked
from xds.serve.wire import DeltaRequest, SotwRequest


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
        event = asked(request, size, answers, at)
        for tap in self._journal.taps(self._node):
            if tap.wants(request.type_url):
                tap.put(event)

    def closed(self, at: float) -> None:
        """The stream has ended."""
        self._journal.close(self._info, at)


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
