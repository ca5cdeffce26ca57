"""The way into the cluster with everything real: manager, gateway, sidecar, daemon, and what users type."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.processes import wait_for
from demo.world import BYWAY, Answer, Gateway, Instance, Laptop, Workload, World, free_port, request

URL = "http://shop.dev:8080/"
ASK = [sys.executable, "-c", f"import urllib.request as u; print(u.urlopen({URL!r}, timeout=20).read().decode())"]


@pytest.fixture(scope="module")
def world(short_path: Path) -> Iterator[World]:
    one = World(short_path / "world", [Workload("shop", [Instance("shop-1")])], gateways=[Gateway("gw-1")])
    try:
        one.start()
        yield one
    finally:
        one.stop()


@pytest.fixture(scope="module")
def alice(world: World) -> Laptop:
    one = world.laptop("alice")
    one.connect("--tunnel", "python")
    return one


def variables(laptop: Laptop) -> dict[str, str]:
    found: dict[str, str] = laptop.json("env")["variables"]
    return found


def run(laptop: Laptop, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env={**laptop.env, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


def who(text: str) -> Any:
    return Answer(200, {}, text.encode()).instances


def test_a_shell_that_evaluates_env_reaches_services_by_their_names(alice: Laptop) -> None:
    byway = " ".join(BYWAY)
    for name in ("shop.dev", "shop.dev.svc", "SHOP.dev.svc.cluster.local"):
        for flags in ("", "--proxytunnel", '--proxy "$ALL_PROXY"'):
            script = (
                f'eval "$({byway} env)"; curl --silent --show-error --fail --max-time 20 {flags} http://{name}:8080/'
            )
            done = run(alice, "sh", "-c", script)
            assert done.returncode == 0, (name, flags, done.stderr)
            assert who(done.stdout) == ["shop-1"]


def test_a_command_that_is_run_reaches_services_and_its_end_is_ours(alice: Laptop) -> None:
    done = alice.byway("run", "--", *ASK)
    assert who(done.stdout) == ["shop-1"]
    assert alice.byway("run", "--", "sh", "-c", "exit 7", check=False).returncode == 7


def test_signals_reach_the_command_that_is_run(alice: Laptop) -> None:
    script = "import signal as s, sys, time; s.signal(15, lambda *_: sys.exit(9)); print('ready', flush=True)"
    script += "; time.sleep(60)"
    child = subprocess.Popen(
        [*BYWAY, "run", "--", sys.executable, "-c", script], env=alice.env, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGTERM)
    assert child.wait(20) == 9
    child.stdout.close()


def test_a_service_that_does_not_exist_is_said_so(alice: Laptop) -> None:
    done = run(alice, "curl", "--silent", "--max-time", "20", "http://ship.dev:8080/", **variables(alice))
    assert "ship.dev:8080" in done.stdout
    assert "no such service" in done.stdout


def test_a_service_is_forwarded_until_ctrl_c(alice: Laptop) -> None:
    local = free_port()
    child = subprocess.Popen(
        [*BYWAY, "forward", "shop.dev:8080", str(local), "shop.dev.svc:8080", "-o", "json"],
        env=alice.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    text = ""
    while not text.endswith("\n}\n"):
        text += child.stdout.readline()
    first, second = json.loads(text)["forwards"]
    assert (first["service"], first["address"], first["port"]) == ("shop.dev:8080", "127.0.0.1", local)
    for one in (first, second):
        assert request(one["port"]).instances == ["shop-1"]
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=20)
    assert (child.returncode, errors) == (0, "")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", local))


def test_a_port_that_is_taken_is_refused_and_nothing_is_left(alice: Laptop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = alice.byway("forward", "shop.dev:8080", str(port), check=False)
    assert done.returncode == 1
    assert f"cannot listen on port {port}" in done.stderr


def test_a_connection_is_activity_and_the_environment_does_not_lead_byway_astray(alice: Laptop, world: World) -> None:
    leading = variables(alice)
    done = run(alice, *BYWAY, "status", "-o", "json", **leading)
    assert done.returncode == 0, done.stderr
    # Another laptop's daemon, started in a shell that has them, finds its manager.
    bob = world.laptop("bob")
    before = dict(os.environ)
    os.environ.update(leading)
    try:
        bob.connect()
    finally:
        os.environ.clear()
        os.environ.update(before)
    daemon = Path(f"/proc/{bob.daemon_pid}/environ")
    if daemon.exists():
        assert leading["BYWAY_PROXY"].encode() not in daemon.read_bytes()


def test_without_a_daemon_it_says_what_to_do(world: World) -> None:
    carol = Laptop(world, "carol")
    for command in (["env"], ["run", "--", "true"], ["forward", "shop.dev:8080"]):
        done = carol.byway(*command, check=False)
        assert (done.returncode, done.stdout) == (3, "")
        assert "run `byway connect`" in done.stderr


def test_when_the_daemon_goes_what_was_forwarded_says_so(alice: Laptop) -> None:
    child = subprocess.Popen([*BYWAY, "forward", "shop.dev:8080"], env=alice.env, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert child.stdout is not None
    assert child.stderr is not None
    port = int(child.stdout.readline().split()[0].rpartition(":")[2])
    alice.byway("quit")
    wait_for(lambda: not alice.connected(), "alice's daemon is gone")
    with pytest.raises(OSError, match=r"reset|closed|Remote end"):
        request(port)
    assert "the daemon's proxy has gone; run `byway connect`" in child.stderr.readline()
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=20)
    assert child.returncode == 0
