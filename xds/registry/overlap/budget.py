"""How much work a comparison may take: counted steps, so that the answer is the same on every machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

PER_PAIR: Final = 12_000
"""Steps for one pair of expressions: about 10 ms."""
TOTAL: Final = 400_000
"""Steps for all comparisons of one check."""
_LOOK_AT_THE_CLOCK_EVERY: Final = 1024


class OverBudgetError(Exception):
    """The work was given up. `for_good` when the same comparison would be given up again."""

    def __init__(self, reason: str, *, for_good: bool) -> None:
        super().__init__(reason)
        self.for_good = for_good


class Budget:
    """Steps left, for one pair and in all, and whoever asks may stop it by the clock.

    `expired` is asked now and then, and once it says True all further work is given up at once.
    """

    def __init__(
        self, *, per_pair: int = PER_PAIR, total: int = TOTAL, expired: Callable[[], bool] = lambda: False
    ) -> None:
        self.per_pair = per_pair
        self.total = total
        self._expired = expired
        self._stopped = False
        self._pair = per_pair
        self._until_clock = _LOOK_AT_THE_CLOCK_EVERY

    def begin_pair(self) -> None:
        """Start on another pair. Raises OverBudgetError when nothing is left in all."""
        self._pair = self.per_pair
        self._until_clock = 0
        self.spend(0)

    def spend(self, steps: int) -> None:
        """Account for work that is done; raises OverBudgetError when there was too much of it."""
        self._pair -= steps
        self.total -= steps
        self._until_clock -= steps
        if self._until_clock <= 0:
            self._until_clock = _LOOK_AT_THE_CLOCK_EVERY
            self._stopped = self._stopped or self._expired()
        if self._stopped or self.total <= 0:
            raise OverBudgetError("the time for the whole check was used up", for_good=False)
        if self._pair <= 0:
            raise OverBudgetError("the comparison takes too many steps", for_good=True)
