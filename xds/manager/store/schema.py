"""The tables, and how an older file becomes a newer one.

`PRAGMA user_version` holds the schema's number. `MIGRATIONS[n]` leads from schema n to n + 1, in one transaction with
the new number, so that a kill leaves one schema or the other and nothing between.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

from xds.manager.store.errors import StoreError
from xds.manager.store.rows import digest_of

APPLICATION_ID: Final = 0x42797779
"""`PRAGMA application_id`: “Bywy”. Keeps a database of some other program from being taken for a damaged store."""

Migration = Callable[[sqlite3.Connection], None]


def _first(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    # WITHOUT ROWID: one page to write per row, where a rowid table with a text key has two.
    for table in ("session", "intercept", "meta"):
        connection.execute(
            f"CREATE TABLE {table} (id TEXT PRIMARY KEY, body TEXT NOT NULL, digest TEXT NOT NULL) WITHOUT ROWID"
        )
    connection.execute(
        "CREATE TABLE quarantine (source TEXT NOT NULL, id BLOB, body BLOB, digest BLOB, "
        "problem TEXT NOT NULL, time TEXT NOT NULL)"
    )


def _tunnels(connection: sqlite3.Connection) -> None:
    """A session says which daemon it has and what that said of its tunnel."""
    for key, body, digest in connection.execute("SELECT id, body, digest FROM session").fetchall():
        # A damaged row stays as it is: whoever reads it next reports it and puts it aside.
        if digest_of("session", key, body) != digest:
            continue
        text = json.dumps({**json.loads(body), "daemon": "", "tunnel": None})
        connection.execute(
            "UPDATE session SET body = ?, digest = ? WHERE id = ?", (text, digest_of("session", key, text), key)
        )


MIGRATIONS: Final[tuple[Migration, ...]] = (_first, _tunnels)


def version_of(connection: sqlite3.Connection) -> int:
    """The file's schema; 0 for an empty one."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether there is nothing in the file at all."""
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return int(tables) == 0


def is_ours(connection: sqlite3.Connection) -> bool:
    """Whether Byway made the file, as far as that can still be told when it is damaged."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application == APPLICATION_ID:
        return True
    query = "SELECT count(*) FROM sqlite_master WHERE name IN ('session', 'intercept', 'meta', 'quarantine')"
    (tables,) = connection.execute(query).fetchone()
    return int(tables) >= 3


def refuse_newer(name: str, version: int, known: int) -> None:
    """Raise StoreError for a file of a schema that this version doesn't know."""
    if version > known:
        raise StoreError(
            f"the store {name} has schema {version}, and this version of Byway knows schemas up to {known}: start the "
            "newer version that wrote it, or move the file away to begin with an empty store"
        )


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring an open file to the newest schema, one transaction per step; what a step raises undoes it."""
    for step in range(version_of(connection), len(migrations)):
        connection.execute("BEGIN IMMEDIATE")
        try:
            migrations[step](connection)
            connection.execute(f"PRAGMA user_version = {step + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
