"""Whether some request satisfies two matches."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

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


def overlap(one: Match, two: Match, *, budget: Budget | None = None) -> Overlap:
    """Whether some request satisfies both matches, over all well-formed requests.

    A request that repeats a field is outside: repeated header lines, query keys or baggage members can satisfy what no
    single value does, and precedence decides those.
    """
    allowed = Budget() if budget is None else budget
    doubt = ""
    for ours, theirs in product(boxes(one), boxes(two)):
        both = meet(ours, theirs)
        if both is None:
            continue
        try:
            witness = request_in(both, allowed)
        except (UnsupportedError, OverBudgetError) as error:
            doubt = doubt or str(error)
            continue
        if witness is None:
            continue
        if matches(one, witness) and matches(two, witness):
            return Overlaps(witness)
        doubt = doubt or "the example that was found does not satisfy both"
    return Unknown(doubt) if doubt else Disjoint()


def example_request(match: Match) -> Request | None:
    """A request that satisfies the match; None where there is none or none is known."""
    found = overlap(match, Match())
    return found.witness if isinstance(found, Overlaps) else None
