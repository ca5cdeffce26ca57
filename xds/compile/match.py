"""A match as Envoy's route matchers.

One match may need several routes: `auto` asks for the key field, which is the header where the request has it and
else the baggage member, so it becomes two alternatives (header exact; header absent and member). Envoy ≥ 1.39 tests
repeated header lines one by one, and a condition holds when any line satisfies it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher, QueryParameterMatcher, RouteMatch
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher

from xds.registry import baggage
from xds.registry.match import Condition, FieldKind, Match, Op
from xds.registry.regex import wrap

ANY_PATH = ""
"""Every path. Envoy answers `OPTIONS *` itself, with a 404, before it asks any route."""


def regex(expression: str) -> RegexMatcher:
    """A full-match RE2 expression."""
    return RegexMatcher(regex=expression)


def string_matcher(op: Op, value: str) -> StringMatcher:
    """How an operator compares a string; PRESENT has no string to compare."""
    match op:
        case Op.EXACT:
            return StringMatcher(exact=value)
        case Op.PREFIX:
            return StringMatcher(prefix=value)
        case Op.REGEX:
            return StringMatcher(safe_regex=regex(wrap(value)))
        case Op.PRESENT:
            raise ValueError("presence compares no string")


def header_matcher(name: str, condition: Condition) -> HeaderMatcher:
    """A condition on the header of that name."""
    if condition.op is Op.PRESENT:
        return HeaderMatcher(name=name, present_match=True)
    return HeaderMatcher(name=name, string_match=string_matcher(condition.op, condition.value))


def absent(name: str) -> HeaderMatcher:
    """That a request has no header of that name."""
    return HeaderMatcher(name=name, present_match=True, invert_match=True)


def member_matcher(key: str, condition: Condition) -> HeaderMatcher:
    """A condition on a member of the `baggage` header."""
    return HeaderMatcher(
        name=baggage.HEADER, string_match=StringMatcher(safe_regex=regex(baggage.member_regex(key, condition)))
    )


def no_members(expression: str) -> HeaderMatcher:
    """That no `baggage` line of a request matches; a request without baggage passes."""
    return HeaderMatcher(
        name=baggage.HEADER,
        string_match=StringMatcher(safe_regex=regex(expression)),
        invert_match=True,
        treat_missing_header_as_empty=True,
    )


def header_alternatives(match: Match) -> list[list[HeaderMatcher]]:
    """The header matchers of a match: any one of the lists has to hold in full."""
    common: list[HeaderMatcher] = []
    alternatives: list[list[HeaderMatcher]] = [[]]
    for condition in match.conditions:
        name = condition.field.name
        match condition.field.kind:
            case FieldKind.METHOD:
                common.append(header_matcher(":method", condition))
            case FieldKind.AUTHORITY:
                common.append(header_matcher(":authority", condition))
            case FieldKind.HEADER:
                common.append(header_matcher(name, condition))
            case FieldKind.BAGGAGE:
                common.append(member_matcher(name, condition))
            case FieldKind.KEY:
                alternatives = [[header_matcher(name, condition)], [absent(name), member_matcher(name, condition)]]
            case FieldKind.PATH | FieldKind.QUERY:
                pass
    return [common + alternative for alternative in alternatives]


def query_parameters(match: Match) -> list[QueryParameterMatcher]:
    """The query conditions of a match."""
    return [
        QueryParameterMatcher(name=condition.field.name, present_match=True)
        if condition.op is Op.PRESENT
        else QueryParameterMatcher(
            name=condition.field.name, string_match=string_matcher(condition.op, condition.value)
        )
        for condition in match.conditions
        if condition.field.kind is FieldKind.QUERY
    ]


def route_match(
    path: Condition | None, headers: list[HeaderMatcher], query: list[QueryParameterMatcher] | None = None
) -> RouteMatch:
    """A route's match; Envoy leaves the query out of the path by itself."""
    query = query or []
    if path is None or path.op is Op.PRESENT:
        return RouteMatch(prefix=ANY_PATH, headers=headers, query_parameters=query)
    if path.op is Op.EXACT:
        return RouteMatch(path=path.value, headers=headers, query_parameters=query)
    if path.op is Op.PREFIX:
        return RouteMatch(prefix=path.value, headers=headers, query_parameters=query)
    return RouteMatch(safe_regex=regex(wrap(path.value)), headers=headers, query_parameters=query)


def route_matches(match: Match, gate: Gate | None = None) -> list[RouteMatch]:
    """The matches of the routes that together say the same as `match`; with a gate, only for requests that pass it."""
    path = match.get(FieldKind.PATH)
    query = query_parameters(match)
    guards = gate.matchers() if gate else []
    return [route_match(path, guards + headers, query) for headers in header_alternatives(match)]


@dataclass(frozen=True, slots=True)
class Gate:
    """What ordinary traffic lacks: the header names and baggage keys that some intercept has a condition on.

    Requests that lack them all skip the intercepts' routes, so that they cost the same with any number of these.
    """

    headers: tuple[str, ...]
    members: tuple[str, ...]

    @classmethod
    def of(cls, matches: Iterable[Match]) -> Gate | None:
        """The gate for these matches; None where none of them has a gated condition."""
        headers: set[str] = set()
        members: set[str] = set()
        for condition in (condition for match in matches for condition in match.conditions):
            if condition.field.kind in {FieldKind.HEADER, FieldKind.KEY}:
                headers.add(condition.field.name)
            if condition.field.kind in {FieldKind.BAGGAGE, FieldKind.KEY}:
                members.add(condition.field.name)
        return cls(tuple(sorted(headers)), tuple(sorted(members))) if headers or members else None

    def matchers(self) -> list[HeaderMatcher]:
        """That a request has none of them."""
        expressions = baggage.key_regexes(self.members)
        return [absent(name) for name in self.headers] + [no_members(expression) for expression in expressions]
