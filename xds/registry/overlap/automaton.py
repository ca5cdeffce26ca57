"""Finite automata without empty moves, small enough to search the product of two.

Whether two languages share a string needs no determinisation: the pairs of states that can be reached together are at
most |A|·|B|, and a breadth-first walk over them ends at the shortest common string. Assertions are resolved while the
automaton is built: a state remembers what kind of character came before it, a transition knows what kind it consumes.
States from which nothing can be accepted are cut, so that `.*(?:^a)` keeps no trace of its `.*`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from xds.registry.overlap.budget import Budget
from xds.registry.overlap.syntax import (
    ANY,
    Alternate,
    Assert,
    Chars,
    Concat,
    Node,
    Repeat,
    UnsupportedError,
    Where,
    matched_by,
)

MAX_STATES: Final = 3_000
MAX_TRANSITIONS: Final = 5_000
MAX_EFFORT: Final = 20_000
"""Instructions that may be looked at while an automaton is built: about 5 ms."""
_WORD: Final = matched_by(r"\w", False)


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


def of(node: Node) -> Automaton:
    """The automaton of an expression (of whole strings); raises UnsupportedError when it would be too large."""
    return _Resolver(_Program(node)).automaton()


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
    return _trimmed(moves, accepting)


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


def _trimmed(moves: list[list[tuple[int, int]]], accepting: set[int]) -> Automaton:
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


@dataclass(frozen=True, slots=True)
class _Consume:
    """Take one character of the set, go on at `then`."""

    mask: int
    then: int


@dataclass(frozen=True, slots=True)
class _Check:
    """Go on at `then` where the assertion holds."""

    where: Where
    then: int


_Instruction = _Consume | _Check | list[int]


class _Program:
    """Thompson's construction, from the end to the beginning; a list is a choice. Instruction 0 accepts."""

    def __init__(self, node: Node) -> None:
        self.instructions: list[_Instruction] = [[]]
        self.start = self._emit(node, 0)
        self.checks = {one.where for one in self.instructions if isinstance(one, _Check)}

    def _add(self, instruction: _Instruction) -> int:
        if len(self.instructions) > MAX_STATES:
            raise UnsupportedError("the expression is too large to be compared")
        self.instructions.append(instruction)
        return len(self.instructions) - 1

    def _emit(self, node: Node, then: int) -> int:
        match node:
            case Chars(mask):
                return self._add(_Consume(mask, then))
            case Assert(where):
                return self._add(_Check(where, then))
            case Concat(parts):
                for part in reversed(parts):
                    then = self._emit(part, then)
                return then
            case Alternate(options):
                return self._add([self._emit(option, then) for option in options])
            case Repeat(inner, least, most):
                return self._repeat(inner, least, most, then)

    def _repeat(self, inner: Node, least: int, most: int | None, then: int) -> int:
        entry = then
        if most is None:
            choice = [then]
            entry = self._add(choice)
            choice.append(self._emit(inner, entry))
        else:
            for _ in range(most - least):
                entry = self._add([then, self._emit(inner, entry)])
        for _ in range(least):
            entry = self._emit(inner, entry)
        return entry


class _Kind:
    """What stands before or after a place: nothing, a word character, another one."""

    NOTHING: Final = 0
    WORD: Final = 1
    OTHER: Final = 2


class _Resolver:
    """Turns a program into an automaton; its states are (instruction, kind of the character before)."""

    def __init__(self, program: _Program) -> None:
        self._program = program
        boundaries = bool(program.checks & {Where.BOUNDARY, Where.NO_BOUNDARY})
        self._effort = 0
        self._kinds = ((_Kind.WORD, _WORD), (_Kind.OTHER, ANY & ~_WORD)) if boundaries else ((_Kind.OTHER, ANY),)

    def automaton(self) -> Automaton:
        start = (self._program.start, _Kind.NOTHING)
        numbers = {start: 0}
        queue = deque([start])
        moves: list[list[tuple[int, int]]] = []
        accepting: set[int] = set()
        transitions = 0
        while queue:
            at, before = queue.popleft()
            moves.append([])
            if self._reached(at, before, _Kind.NOTHING)[1]:
                accepting.add(len(moves) - 1)
            for after, allowed in self._kinds:
                for mask, then in self._reached(at, before, after)[0]:
                    if not mask & allowed:
                        continue
                    state = (then, after)
                    if state not in numbers:
                        numbers[state] = len(numbers)
                        queue.append(state)
                    moves[-1].append((mask & allowed, numbers[state]))
                    transitions += 1
            if transitions > MAX_TRANSITIONS or self._effort > MAX_EFFORT:
                raise UnsupportedError("the expression is too large to be compared")
        return _trimmed(moves, accepting)

    def _reached(self, at: int, before: int, after: int) -> tuple[list[tuple[int, int]], bool]:
        """The characters that can be taken next, and whether the end is reached, between two kinds of neighbours."""
        consuming: list[tuple[int, int]] = []
        accepts = False
        seen = {at}
        stack = [at]
        while stack:
            number = stack.pop()
            instruction = self._program.instructions[number]
            accepts = accepts or number == 0
            following: list[int] = []
            if isinstance(instruction, _Consume):
                consuming.append((instruction.mask, instruction.then))
            elif isinstance(instruction, _Check):
                following = [instruction.then] if _holds(instruction.where, before, after) else []
            else:
                following = instruction
            for one in following:
                if one not in seen:
                    seen.add(one)
                    stack.append(one)
        self._effort += len(seen)
        return consuming, accepts and after == _Kind.NOTHING


def _holds(where: Where, before: int, after: int) -> bool:
    match where:
        case Where.BEGIN:
            return before == _Kind.NOTHING
        case Where.END:
            return after == _Kind.NOTHING
        case Where.BOUNDARY:
            return (before == _Kind.WORD) != (after == _Kind.WORD)
        case Where.NO_BOUNDARY:
            return (before == _Kind.WORD) == (after == _Kind.WORD)
