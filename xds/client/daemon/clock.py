"""The activity clock: how long ago the user last did something.

A laptop that sleeps is a laptop whose user is away, so the clock must go on meanwhile: CLOCK_BOOTTIME does on Linux,
on macOS the clock behind `time.monotonic` is the closest that Python offers. Neither follows the wall clock's jumps.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

if sys.platform == "linux":

    def boottime() -> float:
        """Seconds since the machine started, its sleep included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:

    def boottime() -> float:
        """Seconds of a clock that never jumps."""
        return time.monotonic()


class Activity:
    """When the user last did something."""

    def __init__(self, clock: Callable[[], float] = boottime) -> None:
        self._clock = clock
        self._last = clock()

    def touch(self) -> None:
        """The user did something now."""
        self._last = self._clock()

    @property
    def idle_seconds(self) -> float:
        """Since then."""
        return max(0.0, self._clock() - self._last)
