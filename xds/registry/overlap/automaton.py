"""Finite automata without empty moves, small enough to search the product of two.

Whether two languages share a string needs no determinisation: the pairs of states that can be reached together are at
most |A|·|B|, and a breadth-first walk over them ends at the shortest common string.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from xds.registry.overlap.budget import Budget
from xds.registry.overlap.syntax import UnsupportedError, matched_by

MAX_TRANSITIONS: Final = 4_500


@dataclass(frozen=True, slots=True)
class Automaton:
    """`moves[state]` are (set of characters, next state); the start is state 0. No states at all accept nothing."""

    moves: tuple[tuple[tuple[int, int], ...], ...]
    accepting: frozenset[int]

    @property
    def empty(self) -> bool:
        """Whether no string is accepted. Automata are trimmed, so that this is easy to see."""
        return not self.accepting


NOTHING: Final = Automaton((), frozenset())


def common(one: Automaton, two: Automaton, budget: Budget) -> str | None:
    """The shortest string that both accept, None where there is none; raises OverBudgetError."""
    if one.empty or two.empty:
        return None
    start = (0, 0)
    came: dict[tuple[int, int], tuple[tuple[int, int], int]] = {start: (start, 0)}
    queue = deque([start])
    while queue:
        pair = queue.popleft()
        if pair[0] in one.accepting and pair[1] in two.accepting:
            return _spell(came, pair)
        ours, theirs = one.moves[pair[0]], two.moves[pair[1]]
        budget.spend(1 + len(ours) * len(theirs))
        for mask, target in ours:
            for other, opposite in theirs:
                shared = mask & other
                if shared and (target, opposite) not in came:
                    came[target, opposite] = (pair, shared)
                    queue.append((target, opposite))
    return None


def shortest(one: Automaton) -> str | None:
    """The shortest string that is accepted, None where nothing is."""
    if one.empty:
        return None
    ways = {0: ""}
    queue = deque([0])
    while queue[0] not in one.accepting:
        state = queue.popleft()
        for mask, target in one.moves[state]:
            if target not in ways:
                ways[target] = ways[state] + nice(mask)
                queue.append(target)
    return text(ways[queue[0]])


def intersection(one: Automaton, two: Automaton) -> Automaton:
    """The automaton of what both accept; raises UnsupportedError when it would be too large."""
    if one.empty or two.empty:
        return NOTHING
    numbers = {(0, 0): 0}
    queue = deque(numbers)
    moves: list[list[tuple[int, int]]] = []
    transitions = 0
    while queue:
        here, there = queue.popleft()
        moves.append([])
        for mask, target in one.moves[here]:
            for other, opposite in two.moves[there]:
                if not mask & other:
                    continue
                pair = (target, opposite)
                if pair not in numbers:
                    numbers[pair] = len(numbers)
                    queue.append(pair)
                moves[-1].append((mask & other, numbers[pair]))
                transitions += 1
        if transitions > MAX_TRANSITIONS:
            raise UnsupportedError("the expression is too large to be compared")
    accepting = {number for (a, b), number in numbers.items() if a in one.accepting and b in two.accepting}
    return trimmed(moves, accepting)


def text(characters: str) -> str:
    """The value that these bytes (as characters of Latin-1) are: decoded as everywhere else."""
    return characters.encode("latin-1").decode("utf-8", "surrogateescape")


def nice(mask: int) -> str:
    """A byte of a set that reads well in an example: a letter if there is one, a blank or no ASCII if nothing else."""
    for preferred in _PREFERRED:
        if mask & preferred:
            mask &= preferred
            break
    return chr((mask & -mask).bit_length() - 1)


_PREFERRED: Final = (matched_by("[a-z]", False), matched_by("[0-9A-Z]", False), matched_by("[!-~]", False))


def _spell(came: dict[tuple[int, int], tuple[tuple[int, int], int]], pair: tuple[int, int]) -> str:
    letters: list[str] = []
    while True:
        before, mask = came[pair]
        if not mask:
            return text("".join(reversed(letters)))
        letters.append(nice(mask))
        pair = before


def trimmed(moves: list[list[tuple[int, int]]], accepting: set[int]) -> Automaton:
    """Only the states on a way from the start to acceptance; moves to one target are joined."""
    sources: list[list[int]] = [[] for _ in moves]
    for state, leaving in enumerate(moves):
        for _, target in leaving:
            sources[target].append(state)
    useful = set(accepting)
    queue = deque(accepting)
    while queue:
        for source in sources[queue.popleft()]:
            if source not in useful:
                useful.add(source)
                queue.append(source)
    if 0 not in useful:
        return NOTHING
    numbers = {state: number for number, state in enumerate(sorted(useful))}
    kept = []
    for state in sorted(useful):
        joined: dict[int, int] = {}
        for mask, target in moves[state]:
            if target in useful:
                joined[numbers[target]] = joined.get(numbers[target], 0) | mask
        kept.append(tuple((mask, target) for target, mask in joined.items()))
    return Automaton(tuple(kept), frozenset(numbers[state] for state in accepting))
