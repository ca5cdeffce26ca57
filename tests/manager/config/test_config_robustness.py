"""Whatever a file holds, reading it gives a configuration or a ConfigError."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xds.config import ConfigError, StandaloneConfig, composer, load

GOOD = (Path(__file__).parent / "good.yaml").read_text(encoding="utf-8")
ROWS = GOOD.splitlines(keepends=True)
PIECES = [
    "\t",
    "\n",
    " ",
    ":",
    ": ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    "'",
    '"',
    "&a ",
    "*a",
    "*env",
    "<<: *env",
    "!!int ",
    "? ",
]
PIECES += [
    "|",
    ">",
    "%",
    "@",
    "`",
    "#",
    " #",
    "---\n",
    "...\n",
    "\0",
    "\x7f",
    "\ufeff",
    "\u2028",
    "😀",
    '"\\UFFFFFFFF"',
    "~",
    "0",
]
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=[composer.FAST_FROM, 0], ids=["PyYAML", "libyaml"])
def read(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[bytes], StandaloneConfig | ConfigError]:
    path = tmp_path / "byway.yaml"
    monkeypatch.setattr(composer, "FAST_FROM", request.param)

    def reader(content: bytes) -> StandaloneConfig | ConfigError:
        path.write_bytes(content)
        try:
            return load(path)
        except ConfigError as error:
            refused = error
        assert refused.problems
        assert all(char.isprintable() or char == "\n" for char in str(refused))
        json.loads(refused.as_json().encode("utf-8"))
        return refused

    return reader


@quick
@given(edits=st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 8), st.sampled_from(PIECES)), max_size=4))
def test_characters_put_in_and_cut_out(read: Callable[[bytes], object], edits: list[tuple[int, int, str]]) -> None:
    text = GOOD
    for place, cut, piece in edits:
        text = text[:place] + piece + text[place + cut :]
    read(text.encode("utf-8"))


@quick
@given(seed=st.integers(0, 2**32), edits=st.integers(1, 5))
def test_lines_lost_doubled_swapped_and_indented(read: Callable[[bytes], object], seed: int, edits: int) -> None:
    chance, rows = random.Random(seed), list(ROWS)
    for _ in range(edits):
        at, other = chance.randrange(len(rows)), chance.randrange(len(rows))
        match chance.randrange(4):
            case 0:
                del rows[at]
            case 1:
                rows.insert(other, rows[at])
            case 2:
                rows[at], rows[other] = rows[other], rows[at]
            case _:
                rows[at] = " " * chance.randrange(6) + rows[at].lstrip()
    read("".join(rows).encode("utf-8"))


@quick
@given(place=st.integers(0, len(GOOD)), noise=st.binary(min_size=1, max_size=6))
def test_bytes_that_may_be_no_text(read: Callable[[bytes], object], place: int, noise: bytes) -> None:
    content = GOOD.encode("utf-8")
    read(content[:place] + noise + content[place:])


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(PIECES)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def positions(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [found for key, item in inner for found in positions(item, (*path, key))]


PLACES = positions(yaml.safe_load(GOOD))


@quick
@given(path=st.sampled_from(PLACES), value=values)
def test_any_value_in_any_place(read: Callable[[bytes], object], path: tuple[Any, ...], value: object) -> None:
    tree = yaml.safe_load(GOOD)
    at = tree
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    read(yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass"))


@quick
@given(path=st.sampled_from(PLACES))
def test_a_problem_is_found_whatever_single_value_is_a_mapping(
    read: Callable[[bytes], object], path: tuple[Any, ...]
) -> None:
    tree = yaml.safe_load(GOOD)
    at = tree
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = {"no such key": 1}
    assert isinstance(read(yaml.safe_dump(tree).encode()), ConfigError)
