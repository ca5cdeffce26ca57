"""Worlds for end-to-end tests: real Envoys, a real manager, real daemons, all on loopback and gone afterwards.

`world` is the demonstration's chain of services. `stage` is a single workload whose app remembers what reached it, with
bystanders: ordinary requests, and another developer's intercept, that must not notice anything.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.processes import wait_for
from demo.world import REPOSITORY, Laptop, World, free_port, laptop_pids
from tests.e2e.stage import SHOP, RecordingWorld, Scene, header_of, shop_world, start_recorder


def _running(world: World) -> Iterator[World]:
    try:
        world.start()
        yield world
    finally:
        world.stop()


@pytest.fixture(scope="module")
def short_path() -> Iterator[Path]:
    """A directory with a path short enough for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="bw-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def world(short_path: Path) -> Iterator[World]:
    """frontend → orders (two instances) → payments; alice and bob may connect."""
    yield from _running(World(short_path / "world"))


@pytest.fixture
def laptop(world: World) -> Iterator[Callable[[str], Laptop]]:
    """Connect a user's laptop to `world`; its session ends with the test."""
    used: list[Laptop] = []

    def connect(user: str) -> Laptop:
        one = world.laptop(user)
        one.connect()
        used.append(one)
        return one

    yield connect
    for one in used:
        _wake(one)
        one.byway("quit", check=False)


@pytest.fixture(scope="module")
def stage(short_path: Path) -> Iterator[RecordingWorld]:
    """One workload, `shop`, with two instances."""
    world = shop_world(short_path / "stage")
    for running in _running(world):
        assert running is world
        yield world


@pytest.fixture(scope="module")
def bystanders(stage: RecordingWorld) -> Iterator[Callable[[], None]]:
    """Ordinary requests and Bob's intercept, on kept-alive connections and an open stream, while the module runs; Bob
    sits at a breakpoint besides.

    Call it to check that nothing was wrong so far.
    """
    bob = stage.laptop("bob")
    bob.connect()
    port = free_port()
    start_recorder(stage.processes, "bob", port)
    bob.byway("intercept", SHOP, "--port", str(port), "--http-header", "auto")
    ((name, value),) = header_of(bob).items()
    command = [sys.executable, "-m", "tests.e2e.bystander", "--port", str(stage.port(SHOP))]
    command += ["--header", f"{name}: {value}", "--ordinary", "shop-1", "--other", "bob"]
    child = stage.processes.start("bystander", command, env={"PYTHONPATH": str(REPOSITORY)})

    def check() -> None:
        assert "Traceback" not in stage.processes.log("bystander"), stage.processes.log("bystander")
        assert "WRONG" not in stage.processes.log("bystander"), stage.processes.log("bystander")

    yield check
    child.send_signal(signal.SIGTERM)
    child.wait(10)
    check()
    stage.processes.children.pop("bystander")
    done = json.loads(stage.processes.log("bystander").strip().splitlines()[-1])
    assert min(done["ordinary"], done["other"], done["events"]) > 0, done
    print(f"\nbystanders: {done}")


Stage = Callable[..., Scene]


@pytest.fixture
def scene(stage: RecordingWorld, bystanders: Callable[[], None]) -> Iterator[Stage]:
    """Alice connected, her process running, her intercept active; at the end nobody else may have noticed a thing."""
    alice = stage.laptop("alice")
    made: list[Scene] = []

    def make(when_down: str = "cluster", *flags: str) -> Scene:
        if not alice.connected():
            alice.connect()
        port = free_port()
        start_recorder(stage.processes, "alice", port)
        created: Any = alice.json(
            "intercept", SHOP, "--port", str(port), "--http-header", "auto", "--when-down", when_down, *flags
        )
        one = Scene(stage, alice, header_of(alice), when_down, created["intercept"]["id"], "alice", port)
        made.append(one)
        return one

    yield make
    _wake(alice)
    if "alice" in stage.processes.children:
        stage.processes.kill("alice")
    for one in made:
        wait_for(alice.connected, "alice is connected")
        alice.byway("leave", SHOP)
        assert one.id not in alice.byway("list").stdout
    bystanders()


def _wake(laptop: Laptop) -> None:
    for pid in laptop_pids(laptop):
        os.kill(pid, signal.SIGCONT)
