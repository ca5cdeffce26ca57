"""The values that satisfy one condition, and what can be told from them without walking two automata together.

Most pairs are settled by cheap facts: the few strings of a small finite language can be tried, a shortest value of one
often satisfies the other, and languages that begin, end or spell differently are apart at first sight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from xds.registry.match import FieldKind, Op
from xds.registry.overlap import automaton, build, syntax
from xds.registry.overlap.automaton import Automaton
from xds.registry.overlap.syntax import ANY, UnsupportedError
from xds.registry.overlap.universe import universe

_FEW: Final = 24
"""Languages with at most so many strings are listed."""
_EDGE: Final = 24
"""How many characters from either end are compared at first sight."""
_OVER: Final = 1 << 256
"""Beside the characters of a place: the string may be over here."""


@dataclass(frozen=True, slots=True)
class Language:
    """What one REGEX or PREFIX condition admits, within the field's universe.

    `needed` are characters that every string has, `alphabet` those that any may have; `heads` and `tails` are the
    characters possible at each place from the beginning and from the end.
    """

    automaton: Automaton
    sample: str | None
    strings: frozenset[str] | None
    needed: int
    alphabet: int
    heads: tuple[int, ...]
    tails: tuple[int, ...]

    def apart(self, other: Language) -> bool:
        """Whether the two are disjoint at first sight; False says nothing."""
        return (
            bool(self.needed & ~other.alphabet)
            or bool(other.needed & ~self.alphabet)
            or _diverge(self.heads, other.heads)
            or _diverge(self.tails, other.tails)
        )


@lru_cache(maxsize=8192)
def language(kind: FieldKind, op: Op, value: str) -> Language | UnsupportedError:
    """The language of a condition on a field of this kind; the error (returned, so that it is kept) if it has none."""
    try:
        if op is Op.PREFIX:
            node: syntax.Node = syntax.Concat((syntax.literal(value), syntax.ANYTHING))
        else:
            node = syntax.wrapped(value)
        found = automaton.intersection(build.of(node), universe(kind).automaton)
    except UnsupportedError as error:
        return error
    return Language(
        automaton=found,
        sample=automaton.shortest(found),
        strings=_strings(found),
        needed=syntax.mandatory(node),
        alphabet=_joined(mask for leaving in found.moves for mask, _ in leaving),
        heads=_places(found, {0}, found.moves, found.accepting),
        tails=_places(found, set(found.accepting), _reversed(found), frozenset({0})),
    )


def _strings(found: Automaton) -> frozenset[str] | None:
    """All strings, if they are few."""
    strings: set[str] = set()
    # A state that is met again on its own way means a loop, hence no end: no way is longer than there are states.
    ways = [(0, "")] if not found.empty else []
    while ways:
        state, way = ways.pop()
        if state in found.accepting:
            strings.add(way)
        for mask, target in found.moves[state]:
            if mask.bit_count() > _FEW:
                return None
            ways += [(target, way + char) for char in _characters(mask)]
        if len(strings) > _FEW or len(ways) > _FEW or len(way) > len(found.moves):
            return None
    return frozenset(map(automaton.text, strings))


def _characters(mask: int) -> Iterator[str]:
    while mask:
        lowest = mask & -mask
        yield chr(lowest.bit_length() - 1)
        mask ^= lowest


def _places(
    found: Automaton, states: set[int], moves: tuple[tuple[tuple[int, int], ...], ...], ends: frozenset[int]
) -> tuple[int, ...]:
    """The characters possible at each place, walking from these states."""
    places: list[int] = []
    everything = ANY | _OVER
    for _ in range(_EDGE if not found.empty else 0):
        over = _OVER if states & ends else 0
        here = over | _joined(mask for state in states for mask, _ in moves[state])
        if here == everything and len(states) > 1 and places and places[-1] == everything:
            break
        places.append(here)
        if here in {0, _OVER}:
            break
        states = {target for state in states for _, target in moves[state]}
    return tuple(places)


def _diverge(one: tuple[int, ...], two: tuple[int, ...]) -> bool:
    for ours, theirs in zip(one, two, strict=False):
        both = ours & theirs
        if not both:
            return True
        if both == _OVER:
            return False
    return False


def _reversed(found: Automaton) -> tuple[tuple[tuple[int, int], ...], ...]:
    arriving: list[list[tuple[int, int]]] = [[] for _ in found.moves]
    for state, leaving in enumerate(found.moves):
        for mask, target in leaving:
            arriving[target].append((mask, state))
    return tuple(tuple(moves) for moves in arriving)


def _joined(masks: Iterator[int]) -> int:
    joined = 0
    for mask in masks:
        joined |= mask
    return joined
