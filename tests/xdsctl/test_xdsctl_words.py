"""A route's match in words says what was asked for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds.compile.encode import encode
from xds.compile.match import Gate, route_match, route_matches
from xds.registry import baggage
from xds.registry.match import Condition, Field, FieldKind, Match, Op
from xdsctl.decode import decode
from xdsctl.words import ANYTHING, match_words

URL = "type.googleapis.com/envoy.config.route.v3.RouteMatch"


def words(match: Match) -> list[str]:
    return [match_words(_json(one)) for one in route_matches(match)]


def _json(message: Any) -> dict[str, Any]:
    found = decode(URL, encode(message))
    del found["@type"]
    return found


def one(kind: FieldKind, op: Op, value: str = "", name: str = "") -> Match:
    return Match((Condition(Field(kind, name), op, value),))


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (Match(), ANYTHING),
        (one(FieldKind.PATH, Op.EXACT, "/a"), "path=/a"),
        (one(FieldKind.PATH, Op.PREFIX, "/a"), "path^=/a"),
        (one(FieldKind.PATH, Op.REGEX, "^/a|b"), "path~=^/a|b"),
        (one(FieldKind.METHOD, Op.EXACT, "GET"), "method=GET"),
        (one(FieldKind.AUTHORITY, Op.PREFIX, "shop."), "authority^=shop."),
        (one(FieldKind.HEADER, Op.PRESENT, name="x-a"), "header x-a"),
        (one(FieldKind.HEADER, Op.EXACT, "b; c", "x-a"), "header x-a=b; c"),
        (one(FieldKind.HEADER, Op.REGEX, "b|c", "x-a"), "header x-a~=b|c"),
        (one(FieldKind.QUERY, Op.PRESENT, name="q"), "query q"),
        (one(FieldKind.QUERY, Op.EXACT, "1", "q"), "query q=1"),
    ],
)
def test_a_condition_reads_as_it_was_typed(match: Match, expected: str) -> None:
    assert words(match) == [expected]


def test_the_key_field_is_a_header_or_else_a_baggage_member() -> None:
    assert words(one(FieldKind.KEY, Op.EXACT, "alice", "x-id")) == [
        "header x-id=alice",
        "baggage x-id=alice; no header x-id",
    ]


def test_the_gate_says_what_ordinary_traffic_lacks() -> None:
    gate = Gate(("x-a", "x-b"), ("k", "l|m"))
    match = _json(route_match(None, gate.matchers()))
    assert match_words(match) == "no header x-a, x-b; no baggage k, l|m"


KEYS = st.text("abcXYZ019-_.|*+$~", min_size=1, max_size=12)
VALUES = st.text(st.characters(blacklist_categories=["Cs"], min_codepoint=0x20), max_size=30)


@given(KEYS, st.sampled_from([Op.EXACT, Op.PREFIX]), VALUES)
def test_any_baggage_condition_reads_as_it_was_typed(key: str, op: Op, value: str) -> None:
    assert words(one(FieldKind.BAGGAGE, op, value, key)) == [f"baggage {key}{op}{value}"]


@given(st.lists(KEYS, min_size=1, max_size=9, unique=True))
def test_any_gate_of_baggage_keys_is_read_back(keys: list[str]) -> None:
    match = _json(route_match(None, Gate((), tuple(sorted(keys))).matchers()))
    assert match_words(match) == f"no baggage {', '.join(sorted(keys))}"


@given(st.text(max_size=60))
def test_an_expression_that_is_none_of_ours_is_shown_as_it_is(expression: str) -> None:
    for shown in (expression, baggage.key_regex(["k"]) + expression + "$"):
        header = {"name": "baggage", "string_match": {"safe_regex": {"regex": shown}}}
        found = match_words({"headers": [header]})
        assert found.startswith("header baggage~=")
        assert expression.removeprefix(".*(?:").removesuffix(").*") in found


def test_what_has_no_words_is_shown_as_json() -> None:
    assert match_words({"connect_matcher": {}}) == "connect_matcher {}"
    range_match = {"name": "x-n", "range_match": {"start": "1", "end": "5"}}
    assert match_words({"headers": [range_match]}) == 'header x-n {"range_match": {"start": "1", "end": "5"}}'
    inverted = {"name": "x-n", "string_match": {"exact": "1"}, "invert_match": True}
    assert match_words({"headers": [inverted]}) == "not (header x-n=1)"
