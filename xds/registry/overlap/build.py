"""From the tree of an expression to an automaton.

Thompson's construction gives a program with choices and assertions; then both are resolved. A state of the automaton is
an instruction and the kind of character that came before it, a transition knows what kind it consumes, so that `^`, `$`
and `\\b` are decided while it is built. States from which nothing can be accepted are cut, so that `.*(?:^a)` keeps no
trace of its `.*`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from xds.registry.overlap.automaton import MAX_TRANSITIONS, Automaton, trimmed
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
MAX_EFFORT: Final = 20_000
"""Instructions that may be looked at while an automaton is built: about 5 ms."""
_WORD: Final = matched_by(r"\w", False)


def of(node: Node) -> Automaton:
    """The automaton of an expression (of whole strings); raises UnsupportedError when it would be too large."""
    return _Resolver(_Program(node)).automaton()


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
        return trimmed(moves, accepting)

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
