"""The daemon's parts, in this process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from tests.client.fake import FakeManager
from tests.client.laptop import Laptop, until
from xds.api.byway.manager.v1 import Intercept, PortMapping, Target, TargetStateState
from xds.client.daemon import link as link_module
from xds.client.daemon.clock import Activity, boottime
from xds.client.daemon.link import Link, LinkConfig
from xds.client.daemon.notifications import Notifications
from xds.client.daemon.process import remove_stale_socket
from xds.client.daemon.session_file import SavedSession
from xds.client.daemon.verdict import LinkState, judge_attend, judge_connect
from xds.client.spawn import LOG_LIMIT, last_words
from xds.terminal.words import plain


@contextlib.asynccontextmanager
async def attending(laptop: Laptop, manager: FakeManager) -> AsyncIterator[Link]:
    token, files = laptop.state.user_token("alice"), laptop.files
    config = LinkConfig(manager.address, token, "laptop", "", files.session, files.tunnel)
    link = Link(config, activity=Activity(), notifications=Notifications())
    task = asyncio.create_task(link.run())
    try:
        await until(lambda: link.state is LinkState.CONNECTED)
        yield link
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await link.channel.close()


async def test_a_changed_target_is_told_at_once_and_not_at_the_next_heartbeat(
    laptop: Laptop, manager: FakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "HEARTBEAT", 3600.0)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]

        def told() -> TargetStateState | int | None:
            state = manager.target_state(port)
            return None if state is None else state.state

        async with attending(laptop, manager):
            mapping = PortMapping(port=80, target=Target(host="localhost", port=port))
            manager.session.intercepts["orders"] = Intercept(name="orders", ports=[mapping])
            manager.session.changed.set()
            await until(lambda: told() == TargetStateState.NOT_LISTENING)
            server.listen()
            await until(lambda: told() == TargetStateState.LISTENING)


async def test_an_outage_begins_with_short_pauses_however_long_the_last_one_was(
    laptop: Laptop, manager: FakeManager
) -> None:
    async with attending(laptop, manager) as link:
        for _ in range(2):
            await manager.stop()
            await until(lambda: link.state is LinkState.RECONNECTING)
            await manager.start()
            began = time.monotonic()
            await until(lambda: link.state is LinkState.CONNECTED)
            assert time.monotonic() - began < 2.5
        assert manager.session.reply.epoch == 3


@pytest.mark.parametrize(
    ("code", "connecting", "attending"),
    [
        (StatusCode.UNAUTHENTICATED, LinkState.REFUSED, LinkState.REFUSED),
        (StatusCode.ABORTED, LinkState.REFUSED, LinkState.REFUSED),
        (StatusCode.PERMISSION_DENIED, LinkState.REFUSED, LinkState.REFUSED),
        (StatusCode.INVALID_ARGUMENT, LinkState.REFUSED, LinkState.REFUSED),
        (StatusCode.NOT_FOUND, LinkState.ENDED, LinkState.ENDED),
        (StatusCode.UNIMPLEMENTED, LinkState.REFUSED, LinkState.RECONNECTING),
        (StatusCode.UNAVAILABLE, LinkState.RECONNECTING, LinkState.RECONNECTING),
        (StatusCode.INTERNAL, LinkState.RECONNECTING, LinkState.RECONNECTING),
        (StatusCode.DEADLINE_EXCEEDED, LinkState.RECONNECTING, LinkState.RECONNECTING),
        (StatusCode.CANCELLED, LinkState.RECONNECTING, LinkState.RECONNECTING),
    ],
)
def test_what_is_final_and_what_is_tried_again(code: StatusCode, connecting: LinkState, attending: LinkState) -> None:
    verdicts = [
        judge_connect(code, "words", manager="m:1", token_file=Path("t")),
        judge_attend(code, "words", manager="m:1"),
    ]
    assert [verdict.state for verdict in verdicts] == [connecting, attending]
    for verdict in verdicts:
        assert ("run `byway connect`" in verdict.detail) == verdict.state.final


def test_activity_counts_what_the_clock_says_even_asleep() -> None:
    now = 100.0
    activity = Activity(lambda: now)
    now += 7200.0
    assert activity.idle_seconds == 7200.0
    activity.touch()
    assert activity.idle_seconds == 0.0


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="Linux only")
def test_the_clock_goes_on_while_the_laptop_sleeps() -> None:
    assert abs(boottime() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 1.0


def test_what_the_manager_advises_is_said_once() -> None:
    details = "this session was taken over by a newer connection from tower; run `byway quit` and `byway connect` to …"
    assert judge_attend(StatusCode.ABORTED, details, manager="m:1").detail == (
        "another daemon has taken over this session (a newer connection from tower); "
        "run `byway connect` to connect here again"
    )


@given(st.text())
def test_no_text_of_others_steers_a_terminal(text: str) -> None:
    shown = plain(f"begin {text} end")
    assert shown.isprintable()
    assert shown.startswith("begin ")
    assert shown.endswith(" end")
    assert not text.isprintable() or shown.replace(" ", "") == f"begin{text}end".replace(" ", "")


async def test_a_notification_is_one_line_without_control_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYWAY_NOTIFY", "0")
    notifications = Notifications()
    notifications.tell("revoked: \x1b[2Jsee\r\nthis \u202eyaw", warning=True)
    assert [each.text for each in notifications.past()] == [
        "revoked: \N{REPLACEMENT CHARACTER}[2Jsee this \N{REPLACEMENT CHARACTER}yaw"
    ]


async def test_a_notification_is_handed_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYWAY_NOTIFY", "0")
    notifications = Notifications()
    notifications.tell("one", warning=False)
    assert [each.text async for each in notifications.take(follow=False)] == ["one"]
    following = notifications.take(follow=True)
    coming = asyncio.ensure_future(anext(following))
    await asyncio.sleep(0)
    notifications.tell("two", warning=True)
    assert (await coming).text == "two"
    assert [each.text async for each in notifications.take(follow=False)] == []
    assert [each.text for each in notifications.past()] == ["one", "two"]


async def test_a_notification_reaches_the_desktop_as_one_argument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = tmp_path / "shown"
    script = tmp_path / "notify-send"
    script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {shown}.part; mv {shown}.part {shown}\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("BYWAY_NOTIFY", raising=False)
    Notifications().tell('--evil $(touch x) "quoted"', warning=True)
    await until(shown.exists)
    assert shown.read_text() == '--app-name=byway\n--\nByway\n--evil $(touch x) "quoted"\n'


async def test_a_desktop_that_hangs_or_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = tmp_path / "pid"
    script = tmp_path / "notify-send"
    script.write_text(f"#!/bin/sh\necho $$ > {pid}.part; mv {pid}.part {pid}; exec sleep 600\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("BYWAY_NOTIFY", raising=False)
    monkeypatch.setattr("xds.client.daemon.notifications.DESKTOP_TIMEOUT", 0.1)
    notifications = Notifications()
    notifications.tell("hello", warning=False)
    await until(pid.exists)
    with pytest.raises(ProcessLookupError):
        await until(lambda: os.kill(int(pid.read_text()), 0))
    script.write_text("not a program")
    notifications.tell("again", warning=False)
    assert [each.text for each in notifications.past()] == ["hello", "again"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"manager": "m"}', '{"epoch": "x"}'])
def test_a_damaged_session_file_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "session.json"
    path.write_text(content)
    assert SavedSession.load(path) is None


def test_a_session_is_resumed_with_the_same_manager_and_credentials_only(tmp_path: Path) -> None:
    saved = SavedSession(manager="m:1", token_file="/t", session_id="s", token="secret", epoch=3)
    saved.save(tmp_path / "session.json")
    assert SavedSession.load(tmp_path / "session.json") == saved
    assert saved.resumable(manager="m:1", token_file=Path("/t"))
    assert not saved.resumable(manager="m:2", token_file=Path("/t"))
    assert not saved.resumable(manager="m:1", token_file=Path("/u"))


def test_only_a_socket_is_removed_to_make_room_for_one(tmp_path: Path) -> None:
    path = tmp_path / "daemon.sock"
    remove_stale_socket(path)
    path.write_text("precious")
    remove_stale_socket(path)
    assert path.read_text() == "precious"
    path.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    remove_stale_socket(path)
    assert not path.exists()


async def test_a_long_log_is_put_aside(laptop: Laptop, manager: FakeManager) -> None:
    laptop.files.folder.mkdir(parents=True)
    laptop.files.log.write_text("x" * (LOG_LIMIT + 1))
    assert (await laptop.byway("connect")).code == 0
    assert len(laptop.files.log.with_suffix(".log.1").read_text()) == LOG_LIMIT + 1
    assert "connected to" in last_words(laptop.state, 0)
    os.kill(laptop.pid, signal.SIGTERM)
    await until(lambda: not laptop.pid)
