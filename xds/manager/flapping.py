"""Tunnels that come and go: after a few losses in short time, one has to hold for a while before it is used again.

A tunnel that is lost now and then is used again at once. One that is lost over and over would send requests to the
laptop just to lose them there; so the more often it was lost of late, the longer it has to hold first.

No I/O, no clock. Processes that are restarted all the time are none of this: whoever develops does that.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

MEMORY: Final = 30.0
"""Seconds for which a loss counts."""
FREE: Final = 3
"""Losses within that time that have no consequences."""
LONGEST: Final = 8.0
"""The longest that a tunnel has to hold, seconds."""


@dataclass(slots=True)
class Flapping:
    """One session's tunnel."""

    _lost: deque[float] = field(default_factory=deque)
    _up_since: float | None = None

    def look(self, *, up: bool, now: float) -> float:
        """Take in how the tunnel is. Returns for how many seconds it has to hold yet; 0 where it may be used."""
        if not up:
            if self._up_since is not None:
                self._lost.append(now)
            self._up_since = None
            return 0.0
        if self._up_since is None:
            self._up_since = now
        while self._lost and self._lost[0] <= now - MEMORY:
            self._lost.popleft()
        return max(0.0, self._up_since + self._needed() - now)

    @property
    def losses(self) -> int:
        """How often it was lost of late."""
        return len(self._lost)

    def _needed(self) -> float:
        over = len(self._lost) - FREE
        return min(LONGEST, 2.0**over) if over > 0 else 0.0
