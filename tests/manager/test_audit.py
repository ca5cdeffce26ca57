from __future__ import annotations

import errno
import json
import logging
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.manager.store.samples import ANN, BOB, MINE
from xds.manager.audit import AuditLog
from xds.registry.change import Event, EventKind

WHEN = 1_790_000_000.1239
REVOKED = Event(EventKind.INTERCEPT_ENDED, ANN, MINE, by="bob@lap", text="blocks the release")
STARTED = Event(EventKind.SESSION_STARTED, BOB, by=BOB.owner)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "manager" / "audit.log"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def test_each_event_is_a_line_that_says_who_what_whose_and_why(path: Path) -> None:
    AuditLog(path).write([REVOKED, STARTED], peer="10.0.0.9:5000", wall_time=WHEN)
    assert lines(path) == [
        {
            "time": "2026-09-21T14:13:20.123Z",
            "event": "intercept ended",
            "intercept": "i-1",
            "name": "orders",
            "workload": "dev/deployment/orders",
            "kind": "personal",
            "match": ["--http-header", "x-user=ann"],
            "session": "s-ann",
            "owner": "ann@lap",
            "by": "bob@lap",
            "text": "blocks the release",
            "from": "10.0.0.9:5000",
        },
        {
            "time": "2026-09-21T14:13:20.123Z",
            "event": "session started",
            "session": "s-bob",
            "owner": "bob@lap",
            "by": "bob@lap",
            "text": "",
            "from": "10.0.0.9:5000",
        },
    ]


def test_no_token_is_ever_written(path: Path) -> None:
    AuditLog(path).write([REVOKED, STARTED], wall_time=WHEN)
    text = path.read_text()
    assert "ann" in text
    assert ANN.token_hash not in text
    assert BOB.token_hash not in text


def test_the_file_is_private_whatever_the_umask_or_whoever_made_it(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("")
    path.chmod(0o666)
    before = os.umask(0)
    try:
        log = AuditLog(path, max_bytes=10)
        log.write([STARTED, STARTED], wall_time=WHEN)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()]
    assert modes == [0o600, 0o600]


@given(text=st.text(st.characters()), name=st.text(st.characters()), peer=st.text())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_that_a_user_types_forges_a_line_or_reaches_the_terminal(
    path: Path, text: str, name: str, peer: str
) -> None:
    path.unlink(missing_ok=True)
    spec = replace(MINE.spec, name=name)
    event = Event(EventKind.INTERCEPT_ENDED, replace(ANN, user=text), replace(MINE, spec=spec), by=text, text=text)
    AuditLog(path).write([event], peer=peer, wall_time=WHEN)
    written = path.read_bytes()
    assert all(32 <= byte < 127 for byte in written[:-1])
    (line,) = lines(path)
    assert (line["text"], line["name"], line["by"], line["from"]) == (text, name, text, peer)


def test_a_forged_line_stays_inside_its_own(path: Path) -> None:
    forged = 'x\n{"time": "2026-01-01T00:00:00.000Z", "event": "intercept ended"}\n\x1b[2J\x7f\u2028\x9b'
    AuditLog(path).write([replace(REVOKED, text=forged)], wall_time=WHEN)
    assert [line["text"] for line in lines(path)] == [forged]
    assert path.read_bytes().count(b"\n") == 1


def test_rotation_keeps_five_and_no_line_is_split_or_lost_before_that(path: Path) -> None:
    log = AuditLog(path, max_bytes=1000)
    for number in range(100):
        log.write([replace(STARTED, text=str(number))], wall_time=WHEN)
    files = [path.with_name(f"audit.log.{number}") for number in (5, 4, 3, 2, 1)] + [path]
    assert sorted(path.parent.iterdir()) == sorted(files)
    assert all(one.stat().st_size <= 1000 for one in files)
    told = [int(line["text"]) for one in files for line in lines(one)]
    assert told == list(range(100 - len(told), 100))
    assert len(told) > 25


def test_a_line_longer_than_the_limit_is_written_all_the_same(path: Path) -> None:
    log = AuditLog(path, max_bytes=50)
    log.write([REVOKED, REVOKED], wall_time=WHEN)
    assert (len(lines(path)), len(lines(path.with_name("audit.log.1")))) == (1, 1)


def test_another_start_appends_and_begins_a_line_after_half_a_one(path: Path) -> None:
    AuditLog(path).write([STARTED], wall_time=WHEN)
    with path.open("ab") as file:
        file.write(b'{"time": "20')
    AuditLog(path).write([REVOKED], wall_time=WHEN)
    first, half, last = path.read_bytes().splitlines()
    assert (json.loads(first)["event"], half, json.loads(last)["event"]) == (
        "session started",
        b'{"time": "20',
        "intercept ended",
    )


def test_a_file_moved_away_by_somebody_else_is_begun_anew(path: Path) -> None:
    log = AuditLog(path)
    log.write([STARTED], wall_time=WHEN)
    path.rename(path.with_name("moved"))
    log.write([REVOKED], wall_time=WHEN)
    assert [line["event"] for line in lines(path)] == ["intercept ended"]


def test_byway_itself_can_be_told_of(path: Path) -> None:
    AuditLog(path).note("store damaged", "it is kept as x", wall_time=WHEN)
    (line,) = lines(path)
    assert (line["event"], line["by"], line["text"]) == ("store damaged", "byway", "it is kept as x")


class TestFailure:
    def test_it_is_counted_and_told_once_and_never_raises(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        path.mkdir(parents=True)
        log = AuditLog(path)
        log.write([STARTED, STARTED], wall_time=WHEN)
        log.write([STARTED], wall_time=WHEN)
        assert log.failed == 3
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        path.rmdir()
        log.write([REVOKED], wall_time=WHEN)
        assert [line["event"] for line in lines(path)] == ["intercept ended"]
        assert "3 lines were lost" in caplog.records[-1].getMessage()

    def test_a_full_disk_is_a_failure_like_any_other(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def full(file: int, data: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        log = AuditLog(path)
        with monkeypatch.context() as patch:
            patch.setattr("xds.manager.audit.os.write", full)
            log.write([STARTED, STARTED], wall_time=WHEN)
        assert log.failed == 2
        assert "No space left on device" in caplog.records[0].getMessage()
        log.write([REVOKED], wall_time=WHEN)
        assert [line["event"] for line in lines(path)] == ["intercept ended"]

    def test_half_a_line_is_taken_back(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        log = AuditLog(path)
        log.write([STARTED], wall_time=WHEN)
        whole = os.write
        with monkeypatch.context() as patch:
            patch.setattr("xds.manager.audit.os.write", lambda file, data: whole(file, data[:10]))
            log.write([STARTED], wall_time=WHEN)
        log.write([REVOKED], wall_time=WHEN)
        assert [line["event"] for line in lines(path)] == ["session started", "intercept ended"]
        assert log.failed == 1
