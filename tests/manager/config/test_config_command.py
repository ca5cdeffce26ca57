"""`byway config check`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from xds.manager.commands.config import config

HERE = Path(__file__).parent


def check(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.chdir(HERE)
    return CliRunner().invoke(config, ["check", *arguments])


def test_a_good_file_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    result = check(monkeypatch, "good.yaml")
    assert (result.exit_code, result.stdout) == (0, "good.yaml: ok: 3 workloads, 2 instances, 5 users, 2 gateways\n")


def test_a_good_file_is_counted_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    result = check(monkeypatch, "good.yaml", "-o", "json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"file": "good.yaml", "ok": True, "workloads": 3, "instances": 2} | {
        "users": 5,
        "gateways": 2,
    }


@pytest.mark.parametrize("output", ["table", "wide"])
def test_tables_are_the_text_that_is_printed_anyway(monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    plain = check(monkeypatch, "good.yaml")
    assert check(monkeypatch, "good.yaml", "-o", output).stdout == plain.stdout


@pytest.mark.parametrize("file", ["good.yaml", "golden/port-letter.yaml"])
def test_yaml_says_what_json_says(monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    as_yaml, as_json = (check(monkeypatch, file, "-o", output) for output in ("yaml", "json"))
    assert as_yaml.stdout.startswith(f"file: {file}\n")
    assert yaml.safe_load(as_yaml.stdout) == json.loads(as_json.stdout)
    assert as_yaml.exit_code == as_json.exit_code


def test_problems_are_printed_one_per_line_with_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    result = check(monkeypatch, "golden/everything-at-once.yaml")
    rows = result.stdout.splitlines()
    assert result.exit_code == 2
    assert rows[0].startswith("golden/everything-at-once.yaml:1:9: listen: expected a loopback address")
    assert rows[-1] == f"golden/everything-at-once.yaml: {len(rows) - 1} problems"


def test_problems_are_printed_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    result = check(monkeypatch, "-o", "json", "golden/port-letter.yaml")
    printed = json.loads(result.stdout)
    assert result.exit_code == 2
    assert (printed["file"], printed["ok"]) == ("golden/port-letter.yaml", False)
    (problem,) = printed["problems"]
    assert (problem["line"], problem["column"], problem["key"]) == (6, 28, "workloads[0].ports[0].port")
    assert problem["message"] == 'expected a number from 1 to 65535, found "808O"'


def test_a_missing_file_is_a_problem_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    result = check(monkeypatch, "nowhere.yaml")
    assert result.exit_code == 2
    assert result.stdout.splitlines() == [
        "nowhere.yaml: expected a YAML file, found none of this name",
        "nowhere.yaml: 1 problem",
    ]


def test_one_workload_is_counted_in_the_singular(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "one.yaml"
    path.write_text("users: [alice]\nworkloads: [{name: orders, ports: [{port: 80}]}]\n")
    assert check(monkeypatch, str(path)).stdout == f"{path}: ok: 1 workload, 0 instances, 1 user\n"
