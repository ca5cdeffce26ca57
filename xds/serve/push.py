"""What a response to a client holds, why it was sent, and what became of it.

Why is for the caller of the store to say, in words of his own: they are kept and never read.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Final

from xds.serve.resource import Resource

CONNECTED: Final = "connected"
RECONNECTED: Final = "reconnected, with what it had"
SUBSCRIPTION: Final = "subscription"
ASKED_AGAIN: Final = "asked for again"
WARMING: Final = "endpoints of clusters that it was sent"

MOST_NAMES: Final = 50
"""Names kept of one push or request; the others are counted."""
MOST_REASONS: Final = 8
"""Reasons kept of one push; the others are counted."""
LONGEST_NACK: Final = 2000
"""Characters kept of a refusal."""


class Outcome(StrEnum):
    """What became of a push."""

    WAITING = "waiting"
    ACKED = "acked"
    NACKED = "nacked"
    CUT_OFF = "cut off"
    """The stream ended before the client said anything."""


@dataclass(frozen=True, slots=True)
class Item:
    """A resource in a push; `size` is that of its body, bytes."""

    name: str
    version: str
    size: int


@dataclass(frozen=True, slots=True)
class Contents:
    """What a response holds. `version` is its own, empty in delta; `more_…` counts what is not listed; `weight` is how
    much it takes to keep it, in names."""

    version: str
    items: tuple[Item, ...] = ()
    more_items: int = 0
    removed: tuple[str, ...] = ()
    more_removed: int = 0
    weight: int = 4

    @classmethod
    def of(cls, resources: Collection[Resource], removed: Collection[str], version: str) -> Contents:
        """The contents of a response with these resources and removals."""
        items = tuple(Item(each.name, each.version, len(each.body)) for each in islice(resources, MOST_NAMES))
        gone = tuple(islice(removed, MOST_NAMES))
        more = (len(resources) - len(items), len(removed) - len(gone))
        return cls(version, items, more[0], gone, more[1], weight=4 + len(items) + len(gone))


@dataclass(slots=True, eq=False)
class Pushed:
    """A response. Times are seconds since the epoch, `size` is all of it in bytes, `revision` the store's."""

    type_url: str
    nonce: str
    revision: int
    at: float
    size: int
    contents: Contents
    reasons: tuple[str, ...]
    outcome: Outcome = Outcome.WAITING
    answered: float | None = None
    nack: str = ""

    def settle(self, outcome: Outcome, at: float, nack: str = "") -> None:
        """The client has said, or will never say, what it makes of it."""
        self.outcome = outcome
        self.answered = max(at, self.at)
        self.nack = nack[:LONGEST_NACK]


@dataclass(slots=True)
class Reasons:
    """Why the next response goes out, each reason once, in order."""

    _named: tuple[str, ...] = ()
    _unnamed: int = 0

    def add(self, reason: str) -> None:
        """One more; an empty one is none."""
        if not reason or reason in self._named:
            return
        if len(self._named) < MOST_REASONS:
            self._named = (*self._named, reason)
        else:
            self._unnamed += 1

    def all(self) -> tuple[str, ...]:
        """All of them."""
        return (*self._named, f"and {self._unnamed} more") if self._unnamed else self._named

    def clear(self) -> None:
        """They are dealt with."""
        self._named = ()
        self._unnamed = 0
