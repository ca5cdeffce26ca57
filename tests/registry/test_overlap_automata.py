"""Expressions as automata: the same strings as RE2, and never much work."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xds.registry.match import FieldKind, Op
from xds.registry.overlap import automaton, build, syntax
from xds.registry.overlap.automaton import Automaton
from xds.registry.overlap.budget import Budget, OverBudgetError
from xds.registry.overlap.language import language
from xds.registry.overlap.syntax import UnsupportedError
from xds.registry.overlap.universe import universe
from xds.registry.regex import ConditionError, check, full_match, wrap

ATOMS = (
    r"a b B . - _ 1 [ab] [^a] [a-c] []a] [^]] [\d-] [[:alpha:]] [[:^alpha:]b] [a\]] \w \W \d \D \s \S \b \B ^ $ \A \z "
    r"\pL \PN \p{Lu} \p{^Lu} \x61 \x{62} \141 \Qa.b\E \Q(\E \. \- \C (?:) (|a) (?i)a (?i:aB) (?-i:A) (?s:.) (?m)^ "
    r"(?i)[^b] { a{,2} a{2 (?P<n>a) \xC3 (?i)\xE9 [\x80-\xFF]"
).split(" ")
SIMPLE = st.sampled_from(ATOMS)
EXPRESSIONS = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("|".join),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "{2}", "{1,2}", "{0,}", "{0}"])).map(
            lambda two: f"(?:{two[0]}){two[1]}"
        ),
        inner.map(lambda one: f"(?i:{one})"),
    ),
    max_leaves=6,
)
STRINGS = st.text("abABc- ._1{],2(é\udcff", max_size=7)


def valid(expression: str) -> bool:
    try:
        check(expression, what="x")
    except ConditionError:
        return False
    return True


def accepts(found: Automaton, text: str) -> bool:
    states = set() if found.empty else {0}
    for byte in text.encode("utf-8", "surrogateescape"):
        bit = 1 << byte
        states = {target for state in states for mask, target in found.moves[state] if mask & bit}
    return bool(states & found.accepting)


@given(EXPRESSIONS.filter(valid), st.lists(STRINGS, min_size=1, max_size=8))
@example(r"a(?i)b|c", ["aB", "C", "A"])
@example(r"\Qab\E*", ["", "a", "abb"])
@example(r"a\Q\E*", ["", "aa"])
@example(r"(?i)(a(?-i)b|C)", ["AB", "Ab", "c", "C"])
@example(r"\b.*\b", ["a", "-", ""])
def test_the_automaton_accepts_what_re2_matches(expression: str, texts: list[str]) -> None:
    alone, stored = build.of(syntax.parse(expression)), build.of(syntax.wrapped(expression))
    for text in texts:
        assert accepts(alone, text) == full_match(expression, text)
        assert accepts(stored, text) == full_match(wrap(expression), text)


def raw(text: str) -> bytes:
    """The text as it is on the wire."""
    return text.encode("utf-8", "surrogateescape")


@given(EXPRESSIONS.filter(valid), EXPRESSIONS.filter(valid), st.lists(STRINGS, min_size=1, max_size=8))
@example("[^a]", r"(?i:[\x80-\xFF][\x80-\xFF])", ["é"])
def test_first_sight_and_the_walk_never_call_languages_with_a_common_string_apart(
    one: str, two: str, texts: list[str]
) -> None:
    first, second = (language(FieldKind.HEADER, Op.REGEX, expression) for expression in (one, two))
    assert not isinstance(first, UnsupportedError)
    assert not isinstance(second, UnsupportedError)
    shared = automaton.common(first.automaton, second.automaton, Budget())
    if shared is not None:
        assert full_match(wrap(one), shared)
        assert full_match(wrap(two), shared)
        assert not first.apart(second)
    for text in texts:
        if text in universe(FieldKind.HEADER) and full_match(wrap(one), text) and full_match(wrap(two), text):
            assert shared is not None
            assert len(raw(shared)) <= len(raw(text)), "the walk finds a string of the fewest bytes"


@given(EXPRESSIONS.filter(valid), st.lists(STRINGS, min_size=1, max_size=8))
def test_a_small_language_is_listed_completely(expression: str, texts: list[str]) -> None:
    found = language(FieldKind.HEADER, Op.REGEX, f"^(?:{expression})$")
    assert not isinstance(found, UnsupportedError)
    if found.strings is not None:
        for text in [*texts, *found.strings]:
            if text in universe(FieldKind.HEADER):
                assert (text in found.strings) == full_match(expression, text)


@given(EXPRESSIONS.filter(valid), st.lists(STRINGS, min_size=1, max_size=8))
@example("(ab|cd)+", ["ab", "cd"])
@example("a(bc)*", ["a"])
@example("(?i)a+", ["A"])
def test_every_string_has_the_mandatory_characters(expression: str, texts: list[str]) -> None:
    needed = syntax.mandatory(syntax.parse(expression))
    for text in texts:
        if full_match(expression, text):
            assert all(needed >> byte & 1 == 0 or bytes([byte]) in text.encode() for byte in range(128))


def test_states_that_lead_nowhere_are_cut() -> None:
    anchored = language(FieldKind.HEADER, Op.REGEX, "^user-17$")
    assert not isinstance(anchored, UnsupportedError)
    assert len(anchored.automaton.moves) == len("user-17") + 1
    assert anchored.strings == frozenset({"user-17"})
    nothing = language(FieldKind.HEADER, Op.REGEX, "a^b")
    assert not isinstance(nothing, UnsupportedError)
    assert nothing.automaton.empty
    assert nothing.sample is None


@pytest.mark.parametrize(
    ("kind", "inside", "outside"),
    [
        (FieldKind.PATH, ["/", "//", "/a%2Fb", "/~!;="], ["", "a", "/a?b", "/a#b", "/a b", "/é"]),
        (FieldKind.METHOD, ["GET", "M-SEARCH"], ["", "A B", "A,B"]),
        (FieldKind.AUTHORITY, ["", "a.b:80", "[::1]"], ["a/b", "a b", "a?b"]),
        (FieldKind.HEADER, ["", "a", "a b", "=,;?#&", "é", "\udcff"], [" a", "a ", "a\tb", "a\x7f"]),
        (FieldKind.QUERY, ["", "a=b", "?", "%20"], ["a b", "a&b", "a#b"]),
    ],
)
def test_the_universe_is_that_of_well_formed_requests(kind: FieldKind, inside: list[str], outside: list[str]) -> None:
    for text in inside:
        assert text in universe(kind)
        assert accepts(universe(kind).automaton, text)
    for text in outside:
        assert text not in universe(kind)


PATHOLOGICAL = (
    "(a|aa){1,500}b",
    "(.*a){20}",
    "(.*a){400}",
    "(a?){1000}",
    r"(\w+\s?){300}",
    "(a*)*b",
    "(x?y?z?){300}",
    "x{0,1000}",
    "a{500}b{500}c{500}d{500}",
    "((a|b)*c?){250}$",
)


@pytest.mark.parametrize("one", PATHOLOGICAL)
def test_a_pathological_expression_is_given_up_within_its_budget(one: str) -> None:
    # CPU time, because the machine may be busy; a generous bound, because a stall would be seconds.
    language.cache_clear()
    started = time.process_time()
    for two in PATHOLOGICAL[:3]:
        first, second = (language(FieldKind.HEADER, Op.REGEX, expression) for expression in (one, two))
        if isinstance(first, Exception) or isinstance(second, Exception):
            continue
        budget = Budget(per_pair=2_000)
        budget.begin_pair()
        with contextlib.suppress(OverBudgetError):
            automaton.common(first.automaton, second.automaton, budget)
    assert time.process_time() - started < 0.5


def test_a_budget_ends_by_the_clock_too() -> None:
    asked = []

    def expired() -> bool:
        asked.append(True)
        return len(asked) > 2

    budget = Budget(per_pair=10**9, total=10**9, expired=expired)
    budget.begin_pair()
    for _ in range(2):
        budget.spend(1000)
    with pytest.raises(OverBudgetError) as stopped:
        budget.spend(5000)
    assert not stopped.value.for_good
    with pytest.raises(OverBudgetError):
        budget.begin_pair()


def test_groups_nested_beyond_measure_are_not_supported() -> None:
    with pytest.raises(UnsupportedError, match="nested"):
        syntax.parse("(" * 200 + "a" + ")" * 200)
