"""Connecting, staying connected, and being refused."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
import time
from itertools import pairwise
from pathlib import Path

import grpc
import pytest

from tests.client.fake import Failure, FakeManager
from tests.client.laptop import Laptop, until
from xds.client.spawn import DaemonOptions, command


async def test_connect_says_in_one_sentence_who_and_where(laptop: Laptop, manager: FakeManager) -> None:
    result = await laptop.byway("connect", "--host", "laptop")
    assert result.out == (
        f"Connected to {manager.address} as alice@laptop; your header is x-telepresence-id: alice-1f2e3d\n"
    )
    assert (result.code, result.err) == (0, "")


async def test_connecting_twice_says_so_and_keeps_the_daemon(connected: Laptop) -> None:
    before = connected.pid
    result = await connected.byway("connect")
    assert result.code == 0
    assert result.out.startswith("Already connected to ")
    assert connected.pid == before


async def test_connecting_elsewhere_while_connected_is_refused(connected: Laptop) -> None:
    result = await connected.byway("connect", "--manager", "127.0.0.1:1")
    assert result.code == 1
    assert "run `byway quit` first" in result.err


@pytest.mark.parametrize("flag", ["--host", "--address", "--token-file", "--user"])
async def test_connecting_as_another_while_connected_is_refused(connected: Laptop, flag: str) -> None:
    other = connected.state.root / "other"
    other.write_text("secret-of-alice\n")
    value = {"--address": "127.0.0.9", "--token-file": str(other)}.get(flag, "other")
    result = await connected.byway("connect", flag, value)
    assert result.code == 1
    assert f", which is not {flag} {value}; run `byway quit` first\n" in result.err


async def test_connecting_again_with_the_same_flags_is_fine(connected: Laptop) -> None:
    token = connected.state.user_token("alice")
    result = await connected.byway("connect", "--host", "laptop", "--user", "alice", "--token-file", str(token))
    assert (result.code, result.err) == (0, "")


async def test_a_bad_token_is_named_and_leaves_no_daemon(laptop: Laptop, manager: FakeManager) -> None:
    laptop.state.user_token("alice").write_text("wrong\n")
    result = await laptop.byway("connect")
    assert result.code == 1
    assert f"does not accept the token in {laptop.state.user_token('alice')}" in result.err
    assert "Traceback" not in result.err
    assert laptop.pid == 0
    assert not laptop.files.socket.exists()


async def test_an_unreachable_manager_is_named_and_leaves_no_daemon(laptop: Laptop, manager: FakeManager) -> None:
    await manager.stop()
    result = await laptop.byway("connect", "--timeout", "0.7")
    assert result.code == 3
    assert f"the manager at {manager.address} can't be reached: connection refused" in result.err
    assert laptop.pid == 0


async def test_a_missing_token_names_those_that_there_are(laptop: Laptop, manager: FakeManager) -> None:
    result = await laptop.byway("connect", "--user", "carol")
    assert result.code == 2
    assert "there is no token for user carol" in result.err
    assert "give --user NAME (alice)" in result.err


async def test_without_a_manager_connect_says_how_to_get_one(laptop: Laptop) -> None:
    result = await laptop.byway("connect")
    assert result.code == 2
    assert "give --manager HOST:PORT, or start one here with `byway manager --standalone`" in result.err


async def test_a_socket_path_that_is_too_long_names_the_flag(laptop: Laptop, manager: FakeManager) -> None:
    long = laptop.state.root / ("x" * 120)
    result = await laptop.byway("list", "--state-dir", str(long))
    assert result.code == 2
    assert "--state-dir" in result.err


async def test_an_odd_state_directory_works(laptop: Laptop, manager: FakeManager) -> None:
    odd = laptop.state.root / "a b%20ü"
    token = str(laptop.state.user_token("alice"))
    arguments = ["--manager", manager.address, "--token-file", token, "--state-dir", str(odd)]
    assert (await laptop.byway("connect", *arguments)).code == 0
    assert (await laptop.byway("quit", "--state-dir", str(odd))).code == 0


async def test_heartbeats_come_at_least_twice_a_second(connected: Laptop, manager: FakeManager) -> None:
    began = len(manager.presences)
    await until(lambda: len(manager.presences) >= began + 6)
    times = [when for when, _ in manager.presences[began:]]
    assert max(later - earlier for earlier, later in pairwise(times)) < 0.8
    assert (times[-1] - times[0]) / (len(times) - 1) <= 0.5


async def test_the_daemon_reconnects_and_resumes_when_the_manager_returns(
    connected: Laptop, manager: FakeManager
) -> None:
    await manager.stop()
    process = await connected.byway("status")
    while process.code == 0:
        process = await connected.byway("status")
    assert process.code == 3
    assert "reconnecting" in process.out
    refused = await connected.byway("list")
    assert refused.code == 3
    assert "not connected" in refused.err
    assert "the daemon keeps trying" in refused.err
    began = time.monotonic()
    await manager.start()
    await until(lambda: manager.present)
    assert time.monotonic() - began < 4.0
    assert manager.session.reply.epoch == 2
    assert manager.connects[-1].resume_token == manager.session.reply.session_token


async def test_the_next_daemon_resumes_what_a_killed_one_left(connected: Laptop, manager: FakeManager) -> None:
    os.kill(connected.pid, signal.SIGKILL)
    await until(lambda: not manager.present)
    result = await connected.byway("connect", "--host", "laptop")
    assert result.code == 0, result.err
    assert manager.session.reply.epoch == 2


async def test_a_resume_token_that_is_not_known_is_presented_once(connected: Laptop, manager: FakeManager) -> None:
    os.kill(connected.pid, signal.SIGKILL)
    manager.fail["Connect"] = Failure(grpc.StatusCode.NOT_FOUND, "no such session")
    connecting = asyncio.create_task(connected.byway("connect", "--host", "laptop"))
    await until(lambda: manager.connects[-1].resume_token == "" and len(manager.connects) > 2)
    del manager.fail["Connect"]
    assert manager.connects[-1].adopt
    await connecting


async def test_a_session_token_goes_to_no_other_manager(connected: Laptop, manager: FakeManager) -> None:
    assert (await connected.byway("quit", "--keep-session")).code == 0
    other = FakeManager()
    await other.start()
    try:
        assert (await connected.byway("connect", "--manager", other.address)).code == 0
        assert [request.resume_token for request in other.connects] == [""]
    finally:
        await other.stop()


async def test_a_newer_epoch_is_final(connected: Laptop, manager: FakeManager) -> None:
    manager.fail["Attend"] = Failure(grpc.StatusCode.ABORTED, "epoch 7 is newer")
    manager.session.changed.set()
    await until(lambda: not manager.present)
    status = (await connected.byway("status", "-o", "json")).json
    assert status["state"] == "refused"
    assert status["detail"] == (
        "another daemon has taken over this session (epoch 7 is newer); run `byway connect` to connect here again"
    )
    asked = len(manager.connects)
    listing = await connected.byway("list")
    assert listing.code == 3
    assert "another daemon has taken over" in listing.err
    assert len(manager.connects) == asked
    del manager.fail["Attend"]
    again = await connected.byway("connect", "--host", "laptop")
    assert again.code == 0, again.err


async def test_a_session_that_ended_is_final_and_says_what_to_do(connected: Laptop, manager: FakeManager) -> None:
    text = "the session has ended; your session was ended: idle for 24h"
    manager.fail["Attend"] = Failure(grpc.StatusCode.NOT_FOUND, text)
    manager.session.changed.set()
    await until(lambda: not manager.present)
    result = await connected.byway("status")
    assert result.code == 3
    assert "ended: the session has ended: idle for 24h; run `byway connect` for a new one" in result.out
    assert not connected.files.session.exists()


async def test_a_session_that_was_lost_in_an_outage_is_replaced_and_the_user_told(
    connected: Laptop, manager: FakeManager
) -> None:
    await connected.byway("intercept", "orders", "-p", "8080")
    await manager.stop()
    manager.sessions.clear()
    await manager.start()
    await until(lambda: manager.present)
    (told,) = (await connected.byway("status", "-o", "json")).json["notifications"]
    assert "a new one was opened, without orders: run `byway intercept` again" in told["text"]


async def test_nobody_else_may_open_socket_log_or_session(connected: Laptop) -> None:
    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    assert mode(connected.files.folder) == 0o700
    assert mode(connected.files.socket) == 0o600
    assert mode(connected.files.log) == 0o600
    assert mode(connected.files.session) == 0o600
    assert mode(connected.files.pid) == 0o600


async def test_no_secret_is_in_the_log_or_in_the_arguments(connected: Laptop, manager: FakeManager) -> None:
    await connected.byway("list")
    process = Path("/proc") / str(connected.pid)
    said = "".join(path.read_text() for path in (connected.files.log, process / "cmdline", process / "environ"))
    assert "daemon" in said
    assert "secret-of" not in said


async def test_a_second_daemon_for_the_same_directory_is_refused(connected: Laptop, manager: FakeManager) -> None:
    options = DaemonOptions(manager.address, connected.state.user_token("alice"), "laptop", "")
    line = command(connected.state, options)
    process = await asyncio.create_subprocess_exec(*line, stderr=asyncio.subprocess.PIPE)
    _, err = await process.communicate()
    assert line[0] == sys.executable
    assert process.returncode == 75
    assert f"another daemon (process {connected.pid}) runs" in err.decode()
    assert (await connected.byway("status")).code == 0


async def test_two_connects_at_once_start_one_daemon(laptop: Laptop, manager: FakeManager) -> None:
    first, second = await asyncio.gather(laptop.byway("connect"), laptop.byway("connect"))
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert len(manager.sessions) == 1


async def test_sigterm_lets_go_of_the_session_without_ending_it(connected: Laptop, manager: FakeManager) -> None:
    os.kill(connected.pid, signal.SIGTERM)
    await until(lambda: not manager.present)
    await until(lambda: not connected.files.socket.exists())
    assert len(manager.sessions) == 1
    assert "Quit" not in manager.calls
    assert (await connected.byway("list")).code == 3


async def test_quit_ends_the_session(connected: Laptop, manager: FakeManager) -> None:
    await connected.byway("intercept", "orders", "--port", "8080")
    result = await connected.byway("quit", "-s")
    assert (result.code, result.out, result.err) == (0, "Disconnected; ended orders\n", "")
    assert manager.sessions == {}
    assert connected.pid == 0
    assert not connected.files.session.exists()
    assert (await connected.byway("quit")).out == "Not connected: nothing to quit\n"


async def test_quit_without_the_manager_says_how_long_the_session_remains(
    connected: Laptop, manager: FakeManager
) -> None:
    await manager.stop()
    result = await connected.byway("quit")
    assert result.code == 0
    assert result.out == "Disconnected\n"
    assert f"the manager at {manager.address} can't be reached" in result.err
    assert "the session remains for 25h, until it expires" in result.err
    assert connected.files.session.exists()


async def test_quit_ends_what_a_killed_daemon_left(connected: Laptop, manager: FakeManager) -> None:
    await connected.byway("intercept", "orders", "--port", "8080")
    os.kill(connected.pid, signal.SIGKILL)
    await until(lambda: not manager.present)
    assert (await connected.byway("quit")).out == "Disconnected; ended orders\n"
    assert manager.sessions == {}
    assert (await connected.byway("quit")).out == "Not connected: nothing to quit\n"


async def test_notifications_are_kept_for_the_status(connected: Laptop, manager: FakeManager) -> None:
    for number in range(60):
        manager.tell(f"message {number}", warning=True)
    await until(lambda: "message 59" in connected.files.log.read_text())
    kept = (await connected.byway("status", "-o", "json")).json["notifications"]
    assert [each["text"] for each in kept] == [f"message {number}" for number in range(10, 60)]
    assert all(each["warning"] for each in kept)


async def test_any_command_is_activity_and_heartbeats_are_not(connected: Laptop, manager: FakeManager) -> None:
    await until(lambda: manager.presences[-1][1].idle_seconds > 1.0)
    await connected.byway("list")
    seen = len(manager.presences)
    await until(lambda: len(manager.presences) > seen)
    assert manager.presences[-1][1].idle_seconds < 1.0
