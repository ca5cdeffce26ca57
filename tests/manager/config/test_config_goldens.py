"""One file per mistake, the messages beside it. `BYWAY_REWRITE_GOLDENS=1` writes the messages anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xds.config import ConfigError, composer, load

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path.stem for path in GOLDEN.glob("*.yaml"))
# Syntax errors are worded by the parser.
WELL_FORMED = [
    case
    for case in CASES
    if not case.startswith(("syntax-", "tab-", "ipv6-without-quotes", "escape-", "no-colon", "env-half"))
]
REWRITE = os.environ.get("BYWAY_REWRITE_GOLDENS") == "1"


@pytest.mark.parametrize("case", CASES)
def test_mistake_is_told_with_place_key_and_what_was_expected(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    monkeypatch.setattr("getpass.getuser", lambda: "carol")
    with pytest.raises(ConfigError) as caught:
        load(Path(f"{case}.yaml"))
    message = f"{caught.value}\n"
    expected = GOLDEN / f"{case}.txt"
    if REWRITE:
        expected.write_text(message, encoding="utf-8")
    assert message == expected.read_text(encoding="utf-8")


def test_every_message_has_its_file() -> None:
    assert len(CASES) >= 40
    assert sorted(path.stem for path in GOLDEN.glob("*.txt")) == CASES


@pytest.mark.parametrize("case", WELL_FORMED)
def test_libyaml_finds_the_same_mistakes(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> list[tuple[int, str, str]]:
        # No columns: for a value that isn't there, one parser names the colon's end and the other the next token.
        with pytest.raises(ConfigError) as caught:
            load(GOLDEN / f"{case}.yaml")
        return [(problem.line, problem.key, problem.message) for problem in caught.value.problems]

    monkeypatch.setattr("getpass.getuser", lambda: "carol")
    precise = found()
    monkeypatch.setattr(composer, "FAST_FROM", 0)
    assert found() == precise


@pytest.mark.parametrize("case", CASES)
def test_the_place_that_a_message_names_is_in_the_file(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    monkeypatch.setattr("getpass.getuser", lambda: "carol")
    with pytest.raises(ConfigError) as caught:
        load(Path(f"{case}.yaml"))
    # One more than there is: what is missing at the end is reported behind it.
    rows = [*Path(f"{case}.yaml").read_text(encoding="utf-8").split("\n"), ""]
    for problem in caught.value.problems:
        assert (problem.line == 0) == (problem.column == 0)
        if problem.line:
            assert problem.column <= len(rows[problem.line - 1]) + 1
