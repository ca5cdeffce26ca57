"""Files that can't be read at all."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from xds.config import ConfigError, Problem, composer, load, nodes, source

GOOD = (Path(__file__).parent / "good.yaml").read_text(encoding="utf-8")


def problems(path: Path) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return caught.value.problems


def only(path: Path) -> str:
    (problem,) = problems(path)
    return str(problem).replace(str(path), "FILE")


def test_missing_file(tmp_path: Path) -> None:
    assert only(tmp_path / "byway.yaml") == "FILE: expected a YAML file, found none of this name"


def test_directory(tmp_path: Path) -> None:
    assert only(tmp_path) == "FILE: expected a YAML file, found a directory; name the file in it"


def test_file_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert only(tmp_path / "file" / "x").endswith("expected a file that can be read, found an error: Not a directory")


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root reads what nobody may, so the refusal is played.
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert only(tmp_path / "x") == "FILE: expected a file that can be read, found an error: Permission denied"


def test_path_with_a_nul() -> None:
    (problem,) = problems(Path("a\0b"))
    assert problem.expected == "a file that can be read"


def test_bytes_that_are_not_utf8_are_found_by_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("# ä\nusers: [älice, ".encode() + "björn]\n".encode("latin-1"))
    assert only(path) == "FILE:2:18: expected UTF-8, found the byte 0xf6; save the file as UTF-8"


def test_utf16(tmp_path: Path) -> None:
    path = tmp_path / "wide.yaml"
    path.write_bytes(GOOD.encode("utf-16"))
    assert only(path) == "FILE:1:1: expected UTF-8, found UTF-16; save the file as UTF-8"


def test_control_character(tmp_path: Path) -> None:
    path = tmp_path / "bell.yaml"
    path.write_text("users: [alice]\nworkloads: \a\n")
    hint = "write it as an escape in double quotes"
    assert only(path) == f"FILE:2:12: expected printable characters, found the character U+0007; {hint}"


def test_control_character_in_a_large_file(tmp_path: Path) -> None:
    path = tmp_path / "bell.yaml"
    path.write_text("#" + "ä" * composer.FAST_FROM + "\nusers: \a\n")
    assert only(path).startswith("FILE:2:8: expected printable characters, found the character U+0007")


def test_long_line_that_begins_like_an_address_takes_no_time(tmp_path: Path) -> None:
    path = tmp_path / "colons.yaml"
    path.write_text("users: [" + ":" * 200_000)
    begin = time.monotonic()
    assert "expected YAML" in only(path)
    assert time.monotonic() - begin < 5


def test_huge_file_is_refused_without_being_parsed(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(source.MAX_BYTES + 1)
    assert only(path) == "FILE: expected at most 10 MB, found more; is it the right file?"


def test_merges_that_stand_for_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "MAX_VALUES", 1000)
    path = tmp_path / "bomb.yaml"
    rows = [f"A{number}: 1" for number in range(100)]
    path.write_text(f"x: &x {{{', '.join(rows)}}}\nworkloads:\n" + "  - {<<: *x}\n" * 10)
    assert only(path).endswith("expected at most 1,000 values, found more; look for an alias that repeats too much")


def test_aliases_that_stand_for_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "MAX_VALUES", 1000)
    path = tmp_path / "bomb.yaml"
    env = ", ".join(f"A{number}: 1" for number in range(100))
    rows = "".join(f"  - {{name: w{number}, ports: [{{port: 80}}], env: *env}}\n" for number in range(10))
    path.write_text(f"users: [alice]\nworkloads:\n  - {{name: w, ports: [{{port: 80}}], env: &env {{{env}}}}}\n{rows}")
    assert "env: expected at most 1,000 values, found more; look for an alias" in only(path)


def test_syntax_error_in_a_large_file_keeps_its_place(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_text("#" * composer.FAST_FROM + "\nworkloads: [\n")
    assert only(path).startswith("FILE:3:1: expected YAML, found a syntax error: ")


def test_an_operating_system_user_that_can_not_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "byway.yaml"
    path.write_text("workloads: []\n")

    def nobody() -> str:
        raise OSError("no entry for this user id")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert "no name for the operating system's user; add “users: [NAME]”" in only(path)
    monkeypatch.setattr("getpass.getuser", lambda: "CORP\\alice")
    assert '"CORP\\\\alice" for the operating system\'s user' in only(path)


def test_problems_as_json_have_every_part(tmp_path: Path) -> None:
    path = tmp_path / "byway.yaml"
    path.write_text("users: [alice]\nworklaods: []\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    expected = "one of listen, monitoring, users, gateways, settings, workloads"
    found, hint = 'the key "worklaods"', 'did you mean "workloads"?'
    assert json.loads(caught.value.as_json()) == [
        {
            "file": str(path),
            "line": 2,
            "column": 1,
            "key": "worklaods",
            "expected": expected,
            "found": found,
            "hint": hint,
            "message": f"expected {expected}, found {found}; {hint}",
        }
    ]


def test_messages_have_no_control_characters_and_no_secret_values(tmp_path: Path) -> None:
    path = tmp_path / "byway.yaml"
    path.write_text(
        'users: ["\\e[31m", alice]\n"\\ud800\\a": 1\nworkloads: [{name: w, ports: [{port: 1}], env: {P: "s3cret\\0"}}]'
    )
    text = "\n".join(map(str, problems(path)))
    assert "s3cret" not in text
    assert all(char.isprintable() or char == "\n" for char in text)
