"""What came of the rules, for people and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from xds.terminal.output import styled, table
from xds.terminal.words import plain
from xdsctl.conform.judge import Finding
from xdsctl.conform.rule import PAGE, Verdict

_COLOURS: Final = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.WARN: "yellow", Verdict.UNJUDGED: "bright_black"}


def text(findings: Sequence[Finding], *, wide: bool) -> str:
    """The table, and below it the counts. What a server says must not steer the terminal."""
    rows = [
        [
            each.rule.name,
            str(each.transport),
            styled(each.verdict.value, fg=_COLOURS[each.verdict]),
            each.rule.section,
            *([each.rule.says] if wide else []),
            plain(each.seen),
        ]
        for each in findings
    ]
    headings = ["RULE", "VARIANT", "VERDICT", "SECTION", *(["WHAT IT SAYS"] if wide else []), "SEEN"]
    return f"{table(headings, rows)}\n{counted(findings)}\n"


def counted(findings: Sequence[Finding]) -> str:
    """How many there are of each verdict."""
    found = Counter(each.verdict for each in findings)
    return ", ".join(f"{found[verdict]} {verdict.value}" for verdict in Verdict)


def as_dict(findings: Sequence[Finding], *, address: str, node: str, control_plane: str) -> dict[str, Any]:
    """What `-o json` and `-o yaml` print."""
    found = Counter(each.verdict for each in findings)
    return {
        "address": address,
        "node": node,
        "control_plane": control_plane,
        "protocol": PAGE,
        "counts": {verdict.value: found[verdict] for verdict in Verdict},
        "findings": [
            {
                "rule": each.rule.name,
                "says": each.rule.says,
                "variant": each.transport.variant.value,
                "per_type": each.transport.per_type,
                "verdict": each.verdict.value,
                "advised": each.rule.advised,
                "section": each.rule.section,
                "seen": each.seen,
            }
            for each in findings
        ],
    }
