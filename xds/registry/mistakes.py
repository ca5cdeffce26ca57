"""Mistakes that people make with requests, found by looking at one that does not satisfy a condition.

Each hint is one sentence: what is near, and what would do. A hint only says what trying it out has shown: that the
condition holds for the changed value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from urllib.parse import unquote

import re2

from xds.registry import baggage
from xds.registry.intercept import Intercept
from xds.registry.match import Condition, Field, FieldKind, Op
from xds.registry.matcher import compare, query_value, query_values, satisfies, values_of
from xds.registry.regex import full_match, wrap
from xds.registry.request import Request

SHORT = 3
"""Values of fewer characters are in many places by chance."""


def of_condition(condition: Condition, request: Request, *, secret: bool = False) -> Iterator[str]:
    """What may be wrong with a request that does not satisfy a condition, the likeliest first; at most three.

    `secret`: the condition's value is not the asker's to see, and no hint shows it.
    """
    found = list(dict.fromkeys([*_elsewhere(condition, request), *_nearly(condition, request)]))
    yield from (hint for hint in found[:3] if not (secret and condition.value in hint))


def of_request(intercepts: Iterable[Intercept], request: Request) -> Iterator[str]:
    """What is odd about a request in a field that some intercept has a condition on."""
    fields = sorted({field for one in intercepts for field in one.spec.match.fields})
    for field in fields:
        yield from _repeated(field, request)


def _repeated(field: Field, request: Request) -> Iterator[str]:
    name = field.name
    if field.kind in {FieldKind.HEADER, FieldKind.KEY}:
        lines = list(request.values(name))
        if len(lines) > 1:
            yield (
                f"header {name} is sent {len(lines)} times: a condition on it holds as soon as one of the lines "
                "satisfies it, so several intercepts may match"
            )
    if field.kind is FieldKind.KEY:
        headers, members = set(request.values(name)), set(_members(request, name))
        if headers and members - headers:
            yield f"{name} is both a header and a baggage member, with different values: the header counts alone"
    if field.kind in {FieldKind.BAGGAGE, FieldKind.KEY} and len(_members(request, name)) > 1:
        yield f"baggage has {name} several times: a condition on it holds as soon as one of them satisfies it"
    if field.kind is FieldKind.QUERY and len(query_values(request.query, name)) > 1:
        yield f"query key {name} is sent several times: its first value counts alone"
    if field.kind is FieldKind.AUTHORITY and request.authority == Request().authority:
        yield f"the host is taken to be {request.authority}; name another with -H 'Host: …'"


# In the wrong place


def _elsewhere(condition: Condition, request: Request) -> Iterator[str]:
    name = condition.field.name
    match condition.field.kind:
        case FieldKind.KEY:
            yield from _key(condition, request)
        case FieldKind.HEADER:
            if not list(request.values(name)):
                yield from _instead_of_header(condition, request)
        case FieldKind.BAGGAGE:
            if _holds(condition, request.values(name.lower())):
                yield f"{name} is a header of its own here; the condition asks for a member of the header baggage"
            yield from _property(condition, request)
        case FieldKind.QUERY:
            if any(compare(condition, value) for value in query_values(request.query, name)[1:]):
                yield f"a later {name} would match, but of a repeated query key the first one counts alone"
            if _holds(condition, request.values(name.lower())):
                yield f"{name} is a header here; the condition asks for a query key"
    if condition.op is Op.EXACT and condition.field.kind in {FieldKind.KEY, FieldKind.HEADER, FieldKind.BAGGAGE}:
        yield from _under_another_name(condition, request)


def _key(condition: Condition, request: Request) -> Iterator[str]:
    name = condition.field.name
    if list(request.values(name)):
        if _holds(condition, _members(request, name)):
            yield f"the baggage member {name} would match, but it counts only where there is no header {name}"
        return
    yield from _property(condition, request)
    if any(key.lower() == name and key != name for key, _ in _all_members(request)):
        yield f"keys of baggage are case-sensitive: write {name}"


def _instead_of_header(condition: Condition, request: Request) -> Iterator[str]:
    name = condition.field.name
    if _holds(condition, _members(request, name)):
        yield f"{name} is a baggage member here; --baggage {name}=… asks for that, and --http-header auto for either"
    value = query_value(request.query, name)
    if value is not None and compare(condition, value):
        yield f"{name} is a query key here; --http-query {name}=… asks for that"


def _property(condition: Condition, request: Request) -> Iterator[str]:
    """Whether a semicolon stands where a comma should: what follows it is a property of the member before."""
    name = condition.field.name
    for line in request.values(baggage.HEADER):
        if ";" in line and not satisfies(condition, request):
            changed = Request(headers=((baggage.HEADER, line.replace(";", ",")),))
            if satisfies(replace(condition, field=Field(FieldKind.BAGGAGE, name)), changed):
                yield f"{name} stands behind a semicolon in baggage; members are separated by commas"
                return


def _under_another_name(condition: Condition, request: Request) -> Iterator[str]:
    if len(condition.value) < SHORT:
        return
    name, kind = condition.field.name, condition.field.kind
    wanted = "header" if kind is FieldKind.HEADER else "baggage member" if kind is FieldKind.BAGGAGE else "key"
    for other, value in request.headers:
        if value == condition.value and other.lower() != name.lower():
            yield f"header {other} has the value that is asked for; the {wanted} is called {name}"
    for key, member in _all_members(request):
        if member == condition.value and key != name and key.lower() != name.lower():
            yield f"baggage has the value that is asked for under the key {key}; the {wanted} is called {name}"


# Nearly the value


def _nearly(condition: Condition, request: Request) -> Iterator[str]:
    for value in _values(condition, request):
        if not compare(condition, value):
            yield from _value_hints(condition, value)
        if condition.field.kind is FieldKind.PATH:
            yield from _path_hints(condition, value, request)
        elif condition.field.kind is FieldKind.AUTHORITY and compare(condition, value.rpartition(":")[0]):
            yield f"the port is part of the host: it is {value}"


def _values(condition: Condition, request: Request) -> list[str]:
    field = condition.field
    if field.kind is FieldKind.BAGGAGE:
        return _members(request, field.name)
    found = values_of(field, request)
    return found or _members(request, field.name) if field.kind is FieldKind.KEY else found


def _value_hints(condition: Condition, value: str) -> Iterator[str]:
    if _ignoring_case(condition, value):
        yield f"{value} differs only in upper and lower case, which counts"
    elif compare(condition, value.strip(" \t\"'")):
        yield f"{value} has quotes or blanks around it, which count"
    elif condition.op is not Op.REGEX and "".join(value.split()) == "".join(condition.value.split()):
        yield f"{value} differs only in blanks, which count"
    elif "%" in value and compare(condition, unquote(value)):
        yield f"{value} is percent-encoded, and it is compared as it is sent"
    elif "," in value and _holds(condition, (part.strip() for part in value.split(","))):
        yield f"{value} is one value with commas in it, which is not taken apart; send a line for each"
    if condition.op is Op.EXACT and _finds(condition.value, value):
        yield f"the condition compares the text itself; ~= instead of = would take {condition.value} for an expression"
    if condition.op is Op.EXACT and condition.value and value.startswith(condition.value):
        path = condition.field.kind is FieldKind.PATH
        instead = "--http-path-prefix" if path else "^= instead of ="
        yield f"{value} goes on after what is asked for; {instead} would match"
    if condition.op is Op.REGEX:
        yield from _anchor_hints(condition.value, value)


def _anchor_hints(expression: str, value: str) -> Iterator[str]:
    head = re.sub(r"^(?:\^|\\A)", "", expression)
    tail = re.sub(r"(?<!\\)(?:\$|\\z)$", "", expression)
    both = re.sub(r"(?<!\\)(?:\$|\\z)$", "", head)
    if head != expression and _finds(head, value):
        yield f"without ^ at its beginning {expression} would match: the value begins with something else"
    elif tail != expression and _finds(tail, value):
        yield f"without $ at its end {expression} would match: the value goes on"
    elif both not in {head, tail} and _finds(both, value):
        yield f"without ^ and $ around it {expression} would match: the value has more on both sides"


def _path_hints(condition: Condition, path: str, request: Request) -> Iterator[str]:
    other = path.rstrip("/") if path.endswith("/") else f"{path}/"
    if other and compare(condition, other):
        yield f"a slash at the end makes another path: {other} would match"
    if "//" in path and compare(condition, re.sub("/+", "/", path)):
        yield "two slashes are not taken for one"
    if request.query and compare(condition, f"{path}?{request.query}"):
        yield "it would match if the query took part in the path, which it never does; use --http-query KEY=VALUE"


def _ignoring_case(condition: Condition, value: str) -> bool:
    lower = value.lower()
    match condition.op:
        case Op.EXACT:
            return lower == condition.value.lower()
        case Op.PREFIX:
            return lower.startswith(condition.value.lower())
        case Op.REGEX:
            return _finds(f"(?i){condition.value}", value)
        case Op.PRESENT:
            return False


def _finds(expression: str, value: str) -> bool:
    """Whether an expression, which may be none, is found in a value."""
    try:
        return full_match(wrap(expression), value)
    except (re2.error, UnicodeEncodeError):
        return False


def _holds(condition: Condition, values: Iterable[str]) -> bool:
    return any(compare(condition, value) for value in values)


def _all_members(request: Request) -> list[tuple[str, str]]:
    found = [pair for line in request.values(baggage.HEADER) for pair in baggage.members(line)]
    return [(key, value) for key, value in found if value is not None]


def _members(request: Request, key: str) -> list[str]:
    return [value for name, value in _all_members(request) if name == key]
