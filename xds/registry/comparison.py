"""One newcomer against the other intercepts of its workload, ahead of the step that creates it.

Comparing expressions takes time, and the step that checks and creates must be short. What an intercept asks for never
changes while it has its id, so a verdict that was found before that step is as good inside it: all that may have
changed meanwhile is who is there. So the caller compares until nothing is `pending`, as slowly as it likes, and creates
in the same breath; whoever came in between is pending again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from xds.registry.intercept import Disposition, Intercept, InterceptSpec
from xds.registry.overlap import Budget, Verdict, verdict
from xds.registry.state import State

PER_OTHER: Final = 30_000
"""Steps of comparing with one other intercept, about 25 ms: nobody waits longer for their turn."""


class Comparison:
    """Verdicts on `spec` and each other intercept of its workload, kept by the other's id.

    Once `expired` says True, what is left and can't be told at first sight counts as overlapping.
    """

    def __init__(self, spec: InterceptSpec, *, expired: Callable[[], bool] = lambda: False) -> None:
        self.spec = spec
        self._expired = expired
        self._verdicts: dict[str, Verdict] = {}

    def pending(self, state: State) -> list[Intercept]:
        """Those that may stand in the way and are not compared yet, the oldest first.

        Who is displaced now may be back by the time of the creation; who was rejected never comes back.
        """
        return [
            other
            for other in state.of_workload(self.spec.workload)
            if other.id not in self._verdicts and other.disposition is not Disposition.REJECTED
        ]

    def verdict(self, other: Intercept) -> Verdict:
        """What to say about the newcomer and this one; worked out where that is not known yet."""
        found = self._verdicts.get(other.id)
        if found is None:
            budget = Budget(total=PER_OTHER, expired=self._expired)
            found = self._verdicts[other.id] = verdict(self.spec, other.spec, budget=budget)
        return found
