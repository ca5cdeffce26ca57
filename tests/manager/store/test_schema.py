from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.manager.store.samples import ANN, MINE, NOW, change, reopen
from xds.manager.store import SqliteStore, StoreError
from xds.manager.store.file import open_file
from xds.manager.store.rows import digest_of
from xds.manager.store.schema import MIGRATIONS, Migration

NEWS = {"daemon", "tunnel"}
"""What sessions have since the second schema."""


def rename_owner(connection: sqlite3.Connection) -> None:
    """What a migration of rows looks like."""
    for key, body in connection.execute("SELECT id, body FROM intercept").fetchall():
        text = json.dumps({**json.loads(body), "reason": "migrated"})
        row = (text, digest_of("intercept", key, text), key)
        connection.execute("UPDATE intercept SET body = ?, digest = ? WHERE id = ?", row)


def add_table(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE extra (id TEXT)")


def forget_tunnels(path: Path) -> None:
    """Make the file one of the first schema."""
    with closing(sqlite3.connect(path)) as connection:
        for key, body in connection.execute("SELECT id, body FROM session").fetchall():
            text = json.dumps({name: value for name, value in json.loads(body).items() if name not in NEWS})
            row = (text, digest_of("session", key, text), key)
            connection.execute("UPDATE session SET body = ?, digest = ? WHERE id = ?", row)
        connection.execute("PRAGMA user_version = 1")
        connection.commit()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    store, _ = SqliteStore.open(tmp_path / "store.db", now=NOW)
    store.save(change(ANN, MINE, sequence=1), now=NOW)
    store.close()
    return tmp_path / "store.db"


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_an_older_file_is_brought_up_step_by_step_after_a_copy_was_made(path: Path) -> None:
    oldest = len(MIGRATIONS)
    connection, content, (problem,) = open_file(path, (*MIGRATIONS, rename_owner, add_table))
    assert content.intercepts[MINE.id].reason == "migrated"
    assert connection.execute("SELECT count(*) FROM extra").fetchone() == (0,)
    connection.close()
    (copy,) = path.parent.glob(f"store.db.schema-{oldest}-*")
    assert (version(path), version(copy)) == (oldest + 2, oldest)
    assert (copy.stat().st_mode & 0o777, copy.name in problem) == (0o600, True)
    assert reopen(copy).intercepts == {MINE.id: MINE}


def fails_in_python(connection: sqlite3.Connection) -> None:
    add_table(connection)
    raise ValueError("a row is odd")


def fails_in_sql(connection: sqlite3.Connection) -> None:
    add_table(connection)
    connection.execute("SELECT * FROM nothing")


@pytest.mark.parametrize("broken", [fails_in_python, fails_in_sql])
def test_a_migration_that_fails_leaves_the_file_as_it_was(
    path: Path, broken: Callable[[sqlite3.Connection], None]
) -> None:
    migrations: tuple[Migration, ...] = (*MIGRATIONS, rename_owner, broken)
    with pytest.raises(StoreError, match="can't be brought from schema .* a copy from before is"):
        open_file(path, migrations)
    # The step that worked stays, the one that failed left nothing.
    assert version(path) == len(MIGRATIONS) + 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'extra'").fetchone() == (0,)
    assert not list(path.parent.glob("*corrupt*"))


def test_sessions_of_the_first_schema_have_no_tunnel(path: Path) -> None:
    forget_tunnels(path)
    store, content = SqliteStore.open(path, now=NOW)
    store.close()
    assert content.sessions[ANN.id] == ANN


def test_a_damaged_session_is_not_made_good_by_a_migration(path: Path) -> None:
    forget_tunnels(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE session SET body = replace(body, 'ann', 'bob')")
        connection.commit()
    store, content = SqliteStore.open(path, now=NOW)
    store.close()
    assert content.sessions == {}
    assert content.problems


def test_a_file_of_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    newer = len(MIGRATIONS) + 1
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {newer}")
    with pytest.raises(StoreError, match=f"has schema {newer}, and this version of Byway knows schemas up to"):
        SqliteStore.open(path, now=NOW)
    assert version(path) == newer
    assert not list(path.parent.glob("*corrupt*"))
