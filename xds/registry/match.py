"""What an intercept asks of a request: a conjunction of conditions, at most one per field.

A *field* is one string of the request, or its absence: the path, the method, the authority, a header, a query key, a
member of W3C `baggage`, and the *key field*. The key field is the header of its name where the request has it, else
the baggage member of that name: it is what `--http-header auto` asks for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class FieldKind(StrEnum):
    """Where in the request a field lives."""

    PATH = "path"
    METHOD = "method"
    AUTHORITY = "authority"
    HEADER = "header"
    QUERY = "query"
    BAGGAGE = "baggage"
    KEY = "key"


GATED_KINDS = frozenset({FieldKind.HEADER, FieldKind.BAGGAGE, FieldKind.KEY})
"""Fields that ordinary traffic lacks. Intercepts that have a condition on one are asked first (precedence)."""


@dataclass(frozen=True, slots=True, order=True)
class Field:
    """One field. `name` is empty for path, method and authority; header names are in lower case."""

    kind: FieldKind
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" if self.name else str(self.kind)


class Op(StrEnum):
    """How a condition compares."""

    EXACT = "="
    PREFIX = "^="
    REGEX = "~="
    PRESENT = ""


@dataclass(frozen=True, slots=True, order=True)
class Condition:
    """One condition. For REGEX, `value` is the user's own expression, before it is wrapped; for PRESENT it is empty."""

    field: Field
    op: Op
    value: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """A conjunction of conditions, sorted by field; no conditions at all matches every request.

    Raises ValueError when two conditions name the same field.
    """

    conditions: tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.conditions))
        fields = [condition.field for condition in ordered]
        if len(set(fields)) != len(fields):
            twice = next(field for field in fields if fields.count(field) > 1)
            raise ValueError(f"{twice} has two conditions; say “or” with one regular expression")
        object.__setattr__(self, "conditions", ordered)

    @classmethod
    def of(cls, conditions: Iterable[Condition]) -> Match:
        """A match of these conditions."""
        return cls(tuple(conditions))

    @property
    def gated(self) -> bool:
        """Whether it has a condition on a header, a baggage member or the key field."""
        return any(condition.field.kind in GATED_KINDS for condition in self.conditions)

    def get(self, kind: FieldKind) -> Condition | None:
        """The first condition on a field of this kind."""
        return next((condition for condition in self.conditions if condition.field.kind == kind), None)

    @property
    def fields(self) -> frozenset[Field]:
        """The fields that it has conditions on."""
        return frozenset(condition.field for condition in self.conditions)
