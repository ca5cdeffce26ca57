"""Matches as sets of requests: unions of boxes.

A *box* asks something of each of some fields, independently: that the request has the field, with a value that
satisfies these conditions, or that the request lacks it. A condition on the key field is the union of two boxes: the
header satisfies it; the header is absent and the baggage member satisfies it. Two matches overlap when a box of one
and a box of the other have a common request, which is decided field by field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import Final, Literal

from xds.registry import baggage
from xds.registry.match import Condition, Field, FieldKind, Match, Op
from xds.registry.overlap.budget import Budget, OverBudgetError
from xds.registry.overlap.common import common_value, value_alone
from xds.registry.overlap.syntax import UnsupportedError
from xds.registry.request import Request

ABSENT: Final = "absent"
Wanted = tuple[Condition, ...] | Literal["absent"]
Box = Mapping[Field, Wanted]


@lru_cache(maxsize=8192)
def boxes(match: Match) -> tuple[Box, ...]:
    """The boxes whose union is the match. Boxes that ask for a field and for its absence are left out."""
    found = []
    for choice in product(*(tuple(_choices(condition)) for condition in match.conditions)):
        box: Box | None = {}
        for part in choice:
            box = None if box is None else meet(box, part)
        if box is not None:
            found.append(box)
    return tuple(found)


def _choices(condition: Condition) -> Iterator[Box]:
    if condition.field.kind is not FieldKind.KEY:
        yield {condition.field: (condition,)}
        return
    header = Field(FieldKind.HEADER, condition.field.name)
    member = Field(FieldKind.BAGGAGE, condition.field.name)
    yield {header: (condition,)}
    yield {header: ABSENT, member: (condition,)}


def meet(one: Box, two: Box) -> dict[Field, Wanted] | None:
    """What both ask for; None if one asks for a field that the other wants absent."""
    both = dict(one)
    for field, wanted in two.items():
        already = both.get(field, wanted)
        if already == ABSENT or wanted == ABSENT:  # noqa: PLR1714
            if already != wanted:
                return None
        elif field in both:
            both[field] = already + wanted
            continue
        both[field] = wanted
    return both


def request_in(box: Box, budget: Budget) -> Request | None:
    """A request that the box contains, None if it is empty.

    Raises UnsupportedError or OverBudgetError where that can't be found out. Fields that need no automaton are looked
    at first, so that one which can't be compared does not hide that another one keeps the two apart.
    """
    values: dict[Field, str] = {}
    doubt: UnsupportedError | OverBudgetError | None = None
    for field, wanted in sorted(box.items(), key=_cost):
        if wanted == ABSENT:
            continue
        try:
            value = _value(field, wanted, budget)
        except (UnsupportedError, OverBudgetError) as error:
            doubt = error
            continue
        if value is None:
            return None
        values[field] = value
    if doubt is not None:
        raise doubt
    return _request(values)


def _value(field: Field, wanted: tuple[Condition, ...], budget: Budget) -> str | None:
    if len(wanted) > 1:
        # A key field's conditions are on a header or a baggage member here: the box's field says which.
        return common_value(field.kind, wanted, budget)
    alone = value_alone(wanted[0] if wanted[0].field == field else replace(wanted[0], field=field))
    if isinstance(alone, UnsupportedError):
        raise alone
    return alone


def _cost(item: tuple[Field, Wanted]) -> int:
    """Fields that two conditions compete for come first: only they can keep the matches apart."""
    wanted = item[1]
    if wanted == ABSENT or len(wanted) == 1:
        return 100
    if any(condition.op is Op.EXACT for condition in wanted):
        return 1
    return 2 + sum(condition.op is Op.REGEX for condition in wanted)


def _request(values: Mapping[Field, str]) -> Request:
    """The request with these values and nothing else."""
    plain = {field.kind: value for field, value in values.items()}
    query = "&".join(_pair(field, value) for field, value in sorted(values.items()) if field.kind is FieldKind.QUERY)
    headers = [(field.name, value) for field, value in sorted(values.items()) if field.kind is FieldKind.HEADER]
    members = [
        f"{field.name}={baggage.encode(value)}"
        for field, value in sorted(values.items())
        if field.kind is FieldKind.BAGGAGE
    ]
    if members:
        headers.append((baggage.HEADER, ",".join(members)))
    path = plain.get(FieldKind.PATH, "/")
    return Request(
        path=f"{path}?{query}" if query else path,
        method=plain.get(FieldKind.METHOD, "GET"),
        authority=plain.get(FieldKind.AUTHORITY, "localhost"),
        headers=tuple(headers),
    )


def _pair(field: Field, value: str) -> str:
    return f"{field.name}={value}"
