"""Requests don't wait for the manager that is told of them; and what a developer does at a terminal to see them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.processes import wait_for
from demo.world import BYWAY, Instance, Laptop, Workload, World, free_port, request
from tests.e2e.stage import header_of

MANY = 200
WORKLOAD = "payments"


@pytest.fixture(scope="module")
def world(short_path: Path) -> Iterator[World]:
    """A single workload; alice may connect."""
    one = World(short_path / "outage", [Workload(WORKLOAD, [Instance("payments-1")])], users=("alice",))
    try:
        one.start()
        one.laptop("alice").connect()
        yield one
    finally:
        one.stop()


@pytest.fixture(scope="module")
def header(world: World) -> dict[str, str]:
    """Of alice's intercepts."""
    return header_of(world.laptop("alice"))


@pytest.fixture
def alice(world: World) -> Iterator[Laptop]:
    """With her process running, and an intercept that has taken nothing yet."""
    one = world.laptop("alice")
    port = free_port()
    world.start_service("alice-laptop", WORKLOAD, port)
    one.byway("intercept", WORKLOAD, "--port", str(port), "--http-header", "auto")
    yield one
    one.byway("leave", WORKLOAD, check=False)
    if "alice-laptop" in world.processes.children:
        world.processes.kill("alice-laptop")


def ask(world: World, header: dict[str, str], count: int, path: str = "/") -> None:
    """Every one of them is answered by the laptop."""
    for _ in range(count):
        answer = request(world.port(WORKLOAD), path, header)
        assert (answer.status, answer.instances) == (200, ["alice-laptop"])


def total(laptop: Laptop) -> int:
    return int(laptop.json("requests", WORKLOAD)["traffic"]["total"])


def test_requests_at_a_terminal(world: World, alice: Laptop, header: dict[str, str]) -> None:
    none = alice.byway("requests", WORKLOAD)
    assert (none.stdout, "byway why payments" in none.stderr) == ("", True)
    late = alice.byway("requests", WORKLOAD, "--wait-for", "1", "--timeout", "300ms", check=False)
    assert (late.returncode, "took 0 of 1 requests" in late.stderr) == (1, True)
    waiting = subprocess.Popen(
        [*BYWAY, "requests", WORKLOAD, "--wait-for", "2"], env=alice.env, stdout=subprocess.PIPE, text=True
    )
    ask(world, header, 2, "/refunds?token=secret")
    out, _ = waiting.communicate(timeout=40)
    assert waiting.returncode == 0
    lines = [line.split() for line in out.splitlines()[1:]]
    assert [(one[1], one[2], one[4], one[5]) for one in lines] == [("GET", "200", "laptop", "/refunds")] * 2
    wide = alice.byway("list", "--intercepts", "-o", "wide").stdout
    assert "2 2xx" in wide
    why = alice.byway("why", WORKLOAD).stdout
    assert "the laptop answered it" in why
    world.processes.kill("alice-laptop")
    assert request(world.port(WORKLOAD), "/", header).instances == ["payments-1"]
    alice.byway("requests", WORKLOAD, "--wait-for", "3")
    assert alice.json("requests", WORKLOAD)["requests"][-1]["answered_by"] == "cluster"
    assert "the app answered it" in alice.byway("why", WORKLOAD).stdout
    alice.byway("leave", WORKLOAD)
    gone = alice.byway("requests", WORKLOAD, check=False)
    assert (gone.returncode, "you have no intercept" in gone.stderr) == (1, True)


def test_a_manager_that_does_not_read_holds_up_nobody_and_counts_afterwards(
    world: World, alice: Laptop, header: dict[str, str]
) -> None:
    before = total(alice)
    manager = world.processes.children["manager"].pid
    os.kill(manager, signal.SIGSTOP)
    try:
        ask(world, header, MANY)
    finally:
        os.kill(manager, signal.SIGCONT)
    wait_for(alice.connected, "alice is connected")
    alice.byway("requests", WORKLOAD, "--wait-for", str(before + MANY), "--timeout", "20s")
    assert total(alice) == before + MANY


def test_a_manager_that_dies_holds_up_nobody_and_the_next_one_counts_anew(
    world: World, alice: Laptop, header: dict[str, str]
) -> None:
    ask(world, header, 1)
    alice.byway("requests", WORKLOAD, "--wait-for", "1")
    following = subprocess.Popen(
        [*BYWAY, "requests", WORKLOAD, "--follow", "-o", "json"], env=alice.env, stdout=subprocess.PIPE, text=True
    )
    try:
        assert following.stdout is not None
        assert json.loads(following.stdout.readline())["path"] == "/"
        world.processes.kill("manager")
        ask(world, header, MANY)
        world.start_manager()
        wait_for(alice.connected, "alice is connected")
        wait_for(lambda: after_restart(world, alice, header), "the new manager hears of requests", seconds=20)
        while json.loads(following.stdout.readline())["path"] != "/after":
            pass
    finally:
        following.kill()
        following.communicate()


def after_restart(world: World, alice: Laptop, header: dict[str, str]) -> bool:
    ask(world, header, 1, "/after")
    return total(alice) > 0
