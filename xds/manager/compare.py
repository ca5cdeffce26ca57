"""Comparing intercepts without holding up the event loop.

A comparison of two expressions takes up to some 10 ms, of hundreds of them seconds. It is done in slices on the loop
itself, and not in a thread: what the comparisons remember is not made for two threads, and a thread would compete with
the loop for the interpreter all the same.
"""

from __future__ import annotations

import asyncio
import time

from xds.registry.comparison import Comparison
from xds.registry.intercept import Disposition
from xds.registry.match import Match
from xds.registry.overlap import example_request, verdict
from xds.registry.state import State

SLICE = 0.004
"""Seconds to compare before others have their turn; one comparison may take a little longer."""


class Turns:
    """Gives others a turn each time a slice is used up."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    async def offer(self) -> None:
        """Pause if it is time to."""
        if time.perf_counter() - self._began > SLICE:
            await asyncio.sleep(0)
            self._began = time.perf_counter()


async def compare(comparison: Comparison, state: State) -> None:
    """Compare until nobody is left to compare with; nothing is awaited after the look that finds so."""
    turns = Turns()
    while waiting := comparison.pending(state):
        for other in waiting:
            comparison.verdict(other)
            await turns.offer()


async def look_at_all(state: State) -> None:
    """Have it known what each expression admits: after a restart the first newcomer would find all of them new."""
    turns = Turns()
    for condition in {one for intercept in state.intercepts.values() for one in intercept.spec.match.conditions}:
        example_request(Match((condition,)))
        await turns.offer()


async def compare_displaced(state: State) -> None:
    """Have it known what keeps each displaced intercept away, so that bringing them back costs next to nothing."""
    turns = Turns()
    for displaced in [one for one in state.intercepts.values() if one.disposition is Disposition.DISPLACED]:
        for other in state.of_workload(displaced.spec.workload):
            if other.disposition.routed:
                verdict(displaced.spec, other.spec)
                await turns.offer()
