"""Requests through a tunnel beside requests that don't: what a laptop behind NAT costs.

    pass-through   sidecar → app
    direct         sidecar → laptop
    envoy          sidecar → gateway → tunnel of Envoy → laptop
    python         sidecar → gateway → tunnel of the Python multiplexer → laptop

All ways lead through the same sidecar and to the same kind of process, take turns, and are compared within a round.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.processes import cpu, family
from demo.processes import wait_for
from demo.world import Gateway, Instance, Laptop, Workload, World, free_port, listening

PASS_THROUGH = "pass-through"
WAYS = (PASS_THROUGH, "direct", "envoy", "python")
CONNECTIONS = (1, 16)
HEADER = "x-way"


@dataclass(frozen=True, slots=True)
class Row:
    """One way at one number of connections: medians over the rounds. `ratio` is that of its requests per second to
    those of pass-through in the same round; `cpu_us` is what all Envoys and tunnels together spend on a request.
    """

    way: str
    connections: int
    per_second: float
    ratio: float
    p50_ms: float
    more_p50_ms: float
    p99_ms: float
    cpu_us: float


def measure(root: Path, *, rounds: int, seconds: float, say: Callable[[str], None]) -> list[Row]:
    """Bring up a world, and take turns. Raises RuntimeError when a request failed."""
    with _world(root) as world:
        found: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for number in range(rounds):
            for connections in CONNECTIONS:
                for way in WAYS:
                    say(f"round {number + 1} of {rounds}: {way}, {connections} connections")
                    found.setdefault((way, connections), []).append(_ask(world, way, connections, seconds))
    return [
        _row(way, connections, runs, found[PASS_THROUGH, connections]) for (way, connections), runs in found.items()
    ]


def _row(way: str, connections: int, runs: list[dict[str, Any]], beside: list[dict[str, Any]]) -> Row:
    pairs = list(zip(runs, beside, strict=True))
    return Row(
        way,
        connections,
        per_second=median(one["per_second"] for one in runs),
        ratio=median(one["per_second"] / other["per_second"] for one, other in pairs),
        p50_ms=median(one["p50_ms"] for one in runs),
        more_p50_ms=median(one["p50_ms"] - other["p50_ms"] for one, other in pairs),
        p99_ms=median(one["p99_ms"] for one in runs),
        cpu_us=median(one["cpu_us"] for one in runs),
    )


@contextmanager
def _world(root: Path) -> Iterator[World]:
    workload = Workload("shop", [Instance("shop-1")])
    users = WAYS[1:]
    world = World(root, [workload], users=users, gateways=[Gateway("gw-1")])
    try:
        world.write_file()
        world.start_manager()
        for gateway in world.gateways:
            world.start_gateway(gateway)
        _serve(world, "app", workload.instances[0].app)
        world.start_sidecar(workload, workload.instances[0])
        for gateway in world.gateways:
            world.wait_for_gateway(gateway)
        world.wait_for_sidecar(workload.instances[0])
        for user in users:
            _intercept(world, world.laptop(user))
        yield world
    finally:
        world.stop()


def _serve(world: World, name: str, port: int) -> None:
    tools = str(Path(__file__).resolve().parents[1])
    world.processes.start(name, [sys.executable, "-m", "bench.server", "--port", str(port)], env={"PYTHONPATH": tools})
    wait_for(lambda: listening(port), f"{name} listens")


def _intercept(world: World, laptop: Laptop) -> None:
    port = free_port()
    _serve(world, f"process-of-{laptop.user}", port)
    way = ("--reach", "direct") if laptop.user == "direct" else ("--reach", "tunnel", "--tunnel", laptop.user)
    laptop.connect(*way)
    laptop.byway("intercept", "shop", "--port", str(port), "--http-header", f"{HEADER}={laptop.user}")


def _ask(world: World, way: str, connections: int, seconds: float) -> dict[str, Any]:
    pids = _carriers(world)
    before = sum(map(cpu, pids))
    command = [sys.executable, "-m", "bench.load", "--port", str(world.port("shop"))]
    command += ["--connections", str(connections), "--seconds", str(seconds)]
    if way != PASS_THROUGH:
        command += ["--header", f"{HEADER}: {way}"]
    tools = str(Path(__file__).resolve().parents[1])
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": tools}, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    if found["failed"]:
        raise RuntimeError(f"{way}: {found['failed']} requests failed, such as {found['failure']}")
    found["cpu_us"] = 1e6 * (sum(map(cpu, pids)) - before) / found["requests"]
    return found


def _carriers(world: World) -> list[int]:
    """Every process between the client and whoever answers: sidecar, gateway, daemons, and their Envoys."""
    roots = [world.processes.children[name].pid for name in ("shop-1-sidecar", "gateway-gw-1")]
    roots += [laptop.daemon_pid for laptop in world.laptops.values()]
    return [pid for root in roots for pid in family(root)]


def as_json(rows: list[Row]) -> list[dict[str, Any]]:
    """The rows for bench.json."""
    return [asdict(row) for row in rows]
