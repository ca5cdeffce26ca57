"""How long it takes from a change until every live sidecar of its workload runs it.

A sidecar that runs something newer counts too: changes that follow each other quickly go out as one. What nobody was
connected for is not measured, and neither is what nobody is left to run.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from typing import Final

from xds.registry.workload import WorkloadId

MOST: Final = 256
"""Changes of one workload that are waited for at a time; those beyond are not measured."""


class Convergence:
    """Changes that are not in force everywhere yet. Whoever wants to know how long each took sets `observe`."""

    def __init__(self) -> None:
        self.observe: Callable[[float], None] = _nobody
        self._due: defaultdict[WorkloadId, deque[tuple[int, float]]] = defaultdict(deque)

    def began(self, key: WorkloadId, revision: int, now: float) -> None:
        """A workload changed, in this revision; `now` in seconds."""
        if len(self._due[key]) < MOST:
            self._due[key].append((revision, now))

    def look(self, key: WorkloadId, now: float, behind: Callable[[int], bool]) -> None:
        """A sidecar made progress; `behind` says whether some sidecar still runs less than a revision."""
        due = self._due.get(key)
        while due and not behind(due[0][0]):
            self.observe(max(0.0, now - due.popleft()[1]))
        if due is not None and not due:
            del self._due[key]

    def forget(self, key: WorkloadId) -> None:
        """There is no workload, or no sidecar of it, any more."""
        self._due.pop(key, None)

    def __len__(self) -> int:
        return sum(map(len, self._due.values()))


def _nobody(_: float) -> None:
    """Nobody wants to know."""
