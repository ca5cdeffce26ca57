"""Whether two matches share a request: decided exactly, shown by a request that really matches both."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.registry.envoy_oracle import answering, guarded, route_matches, running, wire
from xds.registry.conditions import HttpFlags, parse_match
from xds.registry.match import Condition, Field, FieldKind, Match, Op
from xds.registry.matcher import matches
from xds.registry.overlap import Budget, Disjoint, Overlaps, Unknown, example_request, overlap
from xds.registry.request import Request

KEY = "x-id"


def header(*texts: str, **flags: object) -> Match:
    """What a user types after --http-header, and other flags."""
    match = parse_match(HttpFlags(headers=texts, **flags), key_name=KEY, key_value="me")  # type: ignore[arg-type]
    assert match is not None
    return match


def only(**flags: object) -> Match:
    return header("all", **flags)


def auto(user: str) -> Match:
    return Match.of([Condition(Field(FieldKind.KEY, KEY), Op.EXACT, user)])


def member(text: str) -> Match:
    match = parse_match(HttpFlags(baggage=(text,)), key_name=KEY, key_value="me")
    assert match is not None
    return match


DISJOINT = [
    (header("x=a@d.com"), header("x=b@d.com")),
    (header("x~=dev::(qa|test)"), header("x=dev::prod")),
    (header("x^=dev-"), header("x=prod")),
    (header("x^=dev-"), header("x^=prod-")),
    (header("x~=^dev-"), header("x~=^prod-")),
    (header("x~=^dev-.*$"), header("x^=prod")),
    (header("x~=-dev$"), header("x~=-prod$")),
    (header(r"x~=^\d+$"), header("x~=^[a-z]+$")),
    (header("x~=^(ab)*$"), header("x~=^a(ba)*$")),
    (header("x~=^(aa)+$"), header("x~=^a(aa)*$")),
    (header(r"x~=\bqa\b", "y=1"), header("x~=^aqa$", "y=1")),
    (header("x~=(?i)^abc$"), header("x~=^ABD$")),
    (header("x=1", "y=1"), header("y=2", "z=1")),
    (only(path_equal="/a"), only(path_equal="/a/")),
    (only(path_prefix="/api"), only(path_equal="/ap")),
    (only(path_prefix="/api"), only(path_regex="^/v[12]/")),
    (only(path_regex="^/api"), only(path_regex="^/v1")),
    (Match.of([Condition(Field(FieldKind.PATH), Op.REGEX, r"\?")]), Match()),
    (Match.of([Condition(Field(FieldKind.HEADER, "x"), Op.REGEX, "^ $")]), header("x")),
    (only(method="GET"), only(method="POST")),
    (only(queries=("a=1",)), only(queries=("a=2",))),
    (header(":authority=a.test"), header(":authority=b.test")),
    (auto("alice"), auto("bob")),
    (auto("alice"), Match.of([*auto("bob").conditions, *member("team=x").conditions])),
    (member("team=x"), member("team=y")),
    (member("team^=x-"), member("team=y")),
]
OVERLAPPING = [
    (header("x=a"), header("x=a")),
    (header("X-User=a"), header("x-user=a")),
    (header("x=a"), header("x")),
    (header("x=dev::qa"), header("x~=dev::(qa|test)")),
    (header("x~=dev"), header("x~=prod")),
    (header("x~=^dev"), header("x~=prod$")),
    (header("x^=dev"), header("x~=prod$")),
    (header("x^=dev-"), header("x^=dev-qa")),
    (header("x~=^(ab)*$"), header("x~=^(ba)*$")),
    (header(r"x~=\bqa\b"), header("x~=^a.qa$")),
    (header("x=é"), header("x=é")),
    (header(r"x~=^\xFF+$"), header(r"x~=^[^ -~]{2}$")),
    (header("x~=^(ab|cd)+$"), header("x~=^(ab)+$")),
    (header("x~=^a(bc)*$"), header("x~=^a+$")),
    (header("a=1"), header("b=2")),
    (header("x=1", "env=a"), header("x=1", "session=b")),
    (only(path_prefix="/api"), only(path_prefix="/api/v1")),
    (only(path_prefix="/api"), only(path_regex="^/api/v[12]/")),
    (only(path_prefix="/api"), only(method="POST", queries=("a=1",))),
    (auto("alice"), header("x-id=alice")),
    (auto("alice"), member("x-id=alice")),
    (auto("alice"), member("team=x")),
    (member("team=x"), member("user=b")),
    (member("team=a,b; c"), member("user=50%")),
    (header("all"), header("x=")),
    (header("x^=dev-", "x-id=me"), header("x~=^dev-.$", "auto")),
]


@pytest.mark.parametrize(("one", "two"), DISJOINT)
def test_no_request_matches_both(one: Match, two: Match) -> None:
    assert overlap(one, two) == Disjoint()
    assert overlap(two, one) == Disjoint()


@pytest.mark.parametrize(("one", "two"), OVERLAPPING)
def test_a_request_that_matches_both_is_shown(one: Match, two: Match) -> None:
    for found in (overlap(one, two), overlap(two, one)):
        assert isinstance(found, Overlaps)
        assert found.proven
        assert matches(one, found.witness)
        assert matches(two, found.witness)


def test_envoy_takes_every_witness_on_either_route(tmp_path: Path) -> None:
    routes, asked = [], []
    for number, (one, two) in enumerate(OVERLAPPING):
        found = overlap(one, two)
        assert isinstance(found, Overlaps)
        for side, match in (("one", one), ("two", two)):
            routes += [answering("hit", route) for route in guarded(route_matches(match), f"{number}-{side}")]
            asked.append(wire(found.witness, guard=f"{number}-{side}"))
    with running(routes, tmp_path) as envoy:
        assert envoy.ask(asked) == ["hit"] * len(asked)


def test_two_users_own_keys_never_meet_even_where_header_and_baggage_disagree() -> None:
    mixed = Request(headers=((KEY, "alice"), ("baggage", f"{KEY}=bob")))
    assert matches(auto("alice"), mixed)
    assert not matches(auto("bob"), mixed)
    assert overlap(auto("alice"), auto("bob")) == Disjoint()
    assert overlap(auto("alice"), Match.of([*auto("alice").conditions, *header(f"{KEY}=bob").conditions])) == Disjoint()


def test_what_would_take_too_long_is_unknown() -> None:
    # The shortest common value has 961 characters: a multiple of 31, and of 32 but for one.
    one, two = header("x~=^(.{31})+$"), header("x~=^(.{32})+.$")
    found = overlap(one, two, budget=Budget(per_pair=500))
    assert isinstance(found, Unknown)
    assert "too many steps" in found.reason
    assert overlap(one, two) == found, "that it takes too long is remembered"
    huge = overlap(header("x~=^(a?){1000}$"), header("x~=^[b-z]+$"))
    assert isinstance(huge, Unknown)
    assert "too large" in huge.reason


def test_one_field_that_cannot_be_compared_does_not_hide_another_that_is_apart() -> None:
    one, two = header("x~=^(a?){1000}$", "y~=^a"), header("x~=^[a-z]+$", "y~=^b")
    assert overlap(one, two) == Disjoint()


def test_values_outside_ascii_are_compared_byte_for_byte() -> None:
    found = overlap(header("x^=é"), header("x~=^..$"))
    assert isinstance(found, Overlaps)
    assert found.witness.headers == (("x", "é"),)
    assert overlap(header("x^=é"), header("x~=^.$")) == Disjoint()
    assert isinstance(overlap(header(r"x~=^\xC3"), header(r"x~=\xA9$")), Overlaps)


@pytest.mark.parametrize(("looks", "length"), [(0, 29), (1, 27)])
def test_after_the_time_is_up_exact_comparisons_still_work(looks: int, length: int) -> None:
    clock = iter([False] * looks)
    budget = Budget(expired=lambda: next(clock, True))
    one, two = header(f"x~=^(.{{{length}}})+$"), header(f"x~=^(.{{{length + 1}}})+.$")
    found = overlap(one, two, budget=budget)
    assert isinstance(found, Unknown)
    assert "time" in found.reason
    assert overlap(header("x=1"), header("x=2"), budget=budget) == Disjoint()
    assert isinstance(overlap(one, two), Overlaps), "that the time was up is not remembered"


VALUES = ("", "a", "b", "ab", "ba", "aa", "bb", "aab", "aba", "bab")
PIECES = st.sampled_from(
    ["a", "b", "ab", "^", "$", ".", "[^a]", "a|b", "(ab)*", "a+", "b?", r"\b", "(?i)A", "^a$", "x"]
)
EXPRESSIONS = st.lists(PIECES, min_size=1, max_size=3).map("".join)


def conditions_on(field: Field, *, expressions: bool = True) -> st.SearchStrategy[Condition]:
    values = st.sampled_from(VALUES)
    options = [
        values.map(lambda value: Condition(field, Op.EXACT, value)),
        values.filter(bool).map(lambda value: Condition(field, Op.PREFIX, value)),
        st.just(Condition(field, Op.PRESENT)),
    ]
    if expressions:
        options.append(EXPRESSIONS.map(lambda text: Condition(field, Op.REGEX, text)))
    return st.one_of(options)


def small_matches() -> st.SearchStrategy[Match]:
    one_each = st.tuples(
        st.none() | conditions_on(Field(FieldKind.HEADER, "x")),
        st.none() | conditions_on(Field(FieldKind.HEADER, KEY)),
        st.none() | conditions_on(Field(FieldKind.KEY, KEY), expressions=False),
        st.none() | conditions_on(Field(FieldKind.BAGGAGE, KEY), expressions=False),
        st.none() | conditions_on(Field(FieldKind.QUERY, "q")),
        st.none() | st.sampled_from("/a /b /ab ^/a b$ /(ab)*$".split(" ")).map(path_condition),
    )
    return one_each.map(lambda parts: Match.of([part for part in parts if part is not None][:3]))


def path_condition(text: str) -> Condition:
    op = Op.EXACT if text == "/a" else Op.PREFIX if text.startswith("/") and text.isalpha() else Op.REGEX
    return Condition(Field(FieldKind.PATH), op, text)


def small_requests(one: Match, two: Match) -> Iterator[Request]:
    """Every request with small values in the fields that the two look at."""
    looked_at = one.fields | two.fields
    kinds = {(field.kind, field.name) for field in looked_at}
    keyed = (FieldKind.KEY, KEY) in kinds
    maybe: tuple[str | None, ...] = (None, "", "a", "b", "ab", "aab")
    nothing: tuple[str | None, ...] = (None,)
    xs = (None, *VALUES) if (FieldKind.HEADER, "x") in kinds else nothing
    ids = maybe if keyed or (FieldKind.HEADER, KEY) in kinds else nothing
    members = maybe if keyed or (FieldKind.BAGGAGE, KEY) in kinds else nothing
    queries = (None, "a", "ab") if (FieldKind.QUERY, "q") in kinds else nothing
    paths = ("/", "/a", "/b", "/ab", "/abab") if (FieldKind.PATH, "") in kinds else ("/",)
    for x, key, baggage, query, path in product(xs, ids, members, queries, paths):
        headers = [(name, value) for name, value in (("x", x), (KEY, key)) if value is not None]
        if baggage is not None:
            headers.append(("baggage", f"{KEY}={baggage}"))
        yield Request(path if query is None else f"{path}?q={query}", headers=tuple(headers))


@settings(max_examples=400, deadline=None)
@given(small_matches(), small_matches())
def test_disjoint_matches_have_no_common_small_request_and_others_show_one(one: Match, two: Match) -> None:
    found = overlap(one, two)
    if isinstance(found, Disjoint):
        assert not any(matches(one, request) and matches(two, request) for request in small_requests(one, two))
        assert overlap(two, one) == Disjoint()
    else:
        assert isinstance(found, Overlaps)
        assert matches(one, found.witness)
        assert matches(two, found.witness)


@settings(deadline=None)
@given(small_matches())
def test_an_example_satisfies_its_match(match: Match) -> None:
    example = example_request(match)
    if example is None:
        assert not any(matches(match, request) for request in small_requests(match, match))
    else:
        assert matches(match, example)
