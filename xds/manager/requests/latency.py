"""Durations, counted so that any percentile can be said afterwards, in bounded memory.

A histogram whose buckets grow by a twentieth each: whatever it says is at most 2.5 % off. From a microsecond to a month
there are some six hundred buckets, and only those in use are there. (The idea is that of DDSketch, arXiv:1908.10693.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

SHORTEST: Final = 1e-6
LONGEST: Final = 30 * 86_400.0
GROWTH: Final = math.log(1.05)


@dataclass(slots=True)
class Latencies:
    """Durations in seconds."""

    count: int = 0
    _buckets: dict[int, int] = field(default_factory=dict)

    def add(self, seconds: float) -> None:
        """Count one; what is out of bounds counts as the bound."""
        bucket = math.floor(math.log(min(max(seconds, SHORTEST), LONGEST)) / GROWTH)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1

    def percentile(self, share: float) -> float:
        """The duration that this share (0 to 1) of all are not longer than, within 2.5 %; 0 where there is none."""
        rank, seen = max(1, math.ceil(share * self.count)), 0
        for bucket, count in sorted(self._buckets.items()):
            seen += count
            if seen >= rank:
                return math.exp((bucket + 0.5) * GROWTH)
        return 0.0
