"""Upkeep: directories that are private, and errors that don't fill the log."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.manager.running import Running, running
from xds.manager import timers
from xds.manager.store import StoreError
from xds.paths import private_dir


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as manager:
        yield manager


async def test_what_can_not_be_stored_each_second_is_complained_of_once_a_minute(
    there: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StoreError("the disk is full")

    await there.connect("ann")
    clock = there.manager.clock
    clock.step(25 * 3600)
    looking = timers.Timers(there.manager, there.standalone._store)
    with monkeypatch.context() as patch:
        patch.setattr(there.standalone._store, "save", full)
        for _ in range(int(timers.GRACE) + 30):
            clock.step(timers.TICK)
            looking.tick()
        assert [one.message for one in caplog.records if one.levelno == logging.ERROR] == [
            "the disk is full; it will be tried again"
        ]
        for _ in range(60):
            clock.step(timers.TICK)
            looking.tick()
        assert len([one for one in caplog.records if one.levelno == logging.ERROR]) == 2
        assert there.manager.state.sessions
    clock.step(timers.TICK)
    looking.tick()
    assert not there.manager.state.sessions


def test_every_directory_that_is_made_on_the_way_is_private(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    before = os.umask(0o022)
    try:
        made = private_dir(tmp_path / "a" / "b" / "c")
    finally:
        os.umask(before)
    assert [oct(one.stat().st_mode & 0o777) for one in (made, made.parent, made.parent.parent)] == ["0o700"] * 3
    assert tmp_path.stat().st_mode & 0o777 == 0o755, "what was there before is left alone"
    made.chmod(0o755)
    assert private_dir(made).stat().st_mode & 0o777 == 0o700
