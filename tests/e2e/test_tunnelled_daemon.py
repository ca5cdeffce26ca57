"""A laptop that nobody can connect to, as its user has it: `byway connect`, `byway intercept`, and a tunnel that is the
daemon's own doing.
"""

from __future__ import annotations

import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.processes import wait_for
from demo.world import Gateway, Instance, Laptop, Workload, World, free_port, laptop_pids
from tests.e2e.stage import start_recorder

SHOP = "shop"
PATIENT = ("--timeout", "30")


@pytest.fixture(scope="module")
def world(short_path: Path) -> Iterator[World]:
    instance = Instance("shop-1")
    one = World(
        short_path / "tun", [Workload(SHOP, [instance])], users=("alice",), gateways=[Gateway("gw-1"), Gateway("gw-2")]
    )
    try:
        start_recorder(one.processes, "app", instance.app)
        one.write_file()
        one.start_manager()
        for gateway in one.gateways:
            one.start_gateway(gateway)
        one.start_sidecar(one.workloads[0], instance)
        for gateway in one.gateways:
            one.wait_for_gateway(gateway)
        one.wait_for_sidecar(instance)
        yield one
    finally:
        one.stop()


@pytest.fixture(scope="module", params=["envoy", "python"])
def alice(world: World, request: pytest.FixtureRequest) -> Iterator[Laptop]:
    one = world.laptop("alice")
    one.connect("--tunnel", request.param, *PATIENT)
    try:
        port = free_port()
        start_recorder(world.processes, "alice", port)
        one.byway("intercept", SHOP, "--port", str(port), "--http-header", "x-user=alice")
        yield one
    finally:
        for pid in laptop_pids(one):
            os.kill(pid, signal.SIGCONT)
        one.byway("quit", check=False)
        world.processes.kill("alice")


def who(world: World) -> str:
    """Who answers Alice's request: `laptop`, `cluster`, or `none` where the laptop had begun and never ended."""
    request = urllib.request.Request(f"http://127.0.0.1:{world.port(SHOP)}/_who", headers={"x-user": "alice"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            headers = answer.headers
    except urllib.error.HTTPError as error:
        headers = error.headers
    return str(headers["x-byway-intercept"]).partition("served-by=")[2]


def reach(laptop: Laptop) -> Any:
    return laptop.json("status")["reach"]


def test_requests_come_by_the_tunnel_as_soon_as_the_intercept_is_announced(world: World, alice: Laptop) -> None:
    assert {who(world) for _ in range(20)} == {"laptop"}
    assert [each["up"] for each in reach(alice)["gateways"]] == [True, True]


def test_a_gateway_that_dies_loses_nothing_and_is_named(world: World, alice: Laptop) -> None:
    wait_for(lambda: all(each["up"] for each in reach(alice)["gateways"]), "both tunnels are up")
    world.processes.kill("gateway-gw-1")
    try:
        wait_for(lambda: not reach(alice)["gateways"][0]["up"], "the tunnel is known to be down")
        assert reach(alice)["gateways"][0]["reason"]
        assert {who(world) for _ in range(20)} == {"laptop"}
    finally:
        world.start_gateway(world.gateways[0])
        world.wait_for_gateway(world.gateways[0])
    wait_for(lambda: all(each["up"] for each in reach(alice)["gateways"]), "both tunnels are up again")


def test_a_daemon_that_hangs_and_goes_on(world: World, alice: Laptop) -> None:
    wait_for(lambda: who(world) == "laptop", "the laptop answers")
    (pid,) = laptop_pids(alice)
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: who(world) == "cluster", "the app answers")
    os.kill(pid, signal.SIGCONT)
    wait_for(lambda: who(world) == "laptop", "the laptop answers again")


def test_a_daemon_that_is_killed_and_started_again_has_its_intercept(world: World, alice: Laptop) -> None:
    wait_for(lambda: who(world) == "laptop", "the laptop answers")
    kind = reach(alice)["tunnel"]
    (pid,) = laptop_pids(alice)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: who(world) == "cluster", "the app answers")
    alice.connect("--tunnel", kind, *PATIENT)
    wait_for(lambda: who(world) == "laptop", "the laptop answers again")


def test_a_manager_that_starts_again_does_not_disturb_the_tunnels(world: World, alice: Laptop) -> None:
    wait_for(lambda: all(each["up"] for each in reach(alice)["gateways"]), "both tunnels are up")
    before = [each["seconds"] for each in reach(alice)["gateways"]]
    world.processes.kill("manager")
    world.start_manager()
    wait_for(alice.connected, "the daemon is connected again")
    wait_for(lambda: who(world) == "laptop", "the laptop answers")
    after = [each["seconds"] for each in reach(alice)["gateways"]]
    assert all(one <= other for one, other in zip(before, after, strict=True))
