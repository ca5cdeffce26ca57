"""Expressions that leave no path out, and those that do."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds.registry.match import Condition, Field, FieldKind, Op
from xds.registry.overlap import admits_every_path
from xds.registry.regex import full_match, wrap

EVERYTHING = (
    "^/",
    "/",
    ".*",
    "",
    "^/.*$",
    "(?:/|x)",
    "^[^?]",
    "^/([a-m]|[^a-m]|$)",
    "a|[^a]",
    r"^/(\w|\W|$)",
    "a*",
    "$",
)
SOMETHING = ("^/api", "^/.", "^/[^z]", "^/$|^/.{2}", "^/([a-m]|[^a-n]|$)", "[a-z]", "^/(.{0,6}|.{8,})$", "x/?")


def of(value: str, op: Op = Op.REGEX) -> Condition:
    return Condition(Field(FieldKind.PATH), op, value)


@pytest.mark.parametrize("expression", EVERYTHING)
def test_leaves_nothing_out(expression: str) -> None:
    assert admits_every_path(of(expression))


@pytest.mark.parametrize("expression", SOMETHING)
def test_leaves_something_out(expression: str) -> None:
    assert not admits_every_path(of(expression))


def test_a_prefix_does_so_where_every_path_begins_with_it() -> None:
    assert admits_every_path(of("/", Op.PREFIX))
    assert not admits_every_path(of("/a", Op.PREFIX))
    assert not admits_every_path(of("/", Op.EXACT))


def test_what_can_not_be_decided_counts_as_everything() -> None:
    # Only a path of which the twentieth character from the end is an `a` is left out: a million sets of states.
    assert admits_every_path(of("^/.{0,18}$|[^a].{19}$"))


PIECES = st.sampled_from(["^", "$", "/", ".", ".*", "a", "[^a]", "b?", "|", "(?:a|/)", "x{0,2}"])


@given(expression=st.lists(PIECES, max_size=5).map("".join), path=st.text("ab/x~", max_size=5))
def test_no_path_contradicts_it(expression: str, path: str) -> None:
    try:
        re.compile(expression)
    except re.error:
        return
    if admits_every_path(of(expression)):
        assert full_match(wrap(expression), f"/{path}")
