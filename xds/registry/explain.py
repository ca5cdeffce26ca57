"""Which intercept takes a request, and why every other one doesn't.

The rules are those of the matcher and of precedence; this puts them into words. Intercepts of other users are told of
too, but the value of their own key is theirs: it is not shown.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from xds.registry import baggage, mistakes
from xds.registry.intercept import Disposition, Intercept, Kind
from xds.registry.match import Condition, FieldKind, Match, Op
from xds.registry.matcher import ANY_PATH, query_value, satisfies
from xds.registry.precedence import in_order
from xds.registry.request import Request


class Verdict(StrEnum):
    """What one intercept has to do with a request."""

    TAKES = "takes"
    OUTRANKED = "outranked"
    """It matches, and another one that matches is asked before."""
    FAILS = "fails"
    """The request does not satisfy one of its conditions."""
    NOT_ASKED = "not asked"
    """It has no routes on that port."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One intercept of the workload. `condition` is the first that fails; `more` is how many others fail as well."""

    intercept: Intercept
    verdict: Verdict
    why: str
    condition: Condition | None = None
    more: int = 0
    hints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """Who takes the request (None: nobody, the app answers), and everybody in the order in which they are asked.

    Those that aren't asked come last. `hints` are about the request as a whole.
    """

    winner: Intercept | None
    candidates: tuple[Candidate, ...]
    hints: tuple[str, ...] = ()


def explain(
    intercepts: Iterable[Intercept],
    port: int,
    request: Request,
    *,
    session: str = "",
    published: Collection[str] | None = None,
) -> Explanation:
    """Explain a request that arrives at a workload's port.

    `session` is whose own key values may be shown. `published` are the ids of what sidecars are given, where that may
    be less than what is to be routed.
    """
    known = list(intercepts)
    asked = [one for one in in_order(known) if _is_asked(one, port) and (published is None or one.id in published)]
    # Whole-port intercepts take what is left over: only the first of them has a route.
    whole = next((one for one in asked if one.spec.kind is not Kind.PERSONAL), None)
    asked = [one for one in asked if one.spec.kind is Kind.PERSONAL or one is whole]
    winner = next((one for one in asked if not failing(one.spec.match, request)), None)
    candidates = [_judge(one, winner, request, mine=one.session == session) for one in asked]
    candidates += [
        Candidate(one, Verdict.NOT_ASKED, _why_not_asked(one, port, whole))
        for one in sorted(known, key=lambda one: one.sequence)
        if one not in asked
    ]
    return Explanation(winner, tuple(candidates), tuple(mistakes.of_request(asked, request)))


def failing(match: Match, request: Request) -> list[Condition]:
    """Every condition that the request does not satisfy, in the order of fields."""
    if not request.path.startswith("/"):
        return [ANY_PATH]
    return [condition for condition in match.conditions if not satisfies(condition, request)]


def _is_asked(intercept: Intercept, port: int) -> bool:
    return intercept.disposition.routed and port in intercept.spec.numbers and intercept.spec.kind is not Kind.MIRROR


def _why_not_asked(intercept: Intercept, port: int, whole: Intercept | None) -> str:
    if intercept.disposition is Disposition.REJECTED:
        return f"rejected: a sidecar's Envoy refused it: {intercept.reason}"
    if not intercept.disposition.routed:
        return intercept.reason or str(intercept.disposition)
    if port not in intercept.spec.numbers:
        ports = ", ".join(map(str, sorted(intercept.spec.numbers)))
        return f"it is on port {ports}, not on {port}"
    if intercept.spec.kind is Kind.MIRROR:
        return "a mirror gets copies, whoever answers"
    if intercept.spec.kind is not Kind.PERSONAL and whole and whole is not intercept:
        return f"{whole.spec.name!r} has all of the port, and is asked before"
    return "held back, while the intercept that a sidecar refused is looked for"


def _judge(intercept: Intercept, winner: Intercept | None, request: Request, *, mine: bool) -> Candidate:
    failed = failing(intercept.spec.match, request)
    if failed:
        first = failed[0]
        secret = first.field.kind is FieldKind.KEY and not mine
        why = in_words(first, request, secret=secret)
        hints = tuple(mistakes.of_condition(first, request, secret=secret))
        return Candidate(intercept, Verdict.FAILS, why, first, len(failed) - 1, hints)
    if winner is None or winner is intercept:
        return Candidate(intercept, Verdict.TAKES, "takes it")
    return Candidate(
        intercept,
        Verdict.OUTRANKED,
        f"matches too, but {winner.spec.name!r} ({winner.id}) is asked before: {why_before(winner, intercept)}",
    )


def why_before(first: Intercept, second: Intercept) -> str:
    """The rule of precedence by which one intercept is asked before another, about the first one."""
    one, other = first.spec, second.spec
    if one.kind is not other.kind and Kind.PERSONAL in {one.kind, other.kind}:
        return "it asks for certain requests, the other one takes all that is left"
    if one.match.gated != other.match.gated:
        return "it has a condition on a header, the baggage or the key, the other one has none"
    paths = [match.get(FieldKind.PATH) for match in (one.match, other.match)]
    ops = [path.op if path else None for path in paths]
    if ops[0] != ops[1]:
        return f"{_PATHS[ops[0]]} comes before {_PATHS[ops[1]]}"
    if ops[0] is Op.PREFIX and paths[0] and paths[1] and len(paths[0].value) != len(paths[1].value):
        return "its path prefix is longer"
    if len(one.match.conditions) != len(other.match.conditions):
        return f"it has more conditions ({len(one.match.conditions)}, the other one {len(other.match.conditions)})"
    return "it is older"


_PATHS: Final = {
    Op.EXACT: "an exact path",
    Op.PREFIX: "a path prefix",
    Op.REGEX: "a path expression",
    Op.PRESENT: "any path",
    None: "no condition on the path",
}


def in_words(condition: Condition, request: Request, *, secret: bool = False) -> str:  # noqa: PLR0911
    """Why a request does not satisfy a condition. `secret`: what it asks for is not shown, nor what was near it."""
    name = condition.field.name
    wanted = "its owner's value" if secret else _wanted(condition)
    match condition.field.kind:
        case FieldKind.PATH:
            return f"the path is {request.path_only}, not {wanted}"
        case FieldKind.METHOD:
            return f"the method is {request.method}, not {wanted}"
        case FieldKind.AUTHORITY:
            return f"the host is {request.authority}, not {wanted}"
        case FieldKind.QUERY:
            value = query_value(request.query, name)
            return _absent_or(f"query key {name}", [] if value is None else [value], wanted)
        case FieldKind.BAGGAGE:
            return _absent_or(f"baggage member {name}", member_values(request, name), wanted)
        case FieldKind.HEADER:
            return _absent_or(f"header {name}", list(request.values(name)), wanted)
        case FieldKind.KEY:
            if values := list(request.values(name)):
                return _absent_or(f"header {name}", values, wanted)
            if members := member_values(request, name):
                return _absent_or(f"baggage member {name}", members, wanted)
            return f"the request has neither a header nor a baggage member {name}; {wanted} is asked for"


def _absent_or(what: str, values: Sequence[str], wanted: str) -> str:
    if not values:
        return f"the request has no {what}; {wanted} is asked for"
    shown = " and ".join(dict.fromkeys(value or "(empty)" for value in values))
    return f"{what} is {shown}, not {wanted}"


def _wanted(condition: Condition) -> str:
    match condition.op:
        case Op.EXACT:
            return condition.value or "the empty value"
        case Op.PREFIX:
            return f"one that begins with {condition.value}"
        case Op.REGEX:
            return f"one in which {condition.value} is found"
        case Op.PRESENT:
            return "any value"


def member_values(request: Request, key: str) -> list[str]:
    """The values of a baggage member in a request, decoded."""
    found = [pair for line in request.values(baggage.HEADER) for pair in baggage.members(line)]
    return [value if value is not None else "(badly encoded)" for name, value in found if name == key]
