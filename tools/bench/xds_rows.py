"""What the xDS server costs, beside a floor and a peer.

fan-out    one workload, many streams, one intercept more: per stream, and until the last one has it
workloads  many workloads with a stream each, one intercept more in one of them: the whole change
crowd      one workload with many intercepts and a stream, one more: registry, compile and serve
idle       memory for each stream that nothing happens on
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.processes import resident
from bench.xds_subjects import BYWAY, FLOOR, KINDS, Cost, Peer, in_turns, running

TYPES = 4
"""Responses for an intercept that comes: clusters, endpoints, listeners, routes."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    rounds: int
    streams: int
    existing: tuple[int, ...]
    workloads: tuple[int, ...]
    intercepts: tuple[int, ...]
    idle: int


FULL = Scale(7, 1000, (10, 100, 1000), (10, 1000, 10_000), (10, 100, 1000, 3000), 5000)
QUICK = Scale(1, 40, (10,), (20,), (100,), 40)


@dataclass(frozen=True, slots=True)
class Row:
    """Medians over the rounds. `scale` is what grows from row to row: intercepts, workloads or streams.

    `cpu_us` is the server's CPU for each stream that the change reached; `ms` is from the change to the last stream;
    `ratio` and `ratio_ms` are those of the same round to the floor. Of Byway, `registry_us` and `commit_us` are CPU in
    the registry, and in compile and serve until the streams were woken.
    """

    kind: str
    scale: int
    cpu_us: float
    ms: float
    ratio: float
    ratio_ms: float
    registry_us: float = 0.0
    commit_us: float = 0.0


@dataclass(frozen=True, slots=True)
class Idle:
    """Memory for each stream, kB."""

    kind: str
    streams: int
    kilobytes: float


@dataclass(frozen=True, slots=True)
class Found:
    """All of it."""

    streams: int
    fan_out: list[Row]
    workloads: list[Row]
    crowd: list[Row]
    idle: list[Idle]

    def as_json(self) -> dict[str, Any]:
        """For bench.json."""
        return asdict(self)


def measure(root: Path, peer: Peer, scale: Scale, say: Callable[[str], None]) -> Found:
    """Measure all rows."""
    return Found(
        scale.streams,
        [row for existing in scale.existing for row in _fan_out(root, peer, scale, existing, say)],
        [row for number in scale.workloads for row in _workloads(root, peer, scale, number, say)],
        [row for number in scale.intercepts for row in _crowd(root, peer, scale, number, say)],
        _idle(root, peer, scale, say),
    )


def _fan_out(root: Path, peer: Peer, scale: Scale, existing: int, say: Callable[[str], None]) -> list[Row]:
    what = f"one workload with {existing} intercepts, {scale.streams} streams"
    with running(root, peer, kinds=KINDS, groups=1, instances=scale.streams, existing=existing) as subjects:
        for each in subjects:
            say(f"{what}: connecting to {each.kind}")
            each.open(scale.streams)
        say(what)
        costs = in_turns(subjects, scale.rounds, lambda one: one.change(0, TYPES * scale.streams))
    return _rows(costs, existing, scale.streams)


def _workloads(root: Path, peer: Peer, scale: Scale, number: int, say: Callable[[str], None]) -> list[Row]:
    what = f"{number} workloads with a stream each"
    with running(root, peer, kinds=KINDS, groups=number, instances=1, existing=1) as subjects:
        for each in subjects:
            say(f"{what}: connecting to {each.kind}")
            each.open(number)
        say(what)
        costs = in_turns(subjects, 2 * scale.rounds, lambda one: one.change(number // 2, TYPES))
    return _rows(costs, number, 1)


def _crowd(root: Path, peer: Peer, scale: Scale, number: int, say: Callable[[str], None]) -> list[Row]:
    say(f"one workload with {number} intercepts and one stream")
    with running(root, peer, kinds=KINDS, groups=1, instances=1, existing=number) as subjects:
        for each in subjects:
            each.open(1)
        costs = in_turns(subjects, 2 * scale.rounds, lambda one: one.change(0, TYPES))
    return _rows(costs, number, 1)


def _idle(root: Path, peer: Peer, scale: Scale, say: Callable[[str], None]) -> list[Idle]:
    found = []
    for kind in (one for one in KINDS if one != BYWAY):
        with running(root, peer, kinds=[kind], groups=1, instances=1, existing=1) as subjects:
            for each in subjects:
                say(f"memory of {scale.idle} streams to {kind}")
                each.open(10)
                before = resident(each.server.pid)
                each.open(scale.idle)
                found.append(Idle(kind, scale.idle, (resident(each.server.pid) - before) / 1000 / scale.idle))
    return found


def _rows(costs: dict[str, list[Cost]], scale: int, streams: int) -> list[Row]:
    floor = costs[FLOOR]
    return [
        Row(
            kind,
            scale,
            cpu_us=1e6 * median(one.cpu for one in each) / streams,
            ms=1e3 * median(one.seconds for one in each),
            ratio=_ratio([one.cpu for one in each], [one.cpu for one in floor]),
            ratio_ms=_ratio([one.seconds for one in each], [one.seconds for one in floor]),
            registry_us=1e6 * median(one.registry for one in each),
            commit_us=1e6 * median(one.commit for one in each),
        )
        for kind, each in costs.items()
    ]


def _ratio(those: Sequence[float], base: Sequence[float]) -> float:
    return median(one / other for one, other in zip(those, base, strict=True))
