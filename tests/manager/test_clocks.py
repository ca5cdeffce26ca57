"""Activity and presence, idle ages, expiry: what counts, what does not, and what outlives the manager."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.manager.running import Laptop, Running, refused, running, until
from tests.registry.office import Office, header, personal
from xds.api.byway.manager import v1
from xds.api.services import Manager as Methods
from xds.manager import clock as clock_module
from xds.manager import process, timers
from xds.manager.clock import Clock
from xds.manager.store import SqliteStore
from xds.registry import sessions

HOUR = 3600.0
CONFLICT = grpc.StatusCode.FAILED_PRECONDITION


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as manager:
        yield manager


def tick(manager: Running) -> None:
    """The timers look, and once more when laptops had their time to report."""
    manager.standalone._timers.tick()
    for _ in range(int(timers.GRACE)):
        manager.manager.clock.step(timers.TICK)
        manager.standalone._timers.tick()


def idle(manager: Running, laptop: Laptop) -> float:
    return manager.manager.clock.now() - manager.manager.state.session(laptop.id).last_activity


def told(manager: Running, laptop: Laptop) -> list[str]:
    return [one.text for one in manager.manager.mailboxes[laptop.id].messages]


@asynccontextmanager
async def attending(laptop: Laptop, *, idle_seconds: Callable[[], float]) -> AsyncIterator[list[v1.Notice]]:
    """The laptop speaks every tenth of a second, until the end of the block."""

    async def words() -> AsyncIterator[v1.Presence]:
        while True:
            yield v1.Presence(epoch=laptop.epoch, idle_seconds=idle_seconds())
            await asyncio.sleep(0.1)

    notices: list[v1.Notice] = []

    async def listen() -> None:
        async for notice in Methods.ATTEND(laptop.channel, words(), metadata=laptop.proof):
            notices.append(notice)

    listening = asyncio.create_task(listen())
    try:
        await until(lambda: notices or listening.done())
        yield notices
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


class TestActivity:
    async def test_every_command_counts(self, there: Running) -> None:
        ann = await there.connect()
        await ann.create("hers", "x-user=a")
        commands: list[Callable[[], Any]] = [
            ann.list,
            lambda: Methods.LIST_WORKLOADS(there.channel, v1.ListWorkloadsRequest(), metadata=ann.proof),
            lambda: Methods.EXTEND(there.channel, v1.ExtendRequest(), metadata=ann.proof),
            lambda: ann.create("more", "x-user=b"),
            lambda: ann.leave("more"),
        ]
        for command in commands:
            there.manager.clock.step(700)
            assert idle(there, ann) >= 700
            await command()
            assert idle(there, ann) < 5

    async def test_heartbeats_do_not_count_and_what_they_report_does(self, there: Running) -> None:
        ann = await there.connect()
        there.manager.clock.step(700)
        reported = 700.0
        async with attending(ann, idle_seconds=lambda: reported) as notices:
            await until(lambda: there.manager.state.session(ann.id).present)
            assert notices[0].session is not None
            assert notices[0].session.inactive
            assert idle(there, ann) >= 700
            reported = 3.0
            await until(lambda: idle(there, ann) < 10)

    async def test_a_laptop_that_reconnects_by_itself_is_no_less_idle(self, there: Running) -> None:
        ann, bob = await there.connect("ann"), await there.connect("bob")
        await ann.create("hers", "x-user=a")
        there.manager.clock.step(700)
        again = await there.connect("ann", resume_token=ann.token, host="elsewhere")
        assert again.id == ann.id
        assert idle(there, ann) >= 700
        await bob.create("his", "x-user=a")
        (hers,) = there.manager.state.of_session(ann.id)
        assert (hers.disposition, hers.owner) == ("displaced", "ann@elsewhere")

    async def test_who_adopts_a_session_is_at_the_keyboard(self, there: Running) -> None:
        ann = await there.connect()
        there.manager.clock.step(700)
        await there.connect(adopt=True)
        assert idle(there, ann) < 5

    async def test_nobody_conflicts_with_a_ghost_of_himself(self, there: Running) -> None:
        ann = await there.connect()
        await ann.create("hers", "x-user=a")
        again = await there.connect(adopt=True)
        await again.leave("hers")
        await again.create("anew", "x-user=a")


class TestPresence:
    async def test_losing_it_keeps_the_reservation(self, there: Running) -> None:
        ann, bob = await there.connect("ann"), await there.connect("bob")
        await ann.create("hers", "x-user=a")
        async with attending(ann, idle_seconds=lambda: 0.0):
            await until(lambda: there.manager.state.session(ann.id).present)
        await until(lambda: not there.manager.state.session(ann.id).present)
        with refused(CONFLICT, "ann@lap"):
            await bob.create("his", "x-user=a")

    async def test_after_a_restart_the_last_known_presence_holds_for_a_grace_time(self, tmp_path: Path) -> None:
        async with running(tmp_path) as first:
            ann, bob = await first.connect("ann"), await first.connect("bob")
            for laptop in (ann, bob):
                # Neither hangs up: the manager goes first.
                change = sessions.presence(
                    first.manager.state, laptop.id, epoch=1, present=True, targets=None, now=first.manager.clock.now()
                )
                first.manager.commit(change)
        async with running(tmp_path) as second:
            state = second.manager.state
            assert state.session(ann.id).present
            again = await second.connect("ann", resume_token=ann.token)
            async with attending(again, idle_seconds=lambda: 0.0):
                second.standalone._timers.tick()
                assert state.session(bob.id).present
                tick(second)
                assert state.session(ann.id).present
                assert not state.session(bob.id).present


class TestExpiry:
    def test_it_ends_a_session_exactly_as_quit_does(self) -> None:
        ends = []
        for how in ("quit", "expire"):
            office = Office()
            for user in ("ann", "bob", "cat"):
                office.connect(user)
            hers = office.create("ann", personal(header("x-user", "a")))
            office.wait(601)
            office.create("bob", personal(header("x-user", "a")))
            office.create("bob", personal(header("x-user", "b"), name="more", ports=(81,)))
            office.wait(23 * HOUR)
            office.active("ann", "cat")
            office.events.clear()
            if how == "quit":
                office.quit("bob")
            else:
                office.wait(HOUR + 1)
            assert office.routed() == [hers]
            ends.append(
                (
                    set(office.state.sessions),
                    set(office.state.intercepts),
                    [(event.kind, event.session.id, event.intercept and event.intercept.id) for event in office.events],
                )
            )
        assert ends[0] == ends[1]

    async def test_the_user_is_warned_an_hour_before_once_and_again_after_extending(self, there: Running) -> None:
        ann = await there.connect()
        there.manager.clock.step(22.9 * HOUR)
        tick(there)
        assert told(there, ann) == []
        there.manager.clock.step(0.11 * HOUR)
        tick(there)
        tick(there)
        (warning,) = told(there, ann)
        assert warning == "your session ends in 59 min unless you do something; `byway extend` keeps it"
        reply = await Methods.EXTEND(there.channel, v1.ExtendRequest(), metadata=ann.proof)
        assert reply.expires_in_seconds == pytest.approx(24 * HOUR, abs=5)
        there.manager.clock.step(23.01 * HOUR)
        tick(there)
        assert told(there, ann) == [warning] * 2
        there.manager.clock.step(HOUR)
        tick(there)
        assert not there.manager.state.sessions
        with refused(grpc.StatusCode.UNAUTHENTICATED, "the session has ended"):
            await ann.list()

    async def test_whoever_attends_is_told_that_it_ended(self, there: Running) -> None:
        ann = await there.connect()
        await ann.create("hers", "x-user=a")
        async with attending(ann, idle_seconds=lambda: 25 * HOUR) as notices:
            there.manager.clock.step(24.1 * HOUR)
            tick(there)
            await until(lambda: notices[-1].session is None)
        assert not there.manager.state.intercepts
        assert ann.id not in there.manager.mailboxes
        await until(lambda: ann.id not in there.manager.attended)

    async def test_a_suspended_machine_has_idled(self, there: Running) -> None:
        ann, bob = await there.connect("ann"), await there.connect("bob")
        await ann.create("hers", "x-user=a")
        there.manager.clock.step(8 * HOUR)
        await bob.create("his", "x-user=a")
        assert told(there, ann)[0].startswith("intercept 'hers' of dev/deployment/orders was displaced by bob@lap")

    async def test_a_manager_that_slept_hears_what_users_did_meanwhile_before_it_ends_their_sessions(
        self, there: Running
    ) -> None:
        ann, bob = await there.connect("ann"), await there.connect("bob")
        there.manager.clock.step(25 * HOUR)
        there.standalone._timers.tick()
        assert {ann.id, bob.id} == set(there.manager.state.sessions)
        async with attending(ann, idle_seconds=lambda: 60.0):
            await until(lambda: idle(there, ann) < 100)
            tick(there)
            assert set(there.manager.state.sessions) == {ann.id}

    async def test_what_fails_keeps_nothing_else_from_being_done(
        self, there: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ann = await there.connect()
        there.manager.clock.step(25 * HOUR)

        def broken(*_: object) -> None:
            raise RuntimeError("broken")

        monkeypatch.setattr(there.standalone._timers, "_warn", broken)
        tick(there)
        assert ann.id not in there.manager.state.sessions


class Shifted(Clock):
    """As if the machine had been up for longer."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def now(self) -> float:
        return super().now() + self.by


class TestOverARestart:
    @pytest.mark.parametrize("down", [HOUR, -1e5], ids=["down for an hour", "the machine started anew"])
    async def test_an_hour_without_a_manager_expires_nothing_early_or_late(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, down: float
    ) -> None:
        async with running(tmp_path) as first:
            ann, bob = await first.connect("ann"), await first.connect("bob")
            await ann.create("hers", "x-user=a")
            first.manager.clock.step(23.5 * HOUR)
            stopped = first.manager.clock._stepped
        monkeypatch.setattr(process, "Clock", lambda: Shifted(stopped + down))
        async with running(tmp_path) as second:
            tick(second)
            assert len(second.manager.state.sessions) == 2
            assert idle(second, ann) == pytest.approx(23.5 * HOUR, abs=61)
            assert idle(second, ann) < 23.5 * HOUR + 5
            second.manager.clock.step(0.49 * HOUR)
            tick(second)
            assert {ann.id, bob.id} == set(second.manager.state.sessions)
            second.manager.clock.step(0.04 * HOUR)
            tick(second)
            assert not second.manager.state.sessions

    async def test_idle_age_is_kept_and_downtime_adds_nothing_to_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with running(tmp_path) as first:
            ann, bob = await first.connect("ann"), await first.connect("bob")
            await ann.create("hers", "x-user=a")
            first.manager.clock.step(300)
        monkeypatch.setattr(process, "Clock", lambda: Shifted(300 + HOUR))
        async with running(tmp_path) as second:
            his = Laptop(second.channel, "bob", bob.id, bob.token, 1)
            with refused(CONFLICT, "ann@lap"):
                await his.create("his", "x-user=a")
            second.manager.clock.step(240)
            with refused(CONFLICT):
                await his.create("his", "x-user=a")
            second.manager.clock.step(125)
            await his.create("his", "x-user=a")

    def test_activity_that_was_not_stored_yet_never_displaces_early(self, tmp_path: Path) -> None:
        office = Office()
        office.connect("ann")
        store, _ = SqliteStore.open(tmp_path / "state.db", now=office.now)
        store.save(sessions.connect(office.state, office.state.session("s-ann")), now=office.now)
        office.wait(HOUR)
        store.save_activity(office.state.sessions.values(), now=office.now)
        # Ann is back, and the manager is killed before her activity is written for the second time.
        for _ in range(2):
            store.save(office.do(sessions.activity(office.state, "s-ann", office.now)), now=office.now)
            office.wait(50)
        store.close()
        store, loaded = SqliteStore.open(tmp_path / "state.db", now=7.0)
        store.close()
        assert 0 <= 7.0 - loaded.sessions["s-ann"].last_activity <= 50

    @pytest.mark.parametrize("days", [1, -1])
    async def test_a_wall_clock_that_jumps_neither_expires_nor_extends(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int
    ) -> None:
        real = time.time

        class Jumped(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Any:
                return datetime.now(tz) + timedelta(days=days)

        async with running(tmp_path) as first:
            ann, bob = await first.connect("ann"), await first.connect("bob")
            await ann.create("hers", "x-user=a")
            first.manager.clock.step(300)
            monkeypatch.setattr(time, "time", lambda: real() + days * 24 * HOUR)
            monkeypatch.setattr(clock_module, "datetime", Jumped)
            tick(first)
            assert idle(first, ann) == pytest.approx(310, abs=5)
            with refused(CONFLICT, "idle for 5 min"):
                await bob.create("his", "x-user=a")
        monkeypatch.setattr(process, "Clock", lambda: Shifted(310))
        async with running(tmp_path) as second:
            tick(second)
            assert idle(second, ann) == pytest.approx(320, abs=61)
            assert len(second.manager.state.sessions) == 2

    async def test_intercepts_and_their_order_are_there_again(self, tmp_path: Path) -> None:
        async with running(tmp_path) as first:
            ann, bob = await first.connect("ann"), await first.connect("bob")
            await ann.create("hers", "x-user=a")
            first.manager.clock.step(601)
            await bob.create("his", "x-user=a")
            before = dict(first.manager.state.intercepts)
            stepped = first.manager.clock._stepped
        async with running(tmp_path) as second:
            assert second.manager.state.intercepts.keys() == before.keys()
            hers, his = (second.manager.state.of_session(one.id)[0] for one in (ann, bob))
            assert (hers.disposition, his.disposition) == ("displaced", "active")
            assert hers.displaced is not None
            assert hers.displaced.owner == "bob@lap"
            laptop = Laptop(second.channel, "bob", bob.id, bob.token, 1)
            await laptop.leave("his")
            assert second.manager.state.of_session(ann.id)[0].disposition == "active"
            assert stepped == 601


def test_the_clock_goes_on_while_the_machine_sleeps() -> None:
    boottime = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    clock = Clock()
    assert clock.now() == pytest.approx(time.clock_gettime(boottime), abs=1)
    clock.step(10)
    assert clock.now() == pytest.approx(time.clock_gettime(boottime) + 10, abs=1)
    clock.step(-10)
    assert clock.now() == pytest.approx(time.clock_gettime(boottime) + 10, abs=1)
