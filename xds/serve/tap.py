"""What whoever watches a node is told, as it happens.

A watcher has a queue with an end, and what doesn't fit is counted instead: no stream ever waits for him.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from xds.serve.push import LONGEST_NACK, MOST_NAMES, Pushed
from xds.serve.status import StreamInfo
from xds.serve.wire import DeltaRequest, SotwRequest


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


def asked(request: SotwRequest | DeltaRequest, size: int, answers: Pushed | None, at: float) -> Asked:
    """The event of a request of so many bytes; `answers` is the response that it speaks of, if it does."""
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
        names=_kept(names),
        more_names=max(0, len(names) - MOST_NAMES),
        unsubscribed=_kept(delta.unsubscribe) if delta else (),
        kept=len(delta.initial_versions) if delta else 0,
        after=max(0.0, at - answers.at) if answers is not None else None,
        error=(error.message or f"refused with code {error.code}")[:LONGEST_NACK] if error else "",
    )


def _kept(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name[:LONGEST_NAME] for name in names[:MOST_NAMES])


LONGEST_NAME = 256
"""Characters kept of a name that a client says."""
