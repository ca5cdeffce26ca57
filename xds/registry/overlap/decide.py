"""Whether some request satisfies two matches."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Final

from xds.registry.match import Match
from xds.registry.matcher import matches
from xds.registry.overlap.boxes import boxes, meet, request_in
from xds.registry.overlap.budget import Budget, OverBudgetError
from xds.registry.overlap.syntax import UnsupportedError
from xds.registry.request import Request


@dataclass(frozen=True, slots=True)
class Disjoint:
    """No well-formed request satisfies both."""


@dataclass(frozen=True, slots=True)
class Overlaps:
    """`witness` satisfies both; both matchers have said so."""

    witness: Request
    proven: bool = True


@dataclass(frozen=True, slots=True)
class Unknown:
    """Could not be decided; counts as overlapping."""

    reason: str


Overlap = Disjoint | Overlaps | Unknown


_REMEMBERED: Final = 20_000
_pairs: dict[tuple[Match, Match], Overlap] = {}
"""Pairs that were decided, or given up for good. Emptied when full."""


def overlap(one: Match, two: Match, *, budget: Budget | None = None) -> Overlap:
    """Whether some request satisfies both matches, over all well-formed requests.

    A request that repeats a field is outside: repeated header lines, query keys or baggage members can satisfy what no
    single value does, and precedence decides those.
    """
    known = _pairs.get((one, two)) or _pairs.get((two, one))
    if known is not None:
        return known
    found, lasting = _decide(one, two, Budget() if budget is None else budget)
    if lasting:
        if len(_pairs) >= _REMEMBERED:
            _pairs.clear()
        _pairs[one, two] = found
    return found


def _decide(one: Match, two: Match, budget: Budget) -> tuple[Overlap, bool]:
    """The answer, and whether it would be the same with more time."""
    doubt = ""
    lasting = True
    for ours, theirs in product(boxes(one), boxes(two)):
        both = meet(ours, theirs)
        if both is None:
            continue
        try:
            witness = request_in(both, budget)
        except (UnsupportedError, OverBudgetError) as error:
            doubt = doubt or str(error)
            lasting = lasting and (isinstance(error, UnsupportedError) or error.for_good)
            continue
        if witness is None:
            continue
        if matches(one, witness) and matches(two, witness):
            return Overlaps(witness), True
        doubt = doubt or "the example that was found does not satisfy both"
    return (Unknown(doubt) if doubt else Disjoint()), lasting


def example_request(match: Match) -> Request | None:
    """A request that satisfies the match; None where there is none or none is known."""
    found = overlap(match, Match())
    return found.witness if isinstance(found, Overlaps) else None
