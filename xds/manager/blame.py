"""Which refusals are the sidecar's own fault, and no intercept's.

Two kinds of sidecar are to blame themselves. One refuses even a publication without intercepts. The other is a
newcomer, of another version say: it has acknowledged nothing of that type yet, and others are there that go by it. If
those refuse, they say so themselves; should only such newcomers be left, their refusal counts after all.

Every refusal is of one type on one stream. No I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

Who = tuple[int, str]
"""A stream's number and a type."""


@dataclass(slots=True)
class Blame:
    """What is known of the streams that are open."""

    _ran: set[Who] = field(default_factory=set)
    _hopeless: set[Who] = field(default_factory=set)
    _newcomers: dict[Who, str] = field(default_factory=dict)

    def acknowledged(self, who: Who) -> None:
        """It runs what it was given: nothing is held against it, and it is no newcomer any more."""
        self._ran.add(who)
        self._hopeless.discard(who)
        self._newcomers.pop(who, None)

    def refused_nothing(self, who: Who) -> None:
        """It refuses even what has no intercepts."""
        self._hopeless.add(who)

    def is_newcomers(self, who: Who, text: str, *, others: Collection[int]) -> bool:
        """Whether a refusal is a newcomer's, `others` being the other streams of its workload; then it is to blame."""
        if who in self._ran or not any(self._counts(other) for other in others):
            return False
        self._newcomers[who] = text
        return True

    def excused(self, who: Who) -> bool:
        """Whether nobody waits for it, and its refusals are no intercept's fault."""
        return who in self._hopeless or who in self._newcomers

    def newcomer(self, number: int) -> bool:
        """Whether a stream refuses what others run."""
        return any(each == number for each, _ in self._newcomers)

    def left_alone(self, streams: Collection[int]) -> str | None:
        """What such a newcomer said, where these are all the streams of its workload and nobody among them runs what it
        refuses; from now on it counts."""
        if any(self._counts(number) for number in streams):
            return None
        mine = {who: text for who, text in self._newcomers.items() if who[0] in streams}
        for who in mine:
            del self._newcomers[who]
        return next(iter(mine.values()), None)

    def gone(self, number: int) -> None:
        """A stream has ended."""
        self._ran = {who for who in self._ran if who[0] != number}
        self._hopeless = {who for who in self._hopeless if who[0] != number}
        self._newcomers = {who: text for who, text in self._newcomers.items() if who[0] != number}

    def _counts(self, number: int) -> bool:
        return not any(who[0] == number for who in (*self._hopeless, *self._newcomers))
