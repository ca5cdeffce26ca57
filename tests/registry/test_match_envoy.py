"""Our matcher against a real Envoy: the same requests, the same routes, the same winner."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.registry.envoy_oracle import (
    Json,
    Oracle,
    answering,
    binary,
    bootstrap,
    guarded,
    route_matches,
    running,
    wire,
)
from xds.compile import match as compile_match
from xds.registry import baggage
from xds.registry.match import Condition, Field, FieldKind, Match, Op
from xds.registry.matcher import ANY_PATH, first_failing, matches
from xds.registry.precedence import match_key
from xds.registry.regex import MAX_PROGRAM_SIZE, program_size, wrap
from xds.registry.request import Request

SINGLES = 300
"""Matches that are asked one at a time."""
GROUPS, GROUP_SIZE = 12, 10
"""Matches that compete, in the order of precedence."""
REQUESTS_PER_MATCH = 12
REQUESTS_PER_GROUP = 60

KEY = "x-telepresence-id"
HEADERS = ("x-user", "X-User", "x-team", KEY)
PATHS = ("/", "/a", "/a/", "/a/b", "/ab", "/A", "//a", "/a//b", "/a%2Fb", "/a%2fb", "/a;v=1", "/a/../b", "/a+b", "/%41")
QUERIES = ("", "?", "?q", "?q=", "?q=1", "?q=2&q=1", "?q=1&q=2", "?q=%31", "?&q=1", "?x&q=1&", "??q=1", "?x=/a", "?Q=1")
VALUES = ("", "a", "b", "ab", "A", "a b", "a,b", "a.b@c.d", "a=b", "axb", "é", "a:b", "%61", "dev::qa")
ODD_VALUES = ("\udcff", "a\udcff", "\udcc3", "a\tb", "aéb")
REGEXES = ("a", "^a$", "a|b", "^a.*b$", "(?i)a", r"\bb\b", "[^a]", "^.$", "dev::(qa|test)", r"^\S+@", "", r"\xC3")
AUTHORITIES = ("localhost", "a.b", "a.b:80", "A.B", "")
METHODS = ("GET", "POST", "PUT", "OPTIONS", "HEAD")
LINES = (
    "",
    "k=a",
    "k=b",
    "k = a",
    "k=%61",
    "k=a;p=1",
    "k=a ; p",
    "x=1,k=a",
    "x=1, k=a ,y=2",
    "k=b,k=a",
    "K=a",
    "xk=a",
    "x=k=a",
    "x=1;k=a",
    "k",
    "k=",
    "k=a%2Cb",
    "k=a%2cb",
    "k=a,b",
    "k=a b",
    "k=é",
    "k=%C3%A9",
    "k=%c3\udca9",
    "x=\udcff,k=a",
    "k=a,x=\udcff",
    "k=%zz",
    "k=ab",
    f"{KEY}=a",
    f"{KEY}=b,{KEY}=a",
    f"{KEY}=",
)


def one_of(random_: random.Random, field: Field, values: tuple[str, ...]) -> Condition:
    op = random_.choice((Op.EXACT, Op.EXACT, Op.PREFIX, Op.REGEX, Op.PRESENT))
    if op is Op.REGEX:
        return Condition(field, op, random_.choice([expression for expression in REGEXES if expression]))
    if op is Op.PRESENT:
        return Condition(field, op)
    return Condition(field, op, random_.choice([value for value in values if value or op is Op.EXACT]))


def some_condition(random_: random.Random) -> Condition:  # noqa: PLR0911
    kind = random_.choice(list(FieldKind))
    match kind:
        case FieldKind.PATH:
            op = random_.choice((Op.EXACT, Op.PREFIX, Op.REGEX))
            return Condition(
                Field(kind), op, random_.choice(("a", "/a$", "^/a", "b")) if op is Op.REGEX else path(random_)
            )
        case FieldKind.METHOD:
            return Condition(Field(kind), Op.EXACT, random_.choice(METHODS))
        case FieldKind.AUTHORITY:
            return one_of(random_, Field(kind), AUTHORITIES)
        case FieldKind.HEADER:
            return one_of(random_, Field(kind, random_.choice(HEADERS).lower()), VALUES)
        case FieldKind.QUERY:
            return one_of(random_, Field(kind, random_.choice("qx")), ("", "1", "2", "%31", "/a"))
        case FieldKind.BAGGAGE:
            op = random_.choice((Op.EXACT, Op.EXACT, Op.PREFIX, Op.PRESENT))
            value = "" if op is Op.PRESENT else random_.choice(("a", "b", "a,b", "é", "a b", "ab"))
            return Condition(Field(kind, "k"), op, value)
        case FieldKind.KEY:
            return Condition(Field(kind, KEY), Op.EXACT, random_.choice(("a", "b", "")))


def path(random_: random.Random) -> str:
    return random_.choice(PATHS)


def some_match(random_: random.Random) -> Match:
    conditions = [some_condition(random_) for _ in range(random_.choice((1, 1, 1, 2, 2, 3)))]
    return Match.of({condition.field: condition for condition in conditions}.values())


def some_request(random_: random.Random) -> Request:
    headers = [
        (random_.choice(HEADERS), random_.choice(VALUES + ODD_VALUES)) for _ in range(random_.choice((0, 1, 1, 2, 3)))
    ]
    headers += [("baggage", random_.choice(LINES)) for _ in range(random_.choice((0, 0, 1, 1, 2)))]
    random_.shuffle(headers)
    return Request(
        path(random_) + random_.choice(QUERIES),
        random_.choice(METHODS),
        random_.choice(AUTHORITIES),
        tuple(headers),
    )


def aimed_at(random_: random.Random, match: Match, tries: int = 30) -> Request:
    """A random request that matches, if one is found soon: otherwise most pairs would be trivially apart."""
    request = some_request(random_)
    for _ in range(tries):
        if matches(match, request):
            break
        request = some_request(random_)
    return request


RANDOM = random.Random(20260104)
SINGLE = [some_match(RANDOM) for _ in range(SINGLES)]
GROUP = [sorted((some_match(RANDOM) for _ in range(GROUP_SIZE)), key=match_key) for _ in range(GROUPS)]
ODD = {
    "name": Match.of([Condition(Field(FieldKind.HEADER, "x-user"), Op.PRESENT)]),
    "path": Match.of([Condition(Field(FieldKind.PATH), Op.REGEX, "a")]),
    "asterisk": Match.of([Condition(Field(FieldKind.PATH), Op.REGEX, r"^\*$")]),
}


def compiled(match: Match) -> list[Json]:
    """The same as `route_matches`, by the product's own compiler."""
    return [route.to_dict() for route in compile_match.route_matches(match)]


@pytest.fixture(scope="module", params=[route_matches, compiled], ids=["by hand", "compiled"])
def oracle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    """Envoy with the routes of all matches, written by hand in one run and by the compiler in another."""
    matches_of = request.param
    routes = []
    for number, match in enumerate(SINGLE):
        routes += [answering("yes", route) for route in guarded(matches_of(match), f"single-{number}")]
    for number, group in enumerate(GROUP):
        for place, match in enumerate(group):
            routes += [answering(str(place), route) for route in guarded(matches_of(match), f"group-{number}")]
    for name, match in ODD.items():
        routes += [answering("yes", route) for route in guarded(matches_of(match), f"odd-{name}")]
    gate = {
        "name": "baggage",
        "string_match": {"safe_regex": {"regex": baggage.key_regex(["k", KEY])}},
        "invert_match": True,
        "treat_missing_header_as_empty": True,
    }
    routes += [answering("open", route) for route in guarded([{"prefix": "/", "headers": [gate]}], "gate")]
    with running(routes, tmp_path_factory.mktemp("oracle")) as envoy:
        yield envoy


def test_one_match_holds_for_the_same_requests_as_in_envoy(oracle: Oracle) -> None:
    random_ = random.Random(4711)
    pairs = [
        (number, aimed_at(random_, match) if aimed else some_request(random_))
        for number, match in enumerate(SINGLE)
        for aimed in (True, False)
        for _ in range(REQUESTS_PER_MATCH // 2)
    ]
    answers = oracle.ask([wire(request, guard=f"single-{number}") for number, request in pairs])
    ours = ["yes" if matches(SINGLE[number], request) else "404" for number, request in pairs]
    compared = zip(pairs, answers, ours, strict=True)
    apart = [(SINGLE[number], request, answer) for (number, request), answer, our in compared if answer != our]
    assert not apart
    assert answers.count("yes") > len(pairs) // 4, "too few hits to mean anything"


def test_of_several_matches_precedence_names_the_one_that_envoy_takes(oracle: Oracle) -> None:
    random_ = random.Random(4711)
    pairs = [
        (number, aimed_at(random_, random_.choice(group)))
        for number, group in enumerate(GROUP)
        for _ in range(REQUESTS_PER_GROUP)
    ]
    answers = oracle.ask([wire(request, guard=f"group-{number}") for number, request in pairs])
    for (number, request), answer in zip(pairs, answers, strict=True):
        hits = [str(place) for place, match in enumerate(GROUP[number]) if matches(match, request)]
        assert answer == (hits[0] if hits else "404"), (GROUP[number], request)


def test_the_gate_is_open_exactly_for_requests_without_any_of_the_member_keys(oracle: Oracle) -> None:
    requests = [Request(headers=tuple(("baggage", line) for line in lines)) for lines in [(), *((x,) for x in LINES)]]
    requests += [Request(headers=(("baggage", one), ("baggage", two))) for one in LINES for two in LINES]
    answers = oracle.ask([wire(request, guard="gate") for request in requests])
    for request, answer in zip(requests, answers, strict=True):
        keys = {key for line in request.values("baggage") for key, _ in baggage.members(line)}
        assert answer == ("404" if keys & {"k", KEY} else "open"), request


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (Request("/a#x"), "a fragment"),
        (Request("/é"), "a byte outside ASCII in the path"),
        (Request("/a\x7fb"), "a control character in the path"),
        (Request("/a b"), "a blank in the path"),
        (Request("a"), "a path without slash"),
        (Request(method="FROBNICATE"), "an unknown method"),
        (Request(headers=(("x-user", "a\x01"),)), "a control character in a header"),
    ],
)
def test_what_envoy_refuses_to_route_is_outside_the_matcher(oracle: Oracle, request_: Request, why: str) -> None:
    assert oracle.ask([wire(request_, guard=f"odd-{name}") for name in ODD]) == ["400"] * len(ODD), why


def test_the_asterisk_form_is_never_routed(oracle: Oracle) -> None:
    asterisk = Request("*", "OPTIONS", headers=(("x-user", "a"),))
    assert oracle.ask([wire(asterisk, guard=f"odd-{name}") for name in ODD]) == ["404"] * len(ODD)
    assert [first_failing(match, asterisk) for match in ODD.values()] == [ANY_PATH] * len(ODD)


def test_requests_that_envoy_rewrites_before_it_matches(oracle: Oracle) -> None:
    """The absolute form is taken apart, and blanks around a value are cut, before any route sees them."""
    absolute = Request("http://a.b/a", authority="localhost")
    assert oracle.ask([wire(absolute, guard="odd-path")]) == ["yes"]
    number, value = next(
        (number, match.conditions[0].value)
        for number, match in enumerate(SINGLE)
        if [(c.field.kind, c.op) for c in match.conditions] == [(FieldKind.HEADER, Op.EXACT)]
        and match.conditions[0].value
    )
    name = SINGLE[number].conditions[0].field.name
    blanks = Request(headers=((name, f"  {value}\t "),))
    assert oracle.ask([wire(blanks, guard=f"single-{number}")]) == ["yes"]


@pytest.mark.parametrize("expression", ["a", "(?i)straße?|x{3,9}", r"\pL[^a]*\C", "(a|bc)*d{20}"])
def test_google_re2_counts_program_size_as_envoy_does(expression: str, tmp_path: Path) -> None:
    stored = wrap(expression)
    config = tmp_path / "envoy.json"
    route = {"safe_regex": {"regex": stored}}
    for limit, accepted in ((program_size(stored), True), (program_size(stored) - 1, False)):
        config.write_text(bootstrap([answering("x", route)], port=0, max_program_size=limit))
        command = [binary(), "--mode", "validate", "-c", str(config), "--use-dynamic-base-id"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert (result.returncode == 0) is accepted, result.stderr


def test_the_limit_leaves_room_for_a_baggage_member_with_a_value_of_a_thousand_bytes() -> None:
    member = Condition(Field(FieldKind.BAGGAGE, "k" * 20), Op.EXACT, "é:" * 333)
    assert 2000 < program_size(baggage.member_regex("k" * 20, member)) <= MAX_PROGRAM_SIZE
