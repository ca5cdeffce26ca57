"""The requests of one intercept: the last of them, and counts of all.

A request that lasts is told of several times: it is one entry, which changes. Each change has a *revision*, a number
that only grows. Whoever watches remembers the last revision that they were given and asks for what is newer, so nothing
is queued for them: a watcher who is slow misses what has been dropped meanwhile, and is told how much that was.

Sans I/O, and no clock.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import Final

from xds.manager.requests.latency import Latencies
from xds.manager.requests.records import Record

KEPT: Final = 200
"""Requests that are remembered of each intercept when they have ended."""
OPEN: Final = 1000
"""Requests that may be open at a time. One that is forgotten beyond that counts again when it is heard of again."""
UPGRADED: Final = 101

Key = tuple[str, bytes, int]
"""The sidecar's node, and what tells its requests apart."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A request by its number, from 1 on in the order in which they were heard of, as it was told of last.

    `heard` is when that was, in seconds of the registry's clock.
    """

    number: int
    revision: int
    node: str
    heard: float
    record: Record


@dataclass(slots=True, eq=False)
class Watch:
    """Somebody who is shown requests: up to which revision, and how many requests they have missed since then."""

    seen: int = 0
    missed: int = 0


@dataclass(slots=True)
class Traffic:
    """One intercept's."""

    total: int = 0
    """Requests that were heard of."""
    statuses: Counter[int] = field(default_factory=Counter)
    """Of those that have ended, by the status of the answer; 0: the client went away before."""
    served_by: Counter[str] = field(default_factory=Counter)
    latencies: Latencies = field(default_factory=Latencies)
    """Of those that were answered and have ended. An upgraded connection says nothing of how fast answers are."""
    last: Entry | None = None
    """The newest."""
    _revision: int = 0
    _open: OrderedDict[Key, Entry] = field(default_factory=OrderedDict)
    _ended: OrderedDict[Key, Entry] = field(default_factory=OrderedDict)
    _watches: set[Watch] = field(default_factory=set)

    def note(self, node: str, record: Record, now: float) -> None:
        """Take in what a sidecar says."""
        key = (node, *record.stream)
        if key in self._ended:
            return
        known = self._open.pop(key, None)
        if known is None:
            self.total += 1
        self._revision += 1
        entry = Entry(known.number if known else self.total, self._revision, node, now, record)
        if self.last is None or entry.number >= self.last.number:
            self.last = entry
        if record.ended:
            self._ended[key] = entry
            self._count(record)
        else:
            self._open[key] = entry
        self._drop(self._ended, KEPT)
        self._drop(self._open, OPEN)

    def _count(self, record: Record) -> None:
        self.statuses[record.status] += 1
        self.served_by[record.served_by] += 1
        if record.status not in {0, UPGRADED}:
            self.latencies.add(record.duration)

    def _drop(self, entries: OrderedDict[Key, Entry], limit: int) -> None:
        while len(entries) > limit:
            _, gone = entries.popitem(last=False)
            for watch in self._watches:
                watch.missed += gone.revision > watch.seen

    @property
    def watched(self) -> int:
        """How many watch."""
        return len(self._watches)

    def watch(self) -> Watch:
        """Begin to watch; the first thing to see is what is remembered."""
        watch = Watch()
        self._watches.add(watch)
        return watch

    def unwatch(self, watch: Watch) -> None:
        """Watch no longer."""
        self._watches.discard(watch)

    def news(self, watch: Watch) -> tuple[list[Entry], int]:
        """What has changed since the last look, by number, and how many requests were missed."""
        entries = [*self._ended.values(), *self._open.values()]
        fresh = sorted((one for one in entries if one.revision > watch.seen), key=lambda one: one.number)
        missed, watch.missed, watch.seen = watch.missed, 0, self._revision
        return fresh, missed
