"""Which intercepts of one workload its sidecars are given, so that a refused one never takes the others with it.

Envoy refuses a route configuration as a whole and doesn't say which route was wrong. Normally all intercepts that are
wanted are published. When a sidecar refuses them, the set that every sidecar has acknowledged goes out again at once,
and the intercepts added since are added again one by one; only one whose own addition is refused is rejected.

    steady ──refused──▶ falling back ──acknowledged──▶ trying the next suspect ──acknowledged──▶ it is proven, next …
                                                             └──refused──▶ it is rejected, falling back …

What was acknowledged may be refused later: a sidecar of another version has come, or a laptop has another address.
Then everything is under suspicion, and the set to fall back to is the empty one.

No I/O, no clock. The caller publishes `publication()` whenever it changed, and reports what became of it. From a
refusal to the next steady state there are at most 1 + suspects + rejected publications.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Rollout:
    """The rollout of one workload's intercepts, by id. An id never comes back once it is no longer wanted."""

    _wanted: list[str] = field(default_factory=list)
    _proven: set[str] = field(default_factory=set)
    _guilty: set[str] = field(default_factory=set)
    _suspects: list[str] | None = None
    _trial: str | None = None

    @property
    def proven(self) -> frozenset[str]:
        """What every live sidecar has acknowledged."""
        return frozenset(self._proven)

    @property
    def steady(self) -> bool:
        """Whether an acknowledgement of the publication would be no news."""
        return self._suspects is None and self._proven == set(self._wanted)

    def want(self, ids: Iterable[str]) -> None:
        """What is to be routed from now on, the oldest first.

        What was refused is not published again, should it be wanted still: its rejection may not be stored yet.
        """
        listed = list(ids)
        self._guilty &= set(listed)
        wanted = [one for one in listed if one not in self._guilty]
        known = set(self._wanted)
        fresh = [one for one in wanted if one not in known]
        self._wanted = wanted
        self._proven &= set(wanted)
        if self._trial not in wanted:
            self._trial = None
        if self._suspects is not None:
            keep = set(wanted)
            self._suspects = [one for one in [*self._suspects, *fresh] if one in keep]
            if not self._suspects and self._trial is None:
                self._suspects = None

    def trust(self, ids: Iterable[str]) -> None:
        """Count these, which are wanted, as acknowledged: they were before the process started."""
        self._proven |= set(ids) & set(self._wanted)

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

        Where there is no intercept in it, there is nobody to blame, and nothing changes; see `acquit`.
        """
        published = self.publication()
        added = [one for one in self._wanted if one in published and one not in self._proven]
        if len(added) == 1:
            guilty = added[0]
            self._guilty.add(guilty)
            self._wanted.remove(guilty)
            self._trial = None
            if self._suspects is None:
                self._suspects = []
            return guilty
        if added:
            self._suspects = added
        elif published:
            self._suspects = list(self._wanted)
            self._proven = set()
        self._trial = None
        return None

    def acquit(self) -> None:
        """No intercept is to blame: publish all that is wanted.

        For when a sidecar refuses even a publication without intercepts, and when there is no sidecar any more that
        could say anything of them.
        """
        self._suspects = None
        self._trial = None
