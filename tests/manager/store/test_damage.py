from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.manager.store.samples import ANN, BOB, MINE, NOW, change, intercept, reopen
from xds.manager.store import Loaded, SqliteStore, StoreError
from xds.manager.store.rows import digest_of
from xds.registry.change import Change
from xds.registry.intercept import Intercept
from xds.registry.session import Session

SESSIONS: dict[str, Session] = {one.id: one for one in (ANN, BOB)}
INTERCEPTS: dict[str, Intercept] = {
    one.id: one for one in (intercept(number, session=(ANN, BOB)[number % 2]) for number in range(1, 61))
}
ALL = Change(sessions=SESSIONS, intercepts=INTERCEPTS, sequence=60)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a store that was closed."""
    path = tmp_path_factory.mktemp("sound") / "store.db"
    store, _ = SqliteStore.open(path, now=NOW)
    store.save(ALL, now=NOW)
    store.close()
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def check(path: Path, damaged: bytes) -> Loaded | None:
    """Open damaged bytes: all that is loaded was saved just so, what is missing is told of, and the store works."""
    path.write_bytes(damaged)
    try:
        loaded = reopen(path)
    except StoreError as error:
        # The one thing that can't be told from damage: bytes that say “made by a newer version”.
        assert "and this version of Byway knows schemas up to" in str(error)  # noqa: PT017
        return None
    for key, session in loaded.sessions.items():
        assert replace(session, last_activity=NOW) == SESSIONS[key]
    for key, one in loaded.intercepts.items():
        assert one == INTERCEPTS[key]
        assert one.session in loaded.sessions
    assert loaded.sequence >= max((one.sequence for one in loaded.intercepts.values()), default=0)
    if (len(loaded.sessions), len(loaded.intercepts)) != (len(SESSIONS), len(INTERCEPTS)):
        assert loaded.problems
    if any("is kept as" in problem for problem in loaded.problems):
        (aside,) = path.parent.glob("store.db.corrupt-*")
        assert aside.read_bytes() == damaged
        assert aside.name in "".join(loaded.problems)
    store, again = SqliteStore.open(path, now=NOW)
    assert (again.intercepts, again.problems) == (loaded.intercepts, ())
    store.save(change(ANN, MINE, sequence=99), now=NOW)
    store.close()
    assert reopen(path).intercepts[MINE.id] == MINE
    return loaded


@pytest.mark.parametrize("seed", range(60))
def test_random_bytes_overwritten_are_survived(sound: bytes, path: Path, seed: int) -> None:
    dice = random.Random(seed)
    damaged = bytearray(sound)
    for _ in range(dice.choice([1, 1, 3, 50])):
        # Half of the hits go where the structure is: the file's header and the pages' headers.
        page = dice.randrange(len(sound) // 4096) * 4096
        at = page + dice.randrange(100) if dice.random() < 0.5 else dice.randrange(len(sound))
        damaged[at] = dice.randrange(256)
    check(path, bytes(damaged))


@pytest.mark.parametrize("seed", range(25))
def test_truncation_at_any_length_is_survived(sound: bytes, path: Path, seed: int) -> None:
    length = random.Random(seed).randrange(len(sound)) if seed else 0
    loaded = check(path, sound[:length])
    assert loaded is not None
    assert loaded.problems


def page_of(sound: bytes, marker: bytes) -> int:
    return sound.index(marker) // 4096


def with_noise(sound: bytes, page: int) -> bytes:
    return sound[: page * 4096] + random.Random(1).randbytes(4096) + sound[(page + 1) * 4096 :]


# The keys' order is that of text, so i-10 is near the begin, i-35 in the middle, i-9 at the end.
@pytest.mark.parametrize("key", ["i-10", "i-35", "i-9"])
def test_a_page_overwritten_with_noise_loses_only_what_was_on_it(sound: bytes, path: Path, key: str) -> None:
    loaded = check(path, with_noise(sound, page_of(sound, f'"id":"{key}"'.encode())))
    assert loaded is not None
    assert 45 < len(loaded.intercepts) < 60
    assert len(loaded.sessions) == 2


def test_a_truncated_file_loses_only_what_was_cut_off(sound: bytes, path: Path) -> None:
    loaded = check(path, sound[:-4096])
    assert loaded is not None
    assert 45 < len(loaded.intercepts) < 60
    assert len(loaded.sessions) == 2


def test_damage_that_hides_no_row_is_found_all_the_same(sound: bytes, path: Path) -> None:
    damaged = bytearray(sound)
    # The count of free pages, https://www.sqlite.org/fileformat.html#the_freelist
    damaged[36:40] = (5).to_bytes(4, "big")
    loaded = check(path, bytes(damaged))
    assert loaded is not None
    assert "was damaged (" in loaded.problems[0]
    assert len(loaded.intercepts) == 60


def test_what_is_no_database_is_kept_aside(path: Path) -> None:
    loaded = check(path, b"These are notes, not a database.\n" * 500)
    assert loaded is not None
    assert "file is not a database" in loaded.problems[0]


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_log_is_survived(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    path = tmp_path / "a" / "store.db"
    store, _ = SqliteStore.open(path, now=NOW)
    store.save(ALL, now=NOW)
    killed = tmp_path / "store.db"
    log = bytearray(path.with_name("store.db-wal").read_bytes())
    killed.write_bytes(b"" if seed == 0 else path.read_bytes())
    store.close()
    for _ in range(5):
        log[dice.randrange(len(log))] ^= 0xFF
    killed.with_name("store.db-wal").write_bytes(log[: dice.randrange(1, len(log))])
    loaded = reopen(killed)
    assert all(INTERCEPTS[key] == one for key, one in loaded.intercepts.items())
    assert reopen(killed).problems == ()


def test_an_empty_file_beside_a_log_is_not_taken_for_an_empty_store(path: Path) -> None:
    path.write_bytes(b"")
    path.with_name("store.db-wal").write_bytes(b"x" * 5000)
    (problem,) = reopen(path).problems
    assert "it is empty, and its write-ahead log is not" in problem
    (log,) = path.parent.glob("store.db.corrupt-*-wal")
    assert log.read_bytes() == b"x" * 5000


class TestQuarantine:
    @pytest.fixture
    def stored(self, sound: bytes, path: Path) -> Path:
        path.write_bytes(sound)
        return path

    def edit(self, path: Path, table: str, key: str, body: str) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            row = (body, digest_of(table, key, body), key)
            connection.execute(f"UPDATE {table} SET body = ?, digest = ? WHERE id = ?", row)

    def quarantined(self, path: Path) -> list[tuple[str, bytes]]:
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute("SELECT source, id FROM quarantine ORDER BY source, id").fetchall()

    def test_a_changed_port_number_is_noticed_and_the_rest_loads(self, sound: bytes, path: Path) -> None:
        at = sound.index(b'"port":3000')
        loaded = check(path, sound[:at] + b'"port":3001' + sound[at + 11 :])
        assert loaded is not None
        assert len(loaded.intercepts) == 59
        assert "was set aside in quarantine: it is not what was written" in loaded.problems[0]
        assert len(self.quarantined(path)) == 1

    def test_a_row_with_an_unknown_field_is_set_aside_and_told_of_once(self, stored: Path) -> None:
        with closing(sqlite3.connect(stored)) as connection:
            (body,) = connection.execute("SELECT body FROM intercept WHERE id = 'i-7'").fetchone()
        self.edit(stored, "intercept", "i-7", json.dumps({**json.loads(body), "weight": 1}))
        loaded = reopen(stored)
        assert set(INTERCEPTS) - set(loaded.intercepts) == {"i-7"}
        (problem,) = loaded.problems
        assert "intercept 'i-7' was set aside" in problem
        assert "has 'weight', which this version does not know" in problem
        assert self.quarantined(stored) == [("intercept", b"i-7")]
        assert reopen(stored).problems == ()

    def test_the_intercepts_of_a_session_that_is_set_aside_go_with_it(self, stored: Path) -> None:
        self.edit(stored, "session", BOB.id, "{}")
        loaded = reopen(stored)
        assert set(loaded.sessions) == {ANN.id}
        assert {one.session for one in loaded.intercepts.values()} == {ANN.id}
        assert len(loaded.problems) == 31
        assert "its session 's-bob' is not there" in loaded.problems[1]

    @pytest.mark.parametrize("body", ["", "[]", "nul", "[" * 100_000, '{"id": ' + "9" * 5000 + "}"])
    def test_a_row_with_anything_in_it_is_set_aside(self, stored: Path, body: str) -> None:
        self.edit(stored, "intercept", "i-7", body)
        assert len(reopen(stored).intercepts) == 59
        assert self.quarantined(stored) == [("intercept", b"i-7")]

    def test_rows_that_vanished_are_told_of(self, stored: Path) -> None:
        with closing(sqlite3.connect(stored, isolation_level=None)) as connection:
            connection.execute("DELETE FROM intercept WHERE id IN ('i-7', 'i-8')")
        (problem,) = reopen(stored).problems
        assert "should hold 2 more of kind intercept, which are lost" in problem

    def test_without_its_clock_nobody_looks_idle(self, stored: Path) -> None:
        self.edit(stored, "meta", "state", "{}")
        loaded = reopen(stored, now=5.0)
        assert {one.last_activity for one in loaded.sessions.values()} == {5.0}
        assert loaded.sequence == 60
        assert "lost its clock" in "".join(loaded.problems)


def test_a_lock_whose_holder_died_is_free(path: Path) -> None:
    child = os.fork()
    if child == 0:
        SqliteStore.open(path, now=NOW)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert reopen(path).problems == ()
