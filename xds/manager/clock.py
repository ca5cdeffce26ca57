"""The registry's clock: seconds, going on while the machine sleeps, untouched by changes of the wall clock.

It starts anew with each process; what outlives a process is kept as ages. A test may step it, and the wall clock goes
with it, as it does when a machine was suspended.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_SOURCE = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock:
    """A clock that never goes back."""

    def __init__(self) -> None:
        self._stepped = 0.0

    def now(self) -> float:
        """Seconds since some moment in the past."""
        return time.clock_gettime(_SOURCE) + self._stepped

    def step(self, seconds: float) -> None:
        """Go forward at once, as a machine does that was suspended."""
        self._stepped += max(0.0, seconds)

    def wall(self, then: float | None = None) -> datetime:
        """The wall-clock time (UTC) of a moment of this clock: for people, and for what others check by theirs."""
        age = 0.0 if then is None else self.now() - then
        return datetime.now(UTC) + timedelta(seconds=self._stepped - age)
