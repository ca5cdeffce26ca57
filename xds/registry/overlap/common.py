"""A value that satisfies several conditions on one field at once, or the proof that there is none."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache, reduce
from itertools import combinations
from typing import Final

from xds.registry.match import Condition, Field, FieldKind, Op
from xds.registry.matcher import compare
from xds.registry.overlap import automaton
from xds.registry.overlap.budget import Budget, OverBudgetError
from xds.registry.overlap.language import Language, language
from xds.registry.overlap.syntax import UnsupportedError
from xds.registry.overlap.universe import universe

_REMEMBERED: Final = 20_000
_Key = tuple[FieldKind, frozenset[tuple[Op, str]]]
_walked: dict[_Key, str | None | OverBudgetError | UnsupportedError] = {}
"""What walking automata together has found, by the conditions. Emptied when full."""


def common_value(kind: FieldKind, conditions: Iterable[Condition], budget: Budget) -> str | None:
    """A value that satisfies all the conditions, which are on one field that the request has; None if there is none.

    Raises UnsupportedError or OverBudgetError where that can't be found out.
    """
    wanted = {(condition.op, condition.value): condition for condition in conditions}
    exact = [value for op, value in wanted if op is Op.EXACT]
    if exact:
        return _first(exact, wanted.values())
    prefix = max((value for op, value in wanted if op is Op.PREFIX), key=len, default="")
    if not all(prefix.startswith(value) for op, value in wanted if op is Op.PREFIX):
        return None
    expressions = [value for op, value in wanted if op is Op.REGEX]
    if not expressions:
        return _beginning_with(kind, prefix)
    if kind is FieldKind.BAGGAGE:
        raise UnsupportedError("baggage members can't be compared with regular expressions")
    parts = [(Op.REGEX, value) for value in sorted(expressions)] + ([(Op.PREFIX, prefix)] if prefix else [])
    return _common(kind, parts, budget)


@lru_cache(maxsize=8192)
def value_alone(condition: Condition) -> str | None | UnsupportedError:
    """A value that satisfies one condition, None if nothing does; the error (returned, to be kept) if unknown.

    No automata are walked together for this, hence no budget.
    """
    kind = FieldKind.HEADER if condition.field.kind is FieldKind.KEY else condition.field.kind
    try:
        return common_value(kind, [condition], Budget())
    except UnsupportedError as error:
        return error


def _common(kind: FieldKind, parts: list[tuple[Op, str]], budget: Budget) -> str | None:
    tests = [Condition(Field(kind), op, value) for op, value in parts]
    languages = [_supported(language(kind, op, value)) for op, value in parts]
    listed = [one.strings for one in languages if one.strings is not None]
    if listed:
        few = sorted(listed, key=len)[0]
        return _first(sorted(few, key=lambda text: (len(text), text)), tests)
    if any(one.sample is None for one in languages) or any(one.apart(two) for one, two in combinations(languages, 2)):
        return None
    found = _first(_guesses(kind, languages), tests)
    return found if found is not None else _walk(kind, parts, languages, budget)


def _walk(kind: FieldKind, parts: list[tuple[Op, str]], languages: list[Language], budget: Budget) -> str | None:
    """What the automata have in common, remembered."""
    key = (kind, frozenset(parts))
    if key not in _walked:
        budget.begin_pair()
        if len(_walked) >= _REMEMBERED:
            _walked.clear()
        try:
            first, *rest = [one.automaton for one in languages]
            if not rest:
                raise UnsupportedError("the expression is understood differently by RE2")
            together = reduce(automaton.intersection, rest[:-1], first)
            _walked[key] = automaton.common(together, rest[-1], budget)
        except (UnsupportedError, OverBudgetError) as error:
            if isinstance(error, OverBudgetError) and not error.for_good:
                raise
            _walked[key] = error
    found = _walked[key]
    if isinstance(found, Exception):
        raise found
    return found


def _supported(found: Language | UnsupportedError) -> Language:
    if isinstance(found, UnsupportedError):
        raise found
    return found


def _guesses(kind: FieldKind, languages: list[Language]) -> list[str]:
    """Values worth a try: expressions that find are usually satisfied by what satisfies each, one behind the other."""
    samples = [one.sample for one in languages if one.sample is not None]
    guesses = [*samples, "".join(samples), "".join(reversed(samples))]
    return [guess for guess in guesses if guess in universe(kind)]


def _first(values: Iterable[str], conditions: Iterable[Condition]) -> str | None:
    tests = list(conditions)
    return next((value for value in values if all(compare(test, value) for test in tests)), None)


def _beginning_with(kind: FieldKind, prefix: str) -> str:
    """A value with this prefix; what is asked of a value that must only be present is its default."""
    if not prefix:
        return "x" if kind is FieldKind.BAGGAGE else universe(kind).default
    return f"{prefix}x" if prefix.endswith((" ", "\t")) else prefix
