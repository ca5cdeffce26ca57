"""What docs/conformance.md is made by."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.__main__ import DOC, OURS, built, cell, document, peer_version
from xdsctl.conform.judge import Finding, ordered
from xdsctl.conform.rule import Verdict


def findings(of: dict[str, Verdict]) -> list[Finding]:
    return [
        Finding(rule, transport, of.get(str(transport), Verdict.PASS), "seen")
        for rule in ordered()
        for transport in rule.transports
    ]


def test_where_there_is_no_go_the_peer_is_skipped_and_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert built(tmp_path) is None
    assert capsys.readouterr().out == "go-control-plane is skipped: there is no Go here\n"


def test_verdicts_that_differ_say_by_which_transport() -> None:
    of_one = [each for each in findings({"sotw": Verdict.FAIL}) if each.rule.name == "named"]
    assert cell(of_one) == "pass: delta, delta per type, sotw per type; fail: sotw"
    assert cell([each for each in of_one if each.verdict is Verdict.PASS]) == "pass"


def test_every_rule_has_a_line_and_what_is_broken_is_told() -> None:
    text = document({OURS: findings({}), "LinearCache": findings({"delta": Verdict.WARN})})
    assert [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")] == [
        rule.name for rule in ordered()
    ]
    assert "What was seen of go-control-plane, LinearCache" in text
    assert "What was seen of Byway" not in text
    assert "* `named` (delta): seen" in text


def test_the_published_table_is_of_these_rules_and_this_version() -> None:
    text = DOC.read_text()
    assert [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")] == [
        rule.name for rule in ordered()
    ]
    assert f"go-control-plane {peer_version()}" in text
    ours = [line.split(" | ")[3] for line in text.splitlines() if line.startswith("| `")]
    assert set(ours) == {"pass", "not judged"}
