"""What a fleet counts, without I/O and without a clock.

A server pushes one change to many streams; what a user wants to know is when the last of them had it. A client can't
see when a push began. So a *wave* is what comes to streams that were in sync, from the first response after a while of
silence to the last before the next one; its time is that between these two.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

SILENCE = 0.5
"""Seconds without a response that end a wave."""


@dataclass(slots=True)
class Wave:
    """Responses that came together. Times in seconds."""

    first: float
    last: float
    types: dict[str, None] = field(default_factory=dict)
    streams: set[int] = field(default_factory=set)
    responses: int = 0
    size: int = 0

    @property
    def seconds(self) -> float:
        """From the first response to the last."""
        return self.last - self.first

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "types": list(self.types),
            "responses": self.responses,
            "streams": len(self.streams),
            "bytes": self.size,
            "seconds": round(self.seconds, 4),
        }


@dataclass(slots=True)
class Tally:
    """Everything that is counted. `in_sync` are the streams that have got all that they first asked for."""

    wanted: int
    open: set[int] = field(default_factory=set)
    in_sync: set[int] = field(default_factory=set)
    responses: int = 0
    acknowledged: int = 0
    refused: int = 0
    size: int = 0
    reconnects: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    synced_after: float | None = None
    """Seconds until all were in sync for the first time."""
    waves: list[Wave] = field(default_factory=list)
    _wave: Wave | None = None

    def on_response(self, stream: int, kind: str, size: int, at: float, *, refused: bool) -> None:
        """A stream got a response, and answered it."""
        self.responses += 1
        self.size += size
        self.acknowledged += not refused
        self.refused += refused
        if stream not in self.in_sync:
            return
        self.settle(at)
        wave = self._wave = self._wave or Wave(at, at)
        wave.last = at
        wave.types[kind] = None
        wave.streams.add(stream)
        wave.responses += 1
        wave.size += size

    def settle(self, at: float) -> Wave | None:
        """End the wave that has been silent for long enough; returns it."""
        wave = self._wave
        if wave is None or at - wave.last < SILENCE:
            return None
        return self.finish()

    def finish(self) -> Wave | None:
        """End the wave that there is, if any; returns it."""
        wave, self._wave = self._wave, None
        if wave is not None:
            self.waves.append(wave)
        return wave

    def on_sync(self, stream: int, seconds: float) -> bool:
        """A stream has got all that it asked for. Says whether it was the last one, for the first time."""
        self.in_sync.add(stream)
        if len(self.in_sync) < self.wanted or self.synced_after is not None:
            return False
        self.synced_after = seconds
        return True

    def on_end(self, stream: int, code: str) -> None:
        """A stream has ended, and will be opened again."""
        self.open.discard(stream)
        self.in_sync.discard(stream)
        self.reconnects += 1
        self.ends[code] += 1

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        after = None if self.synced_after is None else round(self.synced_after, 3)
        return {
            "streams": self.wanted,
            "open": len(self.open),
            "in_sync": len(self.in_sync),
            "synced_after_seconds": after,
            "responses": self.responses,
            "acknowledged": self.acknowledged,
            "refused": self.refused,
            "bytes": self.size,
            "reconnects": self.reconnects,
            "ends": dict(self.ends),
            "waves": [wave.as_dict() for wave in self.waves],
        }
