"""Whether a condition leaves no path out, however it is written: `^/`, `.*`, `/|x`.

A path that the condition does not admit is looked for, the shortest first: one state of the universe's automaton beside
the set of states that the expression may be in. Nearly every expression leaves a short path out, so the walk is long
for those alone that admit nearly everything; what can't be decided counts as everything.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from typing import Final

from xds.registry.match import Condition, FieldKind, Op
from xds.registry.overlap.automaton import Automaton
from xds.registry.overlap.budget import Budget, OverBudgetError
from xds.registry.overlap.language import language
from xds.registry.overlap.syntax import UnsupportedError
from xds.registry.overlap.universe import universe
from xds.registry.regex import full_match, wrap

_SAMPLES: Final = ("/", "/a", "/B/7", "/~.-_%20")


def admits_every_path(condition: Condition) -> bool:
    """Whether every well-formed path satisfies a condition on the path; True where that can't be decided."""
    match condition.op:
        case Op.PRESENT:
            return True
        case Op.PREFIX:
            return condition.value in {"", "/"}
        case Op.REGEX:
            return _finds_in_every_path(condition.value)
        case Op.EXACT:
            return False


@lru_cache(maxsize=1024)
def _finds_in_every_path(expression: str) -> bool:
    pattern = wrap(expression)
    if not all(full_match(pattern, sample) for sample in _SAMPLES):
        return False
    found = language(FieldKind.PATH, Op.REGEX, expression)
    if isinstance(found, UnsupportedError):
        return True
    try:
        return not leaves_out(universe(FieldKind.PATH).automaton, found.automaton, Budget())
    except OverBudgetError:
        return True


def leaves_out(whole: Automaton, part: Automaton, budget: Budget) -> bool:
    """Whether `whole` accepts a string that `part` does not; raises OverBudgetError."""
    start = (0, frozenset([] if part.empty else [0]))
    seen = {start}
    queue = deque(seen if not whole.empty else ())
    while queue:
        here, there = queue.popleft()
        if here in whole.accepting and not there & part.accepting:
            return True
        moves = [move for state in there for move in part.moves[state]]
        for mask, target in whole.moves[here]:
            kinds = _kinds(mask, {other for other, _ in moves})
            budget.spend(1 + len(kinds) * len(moves))
            for kind in kinds:
                step = (target, frozenset(then for other, then in moves if other & kind))
                if step not in seen:
                    seen.add(step)
                    queue.append(step)
    return False


def _kinds(mask: int, others: set[int]) -> list[int]:
    """A set of characters, cut up so that each of the other sets has all of a piece or nothing of it."""
    kinds = [mask]
    for other in others:
        kinds = [piece for kind in kinds for piece in (kind & other, kind & ~other) if piece]
    return kinds
