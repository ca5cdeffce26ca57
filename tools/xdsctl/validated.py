"""Has a real Envoy look at resources, and finds which of them it refuses.

Envoy stops at the first thing that it refuses, and often does not say which resource that was. So whatever is refused
is halved until what is left is one unit; a good one among a thousand costs nothing.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xds.bootstrap import NoEnvoyError, envoy_binary
from xds.compile.names import gateway_node
from xds.paths import write_private
from xds.terminal.failure import FailureError
from xds.terminal.output import indented, styled, table
from xds.terminal.words import plain
from xdsctl.nodes import listed
from xdsctl.resources import TYPES, Resource
from xdsctl.static import GATEWAYS_OWN, Unit, bootstrap, dangling, units_of

TIMEOUT = 60.0
"""Seconds that Envoy may take to look at all of a node."""
MOST = 20
"""Refused units that are looked for, of one node."""
FEW = 64
"""Units of which Envoy is asked one by one which it refuses only together."""
_SAID = re.compile(r"error initializing configuration '[^']*': (.*?)(?=\n\[\d{4}-|\Z)", re.DOTALL)
Verdict = Callable[[Sequence[Unit]], str]
"""Envoy's words about units; empty where it takes them."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What Envoy says of a unit, or of several that it refuses only together."""

    units: tuple[Unit, ...]
    text: str

    @property
    def title(self) -> str:
        """What it is about."""
        return listed([unit.title for unit in self.units])

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        about = [
            {"type": unit.type, "name": unit.name, **({"route": unit.route} if unit.place else {})}
            for unit in self.units
        ]
        return {"about": about, "text": self.text}


@dataclass(frozen=True, slots=True)
class Validated:
    """What came of one node's resources."""

    node: str
    counts: Mapping[str, int]
    refusals: list[Refusal]
    warnings: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether Envoy takes all of it."""
        return not self.refusals


class Envoy:
    """The Envoy that is asked. Raises FailureError where there is none."""

    def __init__(self) -> None:
        try:
            self.binary = str(envoy_binary())
        except NoEnvoyError as error:
            raise FailureError(str(error), code="no_envoy") from None

    def version(self) -> str:
        """Its version, such as 1.40.0."""
        done = self._run("--version")
        found = re.search(r"/(\d+\.\d+\.\d+\S*?)/", done.stdout)
        if found is None:
            raise FailureError(f"{self.binary} is no Envoy: it does not tell its version", code="no_envoy")
        return found[1]

    def verdict(self, node: str) -> Verdict:
        """What it says of units of a node."""

        def ask(units: Sequence[Unit]) -> str:
            with tempfile.TemporaryDirectory(prefix="xdsctl-") as folder:
                path = Path(folder) / "bootstrap.json"
                write_private(path, json.dumps(bootstrap(units, node)))
                done = self._run("--mode", "validate", "-c", str(path), "--log-level", "critical")
            return "" if done.returncode == 0 else words(done.stdout + done.stderr, done.returncode)

        return ask

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [self.binary, *arguments],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise FailureError(f"{self.binary} has not answered within {TIMEOUT:g} s", code="timeout") from None
        except OSError as error:
            raise FailureError(
                f"can't run {self.binary}: {(error.strerror or str(error)).lower()}", code="no_envoy"
            ) from None


def words(output: str, code: int) -> str:
    """Envoy's own words, without what its log puts around them."""
    found = _SAID.search(output)
    said = found[1] if found else output
    return said.strip() or f"Envoy ended with code {code} and said nothing"


def refusals(units: Sequence[Unit], ask: Verdict, most: int = MOST) -> list[Refusal]:
    """The smallest groups of units that Envoy refuses, at most so many."""
    rest, found = list(units), list[Refusal]()
    # What is refused only together shows once the rest is taken.
    while len(found) < most and (more := _halved(rest, ask, most - len(found))):
        found += more
        bad = {unit for refusal in more for unit in refusal.units}
        rest = [unit for unit in rest if unit not in bad]
    return found


def _halved(units: Sequence[Unit], ask: Verdict, most: int) -> list[Refusal]:
    text = ask(units) if units else ""
    if not text:
        return []
    if len(units) == 1:
        return [Refusal(tuple(units), text)]
    half = len(units) // 2
    found = _halved(units[:half], ask, most)
    if len(found) < most:
        found += _halved(units[half:], ask, most - len(found))
    return found or [_together(list(units), text, ask)]


def _together(units: list[Unit], text: str, ask: Verdict) -> Refusal:
    """Units each half of which Envoy takes: without those that have no part in it."""
    size = len(units) // 2 if len(units) <= FEW else 0
    while size:
        at = 0
        while at < len(units):
            rest = units[:at] + units[at + size :]
            if rest and (said := ask(rest)):
                units, text = rest, said
            else:
                at += size
        size //= 2
    return Refusal(tuple(units), text)


def validate(node: str, resources: Mapping[str, Sequence[Resource]], envoy: Envoy) -> Validated:
    """Have Envoy look at all that a node has."""
    ask = envoy.verdict(node)
    frames, routes = units_of(resources)
    found = _refused(frames, routes, ask) if ask([*frames, *routes]) else []
    counts = {kind: len(resources.get(kind, ())) for kind in TYPES}
    own = GATEWAYS_OWN if node.startswith(gateway_node("")) else ()
    return Validated(node, counts, found, dangling(resources, own))


def _refused(frames: list[Unit], routes: list[Unit], ask: Verdict) -> list[Refusal]:
    found = refusals(frames, ask)
    bad = {unit.name for refusal in found for unit in refusal.units if unit.type == "routes"}
    good = [unit for unit in routes if unit.name not in bad]
    return found + refusals(good, ask, MOST - len(found))


def as_dict(version: str, results: Iterable[Validated]) -> dict[str, Any]:
    """What `-o json` and `-o yaml` print."""
    nodes = [
        {
            "node": one.node,
            "ok": one.ok,
            **one.counts,
            "refusals": [refusal.as_dict() for refusal in one.refusals],
            "warnings": one.warnings,
        }
        for one in results
    ]
    return {"envoy": version, "nodes": nodes}


def text(results: Sequence[Validated]) -> str:
    """A table of the nodes, and below it what is refused and why."""
    rows = [
        [
            plain(one.node),
            *(str(one.counts[kind]) for kind in TYPES),
            styled("OK", fg="green") if one.ok else styled("REFUSED", fg="red"),
        ]
        for one in results
    ]
    parts = [table(["NODE", *(kind.upper() for kind in TYPES), "ENVOY SAYS"], rows)]
    parts += [
        f"\n{plain(one.node)}: {plain(refusal.title)}:\n{indented(_lines(refusal.text))}"
        for one in results
        for refusal in one.refusals
    ]
    parts += [f"\n{plain(one.node)}: {plain(warning)}\n" for one in results for warning in one.warnings]
    return "".join(parts)


def _lines(said: str) -> str:
    return "\n".join(map(plain, said.splitlines()))
