"""Whether a request satisfies a match: the data plane's semantics, for `explain` and for checking witnesses.

* Paths are compared without their query, byte for byte: nothing is decoded, merged or normalised. A path that does not
  begin with a slash (`OPTIONS *`) is answered 404 before any route is asked, so it matches nothing.
* Header names ignore case. A repeated header satisfies a condition when any one of its lines does
  (`envoy.reloadable_features.match_headers_individually`, on since Envoy 1.39); of some headers there is one line
  alone, since Envoy has joined them (`xds.registry.request.FOLDED`).
* Of a repeated query key only the first occurrence counts; a key without `=` has the empty value; keys and values are
  compared undecoded.
* The key field is the header of its name where the request has such a header, empty or not; the baggage member of that
  name counts only where it has none.
"""

from __future__ import annotations

from typing import Final

from xds.registry import baggage
from xds.registry.match import Condition, Field, FieldKind, Match, Op
from xds.registry.regex import full_match, wrap
from xds.registry.request import Request

ANY_PATH: Final = Condition(Field(FieldKind.PATH), Op.PREFIX, "/")
"""What is asked of every request, whatever a match says."""


def matches(match: Match, request: Request) -> bool:
    """Whether the request satisfies every condition."""
    return first_failing(match, request) is None


def first_failing(match: Match, request: Request) -> Condition | None:
    """The first condition, in the order of fields, that the request does not satisfy; None when it matches."""
    if not request.path.startswith("/"):
        return ANY_PATH
    return next((condition for condition in match.conditions if not satisfies(condition, request)), None)


def satisfies(condition: Condition, request: Request) -> bool:
    """Whether the request satisfies one condition."""
    kind = condition.field.kind
    if kind is FieldKind.BAGGAGE:
        return _has_member(condition, request)
    values = values_of(condition.field, request)
    if kind is FieldKind.KEY and not values:
        return _has_member(condition, request)
    return any(compare(condition, value) for value in values)


def compare(condition: Condition, value: str) -> bool:
    """Whether one value, which the request has, satisfies the condition's operator."""
    match condition.op:
        case Op.EXACT:
            return value == condition.value
        case Op.PREFIX:
            return value.startswith(condition.value)
        case Op.REGEX:
            return full_match(wrap(condition.value), value)
        case Op.PRESENT:
            return True


def query_values(query: str, key: str) -> list[str]:
    """The value of each occurrence of a key in a query string, in order."""
    pairs = (parameter.partition("=") for parameter in query.split("&"))
    return [value for name, _, value in pairs if name == key]


def query_value(query: str, key: str) -> str | None:
    """The value of a key's first occurrence in a query string; None where the key does not occur."""
    return next(iter(query_values(query, key)), None)


def values_of(field: Field, request: Request) -> list[str]:
    """What the request has for a field other than baggage; for the key field, what its header says."""
    match field.kind:
        case FieldKind.PATH:
            return [request.path_only]
        case FieldKind.METHOD:
            return [request.method]
        case FieldKind.AUTHORITY:
            return [request.authority]
        case FieldKind.QUERY:
            value = query_value(request.query, field.name)
            return [] if value is None else [value]
        case _:
            return list(request.values(field.name))


def _has_member(condition: Condition, request: Request) -> bool:
    pattern = baggage.member_regex(condition.field.name, condition)
    return any(full_match(pattern, line) for line in request.values(baggage.HEADER))
