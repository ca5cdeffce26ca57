"""Signals, and ends that come too early: what is left of an intercept then, and what is said about it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from tests.client.fake import Failure, FakeManager
from tests.client.laptop import Laptop, until
from xds.client.cli import creation
from xds.client.cli.api import daemon_channel
from xds.client.cli.runner import Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_an_interrupted_creation_is_cancelled_at_the_manager(
    connected: Laptop, manager: FakeManager, number: signal.Signals
) -> None:
    manager.released.clear()
    process = await connected.start("intercept", "orders", "-p", "8080")
    await until(lambda: manager.created)
    os.kill(process.pid, number)
    _, err = await process.communicate()
    assert process.returncode == 128 + number
    assert err.decode() == "Error: interrupted: nothing is left of the intercept of orders\n"
    await until(lambda: manager.cancelled == 1)
    assert manager.session.intercepts == {}


async def test_an_interrupted_creation_whose_last_word_was_on_its_way_is_left_by_name(
    connected: Laptop, manager: FakeManager
) -> None:
    await connected.byway("intercept", "cart", "-p", "8080")
    manager.released.clear()
    manager.last_word_was_sent = True
    process = await connected.start("intercept", "orders", "-p", "8080")
    await until(lambda: "orders" in manager.session.intercepts)
    os.kill(process.pid, signal.SIGINT)
    assert await process.wait() == 130
    assert manager.session.intercepts.keys() == {"cart"}


async def test_a_second_signal_does_not_stop_the_clean_up_of_the_first(connected: Laptop, manager: FakeManager) -> None:
    manager.released.clear()
    manager.last_word_was_sent = True
    manager.held["LeaveIntercept"] = asyncio.Event()
    process = await connected.start("intercept", "orders", "-p", "8080")
    await until(lambda: "orders" in manager.session.intercepts)
    os.kill(process.pid, signal.SIGINT)
    await until(lambda: "LeaveIntercept" in manager.calls)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        os.kill(process.pid, number)
        await until(lambda: not pending_signals(process.pid))
    manager.held["LeaveIntercept"].set()
    _, err = await process.communicate()
    assert (process.returncode, err.decode()) == (
        130,
        "Error: interrupted: nothing is left of the intercept of orders\n",
    )
    assert manager.session.intercepts == {}


def pending_signals(pid: int) -> bool:
    """Whether signals were sent to a process that it has not taken yet."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    return any(int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd", "ShdPnd")))


async def test_an_interrupted_creation_that_cannot_be_taken_back_says_so(
    connected: Laptop, manager: FakeManager
) -> None:
    manager.released.clear()
    manager.last_word_was_sent = True
    manager.fail["LeaveIntercept"] = Failure(grpc.StatusCode.INTERNAL, "the disk is full")
    process = await connected.start("intercept", "orders", "-p", "8080")
    await until(lambda: "orders" in manager.session.intercepts)
    os.kill(process.pid, signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130
    assert err.decode() == (
        "Warning: could not leave orders: the disk is full\n"
        "Error: interrupted: the intercept of orders may be left; see `byway list --intercepts`\n"
    )


async def test_a_signal_after_the_result_changes_nothing(connected: Laptop, manager: FakeManager) -> None:
    process = await connected.start("intercept", "orders", "-p", "8080")
    assert process.stdout is not None
    while not (await process.stdout.readline()).startswith(b"Intercepting"):
        pass
    rest = asyncio.create_task(process.communicate())
    while not rest.done():
        # Not `send_signal`: it may reap the child and lose its exit code.
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGINT)
        await asyncio.sleep(0.001)
    assert (process.returncode, rest.result()[1]) == (0, b"")
    assert manager.session.intercepts.keys() == {"orders"}


async def test_a_signal_while_the_result_is_announced_takes_nothing_back(
    connected: Laptop, manager: FakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals, taken_back = Signals(), list[signal.Signals]()
    signals.react = taken_back.append
    monkeypatch.setattr(creation, "announce", lambda *_, **__: signals.react(signal.SIGINT))
    async with daemon_channel(connected.state) as channel:
        code = await creation.follow_and_run(channel, creation.Wishes(workload="orders", ports=("8080",)), signals)
    assert (code, taken_back) == (0, [])


async def test_a_manager_that_goes_away_during_a_creation_may_have_made_it(
    connected: Laptop, manager: FakeManager
) -> None:
    manager.fail["CreateIntercept"] = Failure(grpc.StatusCode.UNAVAILABLE, "Socket closed")
    result = await connected.byway("intercept", "orders", "-p", "8080")
    assert (result.code, result.err) == (
        3,
        f"Error: the manager at {manager.address} can't be reached: the connection was lost; "
        "the intercept of orders may exist: see `byway list --intercepts`\n",
    )


async def test_a_killed_creation_is_cancelled_at_the_manager(connected: Laptop, manager: FakeManager) -> None:
    manager.released.clear()
    process = await connected.start("intercept", "orders", "-p", "8080")
    await until(lambda: manager.created)
    process.kill()
    await process.communicate()
    await until(lambda: manager.cancelled == 1)


async def test_a_daemon_that_dies_during_a_call_is_named(connected: Laptop, manager: FakeManager) -> None:
    manager.released.clear()
    process = await connected.start("intercept", "orders", "-p", "8080")
    await until(lambda: manager.created)
    connected.kill()
    _, err = await process.communicate()
    assert process.returncode == 3
    assert err.decode() == "Error: the daemon ended; run `byway connect`\n"


async def test_signals_reach_the_command_and_the_intercept_is_left(connected: Laptop, manager: FakeManager) -> None:
    script = (
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n"
        "print('ready', flush=True)\n"
        "signal.pause()"
    )
    process = await connected.start("intercept", "orders", "-p", "8080", "--", sys.executable, "-c", script)
    assert process.stdout is not None
    while await process.stdout.readline() != b"ready\n":
        pass
    assert "orders" in manager.session.intercepts
    process.terminate()
    await process.communicate()
    assert process.returncode == 9
    assert manager.session.intercepts == {}


def test_a_second_signal_after_an_interruption_does_not_change_the_exit_code() -> None:
    script = (
        "import os, signal, sys, click\n"
        "from xds.terminal import ending\n"
        "@click.command()\n"
        "def command(): os.kill(os.getpid(), signal.SIGINT); signal.pause()\n"
        "code = ending.run(command, 'command', [])\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr.strip()) == (130, "Error: interrupted")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full disk here")
@pytest.mark.parametrize("arguments", [["version", "-o", "json"], ["--help"]])
def test_a_full_disk_is_said_in_a_sentence(tmp_path: Path, arguments: list[str]) -> None:
    command = [str(Path(sys.executable).with_name("byway")), *arguments]
    env = {**os.environ, "BYWAY_STATE": str(tmp_path)}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60, env=env)
    assert (done.returncode, done.stderr) == (1, "Error: can't write the output: no space left on device\n")
