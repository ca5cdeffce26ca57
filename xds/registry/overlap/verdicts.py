"""May two intercepts of one workload stand side by side?

Mirrors disturb nobody. Whole-port intercepts (global, replace) tolerate nothing beside them, except that a shared
global one leaves to personal ones what they claim. Two personal ones with disjoint matches are fine, and so are one
that asks for headers, baggage or the key field and one that does not: the former is asked first. Of two of the same
sort that overlap, one excludes the other, unless each asks for a header field that the other does not mention: then
both are allowed, precedence decides, and the user is warned with an example.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from xds.registry.intercept import InterceptSpec, Kind
from xds.registry.match import Field, FieldKind, Match, Op
from xds.registry.overlap.budget import Budget
from xds.registry.overlap.decide import Disjoint, Overlaps, overlap
from xds.registry.request import Request


@dataclass(frozen=True, slots=True)
class Fine:
    """Nothing to say."""


@dataclass(frozen=True, slots=True)
class Warn:
    """Allowed, but both match `witness`; `proven` is False where disjointness could only not be proved."""

    witness: Request | None
    ports: frozenset[int]
    proven: bool = True


@dataclass(frozen=True, slots=True)
class Conflict:
    """They exclude each other on these ports; `witness` matches both where one is known."""

    witness: Request | None
    ports: frozenset[int]
    proven: bool = True


Verdict = Fine | Warn | Conflict


FINE: Final = Fine()


def verdict(one: InterceptSpec, two: InterceptSpec, *, budget: Budget | None = None) -> Verdict:
    """What to say about two intercepts; symmetric."""
    if one.kind is two.kind is Kind.PERSONAL and _differ(one.match, two.match):
        return FINE
    ports = one.numbers & two.numbers
    if one.workload != two.workload or not ports or Kind.MIRROR in {one.kind, two.kind}:
        return FINE
    if Kind.PERSONAL not in {one.kind, two.kind}:
        return _excluding(one.match, two.match, ports, budget)
    if one.kind is two.kind:
        return _personal(one.match, two.match, ports, budget)
    whole = two if one.kind is Kind.PERSONAL else one
    if whole.kind is Kind.GLOBAL and whole.shared:
        return FINE
    return _excluding(one.match, two.match, ports, budget)


def _differ(one: Match, two: Match) -> bool:
    """Whether both ask for exact values of one field, and not for the same: that of most pairs, and found at once.

    Names and values are compared as they are written, so what is said of a field is true of it wherever it is looked
    for: in the header, or in the baggage member.
    """
    for ours in one.conditions:
        if ours.op is Op.EXACT:
            for theirs in two.conditions:
                if theirs.op is Op.EXACT and theirs.value != ours.value and theirs.field == ours.field:
                    return True
    return False


def _excluding(one: Match, two: Match, ports: frozenset[int], budget: Budget | None) -> Conflict:
    """A conflict whatever the conditions; an example if there is one."""
    found = overlap(one, two, budget=budget)
    return Conflict(found.witness if isinstance(found, Overlaps) else None, ports)


def _personal(one: Match, two: Match, ports: frozenset[int], budget: Budget | None) -> Verdict:
    if one.gated != two.gated:
        return FINE
    found = overlap(one, two, budget=budget)
    if isinstance(found, Disjoint):
        return FINE
    witness, proven = (found.witness, True) if isinstance(found, Overlaps) else (None, False)
    ours, theirs = frozenset(_looked_at(one)), frozenset(_looked_at(two))
    if not one.gated or ours <= theirs or theirs <= ours:
        return Conflict(witness, ports, proven)
    return Warn(witness, ports, proven)


def _looked_at(match: Match) -> Iterator[Field]:
    """The fields of a match. The key field is looked for in two places, so it covers the header and the member."""
    for field in match.fields:
        if field.kind is FieldKind.KEY:
            yield Field(FieldKind.HEADER, field.name)
            yield Field(FieldKind.BAGGAGE, field.name)
        else:
            yield field
