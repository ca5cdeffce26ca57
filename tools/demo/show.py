"""How the demonstration looks: steps, commands, requests and who answered them, each held against what was expected."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from demo.world import Answer


@dataclass(frozen=True, slots=True)
class Hop:
    """Who is expected to answer at one hop: any of these instances, on which route, with which status.

    `intercept` is the id of the intercept whose route the request takes, empty for the ordinary route; `by` says who
    answers there, laptop or cluster.
    """

    instances: tuple[str, ...]
    intercept: str = ""
    by: str = ""
    status: int = 200

    @property
    def header(self) -> str:
        """What `x-byway-intercept` has to be."""
        return f"{self.intercept}; served-by={self.by}" if self.intercept else ""


@dataclass(slots=True)
class Stage:
    """Prints, compares, and remembers what differed."""

    console: Console
    differences: list[str] = field(default_factory=list)
    steps: int = 0
    compared: int = 0
    started: float = field(default_factory=time.monotonic)

    def step(self, title: str, *explanation: str) -> None:
        """Begin a step."""
        self.steps += 1
        self.console.print()
        self.console.print(f"[bold]{self.steps}. {title}[/bold]")
        for line in explanation:
            self.console.print(f"   {line}", style="dim", highlight=False)

    def command(self, who: str, arguments: Sequence[str], output: str = "") -> None:
        """Show a command that was run and what it said."""
        self.console.print(Text.assemble(("   " + who, "cyan"), "$ ", (shlex.join(arguments), "bold")))
        for line in output.rstrip().splitlines():
            self.console.print(Text("     " + line))

    def request(self, path: str, headers: dict[str, str], answer: Answer, expected: Sequence[Hop]) -> None:
        """Show a request and who answered at each hop; note every difference."""
        hops = answer.hops if answer.body.startswith(b'{"hops"') else []
        line = Text("   ")
        for number, hop in enumerate(hops):
            laptop = "served-by=laptop" in hop.get("intercept", "")
            line.append(" → " if number else "")
            line.append(str(hop.get("instance", "?")), style="bold green" if laptop else "")
        if not hops:
            line.append(f"{answer.status} {answer.body.decode(errors='replace').strip()}")
        asked = Text.assemble("   GET ", (path, "bold"), *(f"  {name}: {value}" for name, value in headers.items()))
        self.console.print(asked)
        self.console.print(Text.assemble("  ", line))
        self._compare(f"step {self.steps}, GET {path} {headers}", hops, expected)

    def _compare(self, what: str, hops: Sequence[dict[str, object]], expected: Sequence[Hop]) -> None:
        self.expect(len(hops) == len(expected), f"{what}: {len(hops)} hops answered, expected {len(expected)}")
        for number, (hop, wanted) in enumerate(zip(hops, expected, strict=False), 1):
            where = f"{what}: hop {number}"
            self.expect(
                hop.get("instance") in wanted.instances, f"{where}: {hop.get('instance')}, not {wanted.instances}"
            )
            self.expect(
                hop.get("intercept") == wanted.header, f"{where}: {hop.get('intercept')!r}, not {wanted.header!r}"
            )
            self.expect(hop.get("status") == wanted.status, f"{where}: status {hop.get('status')}, not {wanted.status}")

    def expect(self, holds: object, difference: str) -> None:
        """Note a difference where something doesn't hold."""
        self.compared += 1
        if not holds:
            self.differences.append(difference)
            self.console.print(f"   ✗ {difference}", style="bold red", highlight=False)
