from __future__ import annotations

import os
import sqlite3
import stat
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.manager.store.samples import ANN, BOB, MINE, NOW, change, intercept, reopen
from xds.manager.store import LATENESS, SqliteStore, StoreError, StoreFullError
from xds.registry.change import Change, Event, EventKind
from xds.registry.intercept import Displacement, Disposition, Target
from xds.registry.session import Session, TargetHealth, TargetReport


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "manager" / "store.db"


def commits(store: SqliteStore) -> tuple[int, int]:
    statistics = store.statistics()
    return statistics.lasting, statistics.passing


def test_what_was_saved_is_loaded(path: Path) -> None:
    store, empty = SqliteStore.open(path, now=NOW)
    assert (empty.sessions, empty.intercepts, empty.sequence, empty.problems) == ({}, {}, 0, ())
    store.save(change(ANN, BOB, MINE, intercept(2, session=BOB), sequence=2), now=NOW)
    store.save(Change(intercepts={"i-2": None}, sessions={BOB.id: None}), now=NOW)
    store.save(change(replace(MINE, disposition=Disposition.ACTIVE)), now=NOW)
    store.close()
    loaded = reopen(path)
    assert loaded.sessions == {ANN.id: ANN}
    assert loaded.intercepts == {MINE.id: replace(MINE, disposition=Disposition.ACTIVE)}
    assert (loaded.sequence, loaded.problems) == (2, ())


def test_a_sequence_number_is_never_given_out_twice_though_its_intercept_has_ended(path: Path) -> None:
    store, _ = SqliteStore.open(path, now=NOW)
    store.save(change(ANN, intercept(7), sequence=7), now=NOW)
    store.save(Change(intercepts={"i-7": None}), now=NOW)
    store.close()
    assert reopen(path).sequence == 7


def test_the_file_and_its_log_are_private_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        store, _ = SqliteStore.open(path, now=NOW)
        store.save(change(ANN), now=NOW)
        modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db.lock": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    store.close()


def test_a_file_that_others_could_read_becomes_private(path: Path) -> None:
    reopen(path)
    path.chmod(0o644)
    reopen(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_second_manager_is_refused_with_the_number_of_the_first(path: Path) -> None:
    store, _ = SqliteStore.open(path, now=NOW)
    with pytest.raises(StoreError, match=rf"in use by another manager \(process {os.getpid()}\)"):
        SqliteStore.open(path, now=NOW)
    store.save(change(ANN), now=NOW)
    store.close()
    assert reopen(path).sessions == {ANN.id: ANN}


def test_a_program_that_holds_the_file_is_told_of(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xds.manager.store.file.BUSY_TIMEOUT", 0.0)
    reopen(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another program has the store"):
            SqliteStore.open(path, now=NOW)
    assert reopen(path).problems == ()


@pytest.mark.parametrize("kind", ["directory", "below a file"])
def test_a_path_that_cannot_be_a_store_is_refused_with_a_sentence(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "there" / "store.db"
    if kind == "directory":
        path.mkdir(parents=True)
    else:
        path.parent.write_text("")
    with pytest.raises(StoreError, match=r"can't be used: .*--state-dir"):
        SqliteStore.open(path, now=NOW)


def test_a_database_of_another_program_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE songs (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="database of another program"):
        SqliteStore.open(path, now=NOW)
    assert path.read_bytes() == before


class TestClocks:
    def test_downtime_adds_nothing_to_an_idle_age_and_the_new_clock_may_begin_anywhere(self, path: Path) -> None:
        store, _ = SqliteStore.open(path, now=NOW)
        store.save(change(ANN), now=NOW)
        store.save_activity([ANN], now=NOW + 500)
        store.close()
        (session,) = reopen(path, now=3.0).sessions.values()
        assert 3.0 - session.last_activity == 500 - LATENESS
        assert 3.0 - session.present_since == 500

    def test_since_when_an_intercept_is_displaced_is_kept_as_an_age(self, path: Path) -> None:
        displaced = replace(MINE, disposition=Disposition.DISPLACED, displaced=Displacement("i-9", BOB.owner, NOW))
        store, _ = SqliteStore.open(path, now=NOW)
        store.save(change(ANN, displaced), now=NOW + 20)
        store.close()
        assert reopen(path, now=5.0).intercepts[MINE.id].displaced == Displacement("i-9", BOB.owner, -15.0)

    def test_restarts_grant_the_benefit_of_the_doubt_once_and_not_each_time(self, path: Path) -> None:
        store, _ = SqliteStore.open(path, now=0.0)
        idle = replace(ANN, last_activity=0.0)
        store.save(change(idle), now=0.0)
        store.save_activity([idle], now=600.0)
        store.close()
        for _ in range(3):
            store, loaded = SqliteStore.open(path, now=0.0)
            session = loaded.sessions[ANN.id]
            assert -session.last_activity == 600.0 - LATENESS
            # What makes the row be written again, with the granted activity at hand.
            store.save(change(replace(session, present=not session.present)), now=0.0)
            store.save(change(replace(session, epoch=session.epoch + 1)), now=0.0)
            store.save_activity([session], now=0.0)
            store.close()

    @settings(max_examples=30, deadline=None)
    @given(
        steps=st.lists(
            st.tuples(st.floats(0, 400), st.sampled_from(["activity", "save_activity", "presence", "epoch", "wait"])),
            max_size=25,
        ),
        begin=st.floats(0, 1e6),
    )
    def test_a_manager_killed_at_any_moment_never_makes_anybody_look_more_idle(
        self, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[float, str]], begin: float
    ) -> None:
        path = tmp_path_factory.mktemp("store") / "s" / "store.db"
        store, _ = SqliteStore.open(path, now=NOW)
        now, session = NOW, ANN
        store.save(change(session), now=now)
        for wait, action in steps:
            now += wait
            match action:
                case "activity":
                    session = replace(session, last_activity=now)
                    store.save(change(session), now=now)
                case "presence":
                    session = replace(session, present=not session.present, present_since=now)
                    store.save(change(session), now=now)
                case "epoch":
                    session = replace(session, epoch=session.epoch + 1)
                    store.save(change(session), now=now)
                case "save_activity":
                    store.save_activity([session], now=now)
        # What is on disk at this moment is what a kill would leave: copied while the store is open.
        copy = path.with_name("killed.db")
        for suffix in ("", "-wal"):
            copy.with_name(copy.name + suffix).write_bytes(path.with_name(path.name + suffix).read_bytes())
        store.close()
        loaded = reopen(copy, now=begin).sessions[session.id]
        assert begin - loaded.last_activity <= now - session.last_activity + 1e-6
        assert (loaded.epoch, loaded.present) == (session.epoch, session.present)


class TestWhatIsWritten:
    def test_a_target_that_changed_is_written_without_a_sync(self, path: Path) -> None:
        store, _ = SqliteStore.open(path, now=NOW)
        store.save(change(ANN), now=NOW)
        before = store.statistics()
        gone = replace(ANN, targets={Target("localhost", 1): TargetReport(TargetHealth.NOT_LISTENING, since=NOW)})
        store.save(change(gone), now=NOW + 2)
        store.save(change(gone), now=NOW + 3)
        after = store.statistics()
        assert (after.lasting, after.passing) == (before.lasting, before.passing + 1)
        store.save_activity([gone], now=NOW + 3)
        store.close()
        (report,) = reopen(path, now=NOW + 5).sessions[ANN.id].targets.values()
        assert (report.health, report.since) == (TargetHealth.NOT_LISTENING, NOW + 2)  # It was 3 s ago, and still is.

    def test_heartbeats_write_nothing(self, path: Path) -> None:
        store, _ = SqliteStore.open(path, now=NOW)
        store.save(change(ANN), now=NOW)
        before = commits(store)
        store.save(change(ANN), now=NOW + 1)
        store.save(Change(), now=NOW + 3)
        store.save(Change(sessions={"s-nobody": None}, intercepts={"i-none": None}), now=NOW + 4)
        assert commits(store) == before
        store.close()

    def test_activity_writes_at_once_after_a_pause_and_then_at_most_once_a_minute(self, path: Path) -> None:
        store, _ = SqliteStore.open(path, now=NOW)
        store.save(change(ANN), now=NOW)
        _, before = commits(store)
        for second in range(1, 601):
            store.save(change(replace(ANN, last_activity=NOW + second)), now=NOW + second)
        assert commits(store)[1] - before == 9
        store.close()

    def test_presence_writes_at_once_without_a_sync(self, path: Path) -> None:
        store, _ = SqliteStore.open(path, now=NOW)
        store.save(change(ANN), now=NOW)
        lasting, passing = commits(store)
        store.save(change(replace(ANN, present=False, present_since=NOW + 1)), now=NOW + 1)
        assert commits(store) == (lasting, passing + 1)
        store.close()
        assert not reopen(path).sessions[ANN.id].present

    @pytest.mark.parametrize(
        "changed",
        [replace(ANN, user="x"), replace(ANN, host="x"), replace(ANN, token_hash="x"), replace(ANN, address="x")],
    )
    def test_everything_else_of_a_session_lasts(self, path: Path, changed: Session) -> None:
        store, _ = SqliteStore.open(path, now=NOW)
        store.save(change(ANN), now=NOW)
        lasting, _ = commits(store)
        store.save(change(changed), now=NOW)
        assert commits(store)[0] == lasting + 1
        store.close()
        assert reopen(path).sessions == {ANN.id: changed}

    def test_threads_take_turns(self, path: Path) -> None:
        store, _ = SqliteStore.open(path, now=NOW)
        store.save(change(ANN), now=NOW)

        def work(first: int) -> None:
            for number in range(first, first + 20):
                store.save(change(intercept(number), sequence=number), now=NOW)

        threads = [threading.Thread(target=work, args=(first,)) for first in (100, 200, 300)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        store.close()
        loaded = reopen(path)
        assert (len(loaded.intercepts), loaded.sequence, loaded.problems) == (60, 319, ())


class TestFull:
    def test_a_change_without_room_is_refused_whole_and_the_store_goes_on(self, path: Path) -> None:
        store, _ = SqliteStore.open(path, now=NOW)
        store.save(change(ANN, MINE, sequence=1), now=NOW)
        (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        big = intercept(2, reason="x" * 50_000)
        event = Event(EventKind.INTERCEPT_CREATED, BOB, big)
        refused = replace(change(BOB, big, sequence=2), events=(event,))
        with pytest.raises(StoreFullError, match=r"is full: not done: intercept created \('orders-2' of bob@lap\)"):
            store.save(refused, now=NOW)
        assert store.statistics().failed == 1
        store.save(change(replace(MINE, disposition=Disposition.ACTIVE)), now=NOW)
        store._connection.execute("PRAGMA max_page_count = 1000000")
        store.save(refused, now=NOW)
        store.close()
        loaded = reopen(path)
        assert loaded.intercepts == {MINE.id: replace(MINE, disposition=Disposition.ACTIVE), big.id: big}
        assert (set(loaded.sessions), loaded.sequence, loaded.problems) == ({ANN.id, BOB.id}, 2, ())

    def test_presence_and_activity_that_cannot_be_written_refuse_nobody_and_are_written_later(self, path: Path) -> None:
        store, _ = SqliteStore.open(path, now=NOW)
        store.save(change(ANN), now=NOW)
        store._connection.execute("PRAGMA query_only = ON")
        gone = replace(ANN, present=False, present_since=NOW + 100, returns=3, last_activity=NOW + 100)
        store.save(change(gone), now=NOW + 100)
        assert store.statistics().failed == 1
        with pytest.raises(StoreError, match="idle ages are not up to date on disk"):
            store.save_activity([gone], now=NOW + 101)
        store._connection.execute("PRAGMA query_only = OFF")
        store.save_activity([gone], now=NOW + 102)
        store.close()
        (session,) = reopen(path, now=NOW + 102).sessions.values()
        assert (session.present, session.present_since, session.returns) == (False, NOW + 100, 3)
