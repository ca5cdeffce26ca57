"""From the flags that a user types to a match, and back.

An operator splits at its first occurrence: `NAME=VALUE` (exact, whatever characters the value has), `NAME~=REGEX`,
`NAME^=PREFIX`, and `NAME` alone for "present". What the data plane could never match, or would match on every
request, is refused here with the reason, so that no intercept silently does nothing or too much.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from xds.registry import refusals
from xds.registry.baggage import HEADER as BAGGAGE_HEADER
from xds.registry.baggage import member_regex
from xds.registry.example import curl_args, describe_request
from xds.registry.match import Condition, Field, FieldKind, Match, Op
from xds.registry.overlap import example_request, value_alone
from xds.registry.regex import MAX_PROGRAM_SIZE, ConditionError, check, program_size

__all__ = [
    "ConditionError",
    "HttpFlags",
    "curl_args",
    "describe_request",
    "example_request",
    "flag_of",
    "parse_match",
    "text_of",
    "to_flags",
]

AUTO: Final = "auto"
ALL: Final = "all"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})


@dataclass(frozen=True, slots=True)
class HttpFlags:
    """The `--http-*` and `--baggage` flags of one intercept, as typed."""

    headers: tuple[str, ...] = ()
    baggage: tuple[str, ...] = ()
    path_equal: str | None = None
    path_prefix: str | None = None
    path_regex: str | None = None
    method: str | None = None
    queries: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[tuple[str, Op, str], ...]:
        """The path flags that were given: flag, operator, value."""
        given = (
            ("--http-path-equal", Op.EXACT, self.path_equal),
            ("--http-path-prefix", Op.PREFIX, self.path_prefix),
            ("--http-path-regex", Op.REGEX, self.path_regex),
        )
        return tuple((flag, op, value) for flag, op, value in given if value is not None)


def parse_match(flags: HttpFlags, *, key_name: str, key_value: str) -> Match | None:
    """The match that the flags ask for; None without any flag, which means a global intercept.

    `key_name` is the setting `intercept.defaultHeader`, `key_value` the user's own value: what `auto` stands for.
    `--http-header all` alone is the match without conditions. Raises ConditionError, which names the flag.
    """
    if flags == HttpFlags():
        return None
    words = [text.strip() for text in flags.headers if text.strip() in {AUTO, ALL}]
    typed = [text for text in flags.headers if text.strip() not in {AUTO, ALL}]
    if ALL in words and (len(flags.headers) > 1 or flags.baggage):
        raise ConditionError(
            "--http-header all means “whatever the headers”; leave out the other header or baggage flags"
        )
    conditions = [_header(text) for text in typed]
    conditions += [_member(text) for text in flags.baggage]
    if AUTO in words or not (flags.headers or flags.baggage):
        conditions.append(Condition(Field(FieldKind.KEY, key_name.lower()), Op.EXACT, key_value))
    conditions += _path(flags)
    if flags.method is not None:
        conditions.append(_method(flags.method))
    conditions += [_query(text) for text in flags.queries]
    _at_most_one_per_field(conditions)
    return Match.of(conditions)


def to_flags(match: Match, *, key_name: str = "") -> list[str]:
    """The match as the flags that would ask for it, one word per element (`shlex.join` prints a command line).

    The key field prints as `--http-header auto`, whoever's value it has; where another one than `key_name` is the key
    field now, as `auto (x-the-old-one)`, which says what it is and can't be asked for any more.
    """
    words: list[str] = []
    for condition in match.conditions:
        field = condition.field
        old = key_name and field.kind is FieldKind.KEY and field.name != key_name.lower()
        words += [flag_of(field, condition.op), text_of(condition) + (f" ({field.name})" if old else "")]
    kinds = {condition.field.kind for condition in match.conditions}
    if not kinds & {FieldKind.HEADER, FieldKind.AUTHORITY, FieldKind.BAGGAGE, FieldKind.KEY}:
        words += ["--http-header", ALL]
    return words


def flag_of(field: Field, op: Op) -> str:
    """The flag that asks for a condition on this field."""
    match field.kind:
        case FieldKind.PATH:
            return {Op.EXACT: "--http-path-equal", Op.PREFIX: "--http-path-prefix"}.get(op, "--http-path-regex")
        case FieldKind.METHOD:
            return "--http-method"
        case FieldKind.QUERY:
            return "--http-query"
        case FieldKind.BAGGAGE:
            return "--baggage"
        case _:
            return "--http-header"


def text_of(condition: Condition) -> str:
    """The flag's value that asks for this condition."""
    match condition.field.kind:
        case FieldKind.PATH | FieldKind.METHOD:
            return condition.value
        case FieldKind.KEY:
            return AUTO
        case FieldKind.AUTHORITY:
            return f":authority{condition.op}{condition.value}"
        case _:
            return f"{condition.field.name}{condition.op}{condition.value}"


def _split(text: str) -> tuple[str, Op, str]:
    """Name, operator, value. `~` and `^` may be part of a name, so the first `=` decides."""
    before, equals, value = text.partition("=")
    if not equals:
        return text, Op.PRESENT, ""
    for op in (Op.REGEX, Op.PREFIX):
        if before.endswith(op[0]):
            return before[:-1], op, value
    return before, Op.EXACT, value


def _header(text: str) -> Condition:
    what = refusals.shown("--http-header", text)
    name, op, value = _split(text)
    if name.lower() in {":authority", "host"}:
        field = Field(FieldKind.AUTHORITY)
    else:
        refusals.header_name(name, text, what=what)
        if name.lower() == BAGGAGE_HEADER:
            raise ConditionError(f"{what}: baggage is a list; ask for one member of it with --baggage KEY=VALUE")
        field = Field(FieldKind.HEADER, name.lower())
    return _checked(Condition(field, op, value), what=what)


def _member(text: str) -> Condition:
    what = refusals.shown("--baggage", text)
    key, op, value = _split(text)
    refusals.token(key, text, what=what, noun="baggage key")
    if op is Op.REGEX:
        raise ConditionError(
            f"{what}: a baggage value may be percent-encoded, which no regular expression sees through; "
            f"use {key}=VALUE or {key}^=PREFIX"
        )
    condition = _checked(Condition(Field(FieldKind.BAGGAGE, key), op, value), what=what)
    if program_size(member_regex(key, condition)) > MAX_PROGRAM_SIZE:
        raise ConditionError(f"{what}: the value is too long to be compared; shorten it or use {key}^=PREFIX")
    return condition


def _query(text: str) -> Condition:
    what = refusals.shown("--http-query", text)
    name, op, value = _split(text)
    refusals.query_part(name, value, op, what=what)
    return _checked(Condition(Field(FieldKind.QUERY, name), op, value), what=what)


def _path(flags: HttpFlags) -> list[Condition]:
    given = flags.paths
    if len(given) > 1:
        raise ConditionError(f"{' and '.join(flag for flag, _, _ in given)}: give at most one path flag")
    for flag, op, value in given:
        what = refusals.shown(flag, value)
        if op is not Op.REGEX:
            refusals.literal_path(flag, value, what=what)
        return [_checked(Condition(Field(FieldKind.PATH), op, value), what=what)]
    return []


def _method(value: str) -> Condition:
    what = refusals.shown("--http-method", value)
    refusals.token(value, value, what=what, noun="method")
    if value not in _METHODS and value.upper() in _METHODS:
        raise ConditionError(f"{what}: methods are case-sensitive; did you mean {value.upper()}?")
    return Condition(Field(FieldKind.METHOD), Op.EXACT, value)


def _checked(condition: Condition, *, what: str) -> Condition:
    """The condition, if its value is one that a request can have."""
    refusals.value(condition, what=what)
    if condition.op is Op.REGEX:
        check(condition.value, what=what)
        if value_alone(condition) is None:
            path = condition.field.kind is FieldKind.PATH
            why = "a path begins with a slash, and the query never takes part in it" if path else "look at its anchors"
            raise ConditionError(f"{what}: no request can match this; {why}")
    return condition


def _at_most_one_per_field(conditions: Iterable[Condition]) -> None:
    """Refuse a second condition on a field, with the one flag that says “or” where there is such a flag."""
    seen: dict[Field, Condition] = {}
    for condition in conditions:
        other = seen.setdefault(condition.field, condition)
        if other is condition:
            continue
        flag = flag_of(condition.field, condition.op)
        twice = f"{flag} {text_of(other)} and {flag} {text_of(condition)}: both ask for {condition.field}"
        if condition.field.kind not in {FieldKind.HEADER, FieldKind.AUTHORITY, FieldKind.QUERY}:
            raise ConditionError(f"{twice}; a request can't satisfy two, so make two intercepts")
        either = Condition(condition.field, Op.REGEX, f"{_as_regex(other)}|{_as_regex(condition)}")
        raise ConditionError(f"{twice}; to say “or”, use one: {flag} {shlex.quote(text_of(either))}")


def _as_regex(condition: Condition) -> str:
    literal = re.sub(r"[.^$*+?{}\[\]\\|()]", r"\\\g<0>", condition.value)
    match condition.op:
        case Op.EXACT:
            return f"^{literal}$"
        case Op.PREFIX:
            return f"^{literal}"
        case Op.REGEX:
            return f"(?:{condition.value})"
        case Op.PRESENT:
            return ".*"
