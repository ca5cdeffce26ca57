from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds.registry.baggage import encode, key_regex, key_regexes, member_regex, members
from xds.registry.match import Condition, Field, FieldKind, Op
from xds.registry.regex import MAX_PROGRAM_SIZE, full_match, program_size

K = Field(FieldKind.BAGGAGE, "k")
KEYS = st.sampled_from(["k", "K", "kk", "x-k", "other"])
VALUES = st.text(st.sampled_from("abA1,;% =\\é漢."), max_size=5)
BLANKS = st.sampled_from(["", " ", "\t", "  "])


def holds(op: Op, value: str, line: str) -> bool:
    return full_match(member_regex("k", Condition(K, op, value)), line)


@st.composite
def spelled(draw: st.DrawFn) -> tuple[str, str, str]:
    """A member: its key, its decoded value, and one of the ways to write it."""
    key, value = draw(KEYS), draw(VALUES)
    data = value.encode()
    text = ""
    for at, byte in enumerate(data):
        outer_blank = byte == 0x20 and at in {0, len(data) - 1}
        must = byte in b",;%" or outer_blank or byte >= 0x80
        form = draw(st.sampled_from(["%{:02X}", "%{:02x}"] if must else ["%{:02X}", "%{:02x}", "raw", "raw"]))
        text += chr(byte) if form == "raw" else form.format(byte)
    blanks = [draw(BLANKS) for _ in range(4)]
    properties = draw(st.sampled_from(["", ";p", "; p=1 ;q", ";k=a"]))
    return key, value, f"{blanks[0]}{key}{blanks[1]}={blanks[2]}{text}{blanks[3]}{properties}"


@given(st.lists(spelled(), max_size=4), VALUES)
def test_any_member_of_the_line_with_the_wanted_decoded_value_satisfies(
    listed: list[tuple[str, str, str]], wanted: str
) -> None:
    line = ",".join(text for _, _, text in listed)
    values = [value for key, value, _ in listed if key == "k"]
    assert list(members(line)) == [(key, value) for key, value, _ in listed]
    assert holds(Op.PRESENT, "", line) == bool(values)
    for value in {wanted, *values}:
        assert holds(Op.EXACT, value, line) == (value in values)
    for prefix in {wanted, *(value[:2] for value in values)}:
        if prefix and not prefix.endswith(" "):
            assert holds(Op.PREFIX, prefix, line) == any(value.startswith(prefix) for value in values)


@given(st.lists(spelled(), max_size=4))
def test_the_key_expression_holds_when_a_member_has_one_of_the_keys(listed: list[tuple[str, str, str]]) -> None:
    line = ",".join(text for _, _, text in listed)
    assert full_match(key_regex(["k", "x-k"]), line) == any(key in {"k", "x-k"} for key, _, _ in listed)


@given(VALUES)
def test_a_value_as_we_encode_it_is_read_back(value: str) -> None:
    assert list(members(f"k={encode(value)}")) == [("k", value)]
    assert holds(Op.EXACT, value, f"k={encode(value)}")


@pytest.mark.parametrize("line", ["k", "xk=a", "K=a", "x;k=a", "x=k=a", "%6B=a", "k=%zz", "k=a b", "k=ab", "k=aa", ""])
def test_what_is_not_the_member_does_not_satisfy(line: str) -> None:
    assert not holds(Op.EXACT, "a", line)


@pytest.mark.parametrize("line", ["x=\udcff,k=a", "k=a,x=\udcff", "k=a;p=\udcff", "x=1,\tk\t=\ta\t;p,k=b"])
def test_what_stands_around_the_member_does_not_matter(line: str) -> None:
    assert holds(Op.EXACT, "a", line)


def test_a_percent_sign_in_the_value_is_only_read_encoded() -> None:
    assert holds(Op.EXACT, "%41", "k=%2541")
    assert not holds(Op.EXACT, "%41", "k=%41")
    assert holds(Op.EXACT, "A", "k=%41")


def test_a_value_that_is_badly_encoded_is_present_but_equals_nothing() -> None:
    assert list(members("k=%4,x=1")) == [("k", None), ("x", "1")]
    assert holds(Op.PRESENT, "", "k=%4")


def test_characters_with_a_meaning_in_expressions_are_literal_in_keys_and_values() -> None:
    key = "x.y*z"
    regex = member_regex(key, Condition(Field(FieldKind.BAGGAGE, key), Op.EXACT, "a.b+c"))
    assert full_match(regex, "x.y*z=a.b+c")
    assert not full_match(regex, "x-y*z=a.b+c")
    assert not full_match(regex, "x.y*z=axb+c")


def test_many_keys_are_split_over_expressions_that_each_fit() -> None:
    keys = [f"team-{number}-feature-flag-with-a-long-name" for number in range(400)]
    parts = key_regexes(keys)
    assert len(parts) > 1
    assert all(program_size(part) <= MAX_PROGRAM_SIZE for part in parts)
    for key in keys:
        assert sum(full_match(part, f"x=1,{key}=v") for part in parts) == 1
    assert key_regexes([]) == ()


def test_a_member_is_never_compared_with_an_expression() -> None:
    with pytest.raises(ValueError, match="regular expression"):
        member_regex("k", Condition(K, Op.REGEX, "a"))
    with pytest.raises(ValueError, match="no baggage keys"):
        key_regex([])
