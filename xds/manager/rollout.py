"""Which intercepts of one workload its sidecars are given, so that a refused one never takes the others with it.

Envoy refuses a route configuration as a whole and doesn't say which route was wrong. Normally all intercepts that are
wanted are published. When a sidecar refuses them, the set that every sidecar has acknowledged goes out again at once,
and the intercepts added since are added again one by one; only one whose own addition is refused is rejected.

    steady ──refused──▶ falling back ──acknowledged──▶ trying the next suspect ──acknowledged──▶ it is proven, next …
                                                             └──refused──▶ it is rejected, falling back …

No I/O, no clock. The caller publishes `publication()` whenever it changed, and reports what became of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Rollout:
    """The rollout of one workload's intercepts, by id."""

    _wanted: list[str] = field(default_factory=list)
    _proven: set[str] = field(default_factory=set)
    _suspects: list[str] | None = None
    _trial: str | None = None

    @property
    def isolating(self) -> bool:
        """Whether suspects are being tried one by one."""
        return self._suspects is not None

    def want(self, ids: Iterable[str]) -> None:
        """What is to be routed from now on, the oldest first."""
        wanted = list(ids)
        fresh = [one for one in wanted if one not in self._wanted]
        self._wanted = wanted
        self._proven &= set(wanted)
        if self._trial not in wanted:
            self._trial = None
        if self._suspects is not None:
            self._suspects = [one for one in [*self._suspects, *fresh] if one in wanted]
            if not self._suspects and self._trial is None:
                self._suspects = None

    def publication(self) -> frozenset[str]:
        """What the sidecars are to be given now."""
        if self._suspects is None:
            return frozenset(self._wanted)
        return frozenset(self._proven) | ({self._trial} if self._trial else set())

    def acknowledged(self) -> None:
        """Every live sidecar has acknowledged the publication."""
        self._proven = set(self.publication())
        if self._suspects is None:
            return
        self._trial = self._suspects.pop(0) if self._suspects else None
        if self._trial is None:
            self._suspects = None

    def refused(self) -> str | None:
        """A sidecar refused the publication. Returns the intercept to reject, if that is certain now.

        Where nothing new was in it, there is nobody to blame: the publication stays as it is, and what is said to the
        sidecar next is said when something changes.
        """
        added = [one for one in self._wanted if one in self.publication() and one not in self._proven]
        if not added:
            return None
        if len(added) == 1:
            guilty = added[0]
            self._wanted.remove(guilty)
            self._trial = None
            if self._suspects is None:
                self._suspects = []
            return guilty
        self._suspects = added
        self._trial = None
        return None
