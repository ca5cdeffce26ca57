"""Shows how far each sidecar is while an intercept is created, on a terminal."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from xds.api.byway.manager.v1 import Intercept, SidecarState, SidecarStateState
from xds.terminal.words import plain

if TYPE_CHECKING:
    from rich.live import Live

MARKS = {
    SidecarStateState.ABSENT: "·",
    SidecarStateState.WAITING: "…",
    SidecarStateState.ACKED: "✓",
    SidecarStateState.NACKED: "✗",
}
SHOWN = 20
"""Sidecars; a workload may have hundreds."""


def line(sidecar: SidecarState) -> str:
    """One sidecar."""
    words = {
        SidecarStateState.ABSENT: "not connected",
        SidecarStateState.WAITING: "waiting",
        SidecarStateState.ACKED: "confirmed",
        SidecarStateState.NACKED: "refused",
    }
    state = SidecarStateState(sidecar.state)
    return f"  {MARKS[state]} {sidecar.instance}  {words[state]}" + (
        f": {plain(sidecar.detail)}" if sidecar.detail else ""
    )


def lines(intercept: Intercept) -> list[str]:
    """All of them, those that are not done first."""
    ordered = sorted(intercept.sidecars, key=lambda each: (each.state == SidecarStateState.ACKED, each.instance))
    more = [f"  and {len(ordered) - SHOWN} more"] if len(ordered) > SHOWN else []
    return [f"Intercepting {intercept.workload} …", *(line(each) for each in ordered[:SHOWN]), *more]


class Follower:
    """A context in which progress is shown; it is wiped at the end, for the summary says the same."""

    def __init__(self) -> None:
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), transient=True, auto_refresh=False)
            self._live.start()
        return self

    def show(self, intercept: Intercept | None) -> None:
        """Show how far it is now."""
        if self._live is not None and intercept is not None:
            from rich.text import Text

            self._live.update(Text("\n".join(lines(intercept))), refresh=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
