from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds.registry.regex import MAX_PROGRAM_SIZE, ConditionError, check, full_match, program_size, wrap

FLAG = "--http-header x-user~=…"


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("", "the regular expression is empty"),
        ("a)(b", "unexpected ) at position 1"),
        ("ab(c", "missing ) at position 2"),
        ("(", "missing ) at position 0"),
        ("[b", "missing ] at position 0"),
        (r"\Q(\E)", "unexpected ) at position 5"),
        ("[)](", "missing ) at position 3"),
        (r"ab\Qcd", r"\Q at position 2 has no \E"),
        ("a{1001}", "invalid repetition size '{1001}' at position 1"),
        ("a**", "bad repetition operator '**' at position 1"),
        (r"a\Z", r"invalid escape sequence '\\Z' at position 1"),
        ("(?=a)", "invalid perl operator '(?=' at position 0"),
        ("a\nb", r"control character '\n' at position 1"),
        ("a\x00", r"control character '\x00' at position 1"),
        ("caf[é]", r"'é' at position 4 is not ASCII, and bytes are compared; write \xC3\xA9"),
        ("\udcff", "at position 0 is not ASCII"),
        ("x{900}y{900}z{900}a{900}b{900}", f"at most {MAX_PROGRAM_SIZE} are allowed"),
    ],
)
def test_a_bad_expression_is_refused_with_the_flag_and_the_position(expression: str, complaint: str) -> None:
    with pytest.raises(ConditionError) as refusal:
        check(expression, what=FLAG)
    assert str(refusal.value).startswith(f"{FLAG}: ")
    assert complaint in str(refusal.value)


@pytest.mark.parametrize(
    "expression", ["a", "^a$", r"\Qa.b\E", "(?i)a|b", r"\bqa\b", "(?P<n>x)", r"\xC3\xA9", "a{1000}"]
)
def test_a_good_expression_is_accepted(expression: str) -> None:
    check(expression, what=FLAG)


def test_an_expression_finds_unless_it_anchors_itself() -> None:
    assert full_match(wrap("(staging-)?api/.*"), "/staging-api/x")
    assert full_match(wrap("(staging-)?api/.*"), "/v2/api/x")
    assert not full_match(wrap("^api"), "/api")
    assert not full_match(wrap("a|b$"), "xbx")
    assert full_match(wrap("^a|b"), "xb")


def test_dot_is_one_byte_because_the_data_plane_compares_bytes() -> None:
    assert full_match("..", "é")
    assert full_match(".", "\udcff")


@given(st.text(st.characters(max_codepoint=126), max_size=12))
def test_what_is_accepted_is_valid_when_wrapped_and_within_the_limit(expression: str) -> None:
    try:
        check(expression, what=FLAG)
    except ConditionError:
        return
    assert program_size(wrap(expression)) <= MAX_PROGRAM_SIZE


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8), st.text("abc()|^$", max_size=8))
def test_wrapping_never_changes_what_an_accepted_expression_finds(value: str, expression: str) -> None:
    try:
        check(expression, what=FLAG)
    except ConditionError:
        return
    # A second way to say "find": non-greedy, with the expression in a named group.
    assert full_match(wrap(expression), value) == full_match(f"(?s).*?(?P<e>{expression}).*?", value)
