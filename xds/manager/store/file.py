"""Opening the file: checked, migrated, and when it is damaged put aside and begun anew with what can still be read.

Nothing is thrown away. A damaged file keeps its bytes under another name; the new one is written completely before it
takes the old one's place, so that a kill in between loses nothing either.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final

from xds.manager.store import schema
from xds.manager.store.errors import StoreError, StoreFullError
from xds.manager.store.rows import INTERCEPT, META, SESSION, Content, Row, Statement, decode, put, read
from xds.manager.store.times import intercept_row, session_row

BUSY_TIMEOUT: Final = 2.0
"""Seconds to wait for another program that reads the file, a backup say. Only opening can have to wait."""
SALVAGE_LIMIT: Final = 1_000_000
"""Rows read from a damaged table: its pages may point at each other in circles."""
_HINDRANCES: Final = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)
"""Errors that say something of the machine; every other one at opening says that the file is damaged."""


class _DamagedError(Exception):
    """The file can't be trusted."""


def open_file(
    path: Path, migrations: Sequence[schema.Migration] = schema.MIGRATIONS
) -> tuple[sqlite3.Connection, Content, list[str]]:
    """Open or make the store's file; also says what was wrong with it. Raises StoreError, OSError."""
    existed = path.exists()
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)
    try:
        if existed and _lost_to_log(path):
            raise _DamagedError("it is empty, and its write-ahead log is not")
        connection = connect(path)
        try:
            problems = _check(connection, path, migrations)
            content = _content(connection)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        if not _is_damage(error, path):
            raise refusal(error, path, "it can't be opened") from error
        return _begin_anew(path, str(error), migrations)
    except _DamagedError as error:
        return _begin_anew(path, str(error), migrations)
    if existed and content == Content():
        problems.append(f"the store {path} held nothing, not even its own state; it was begun anew")
    return connection, content, problems


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode: transactions begin and end where the code says so."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    # Nobody else may open the file anyway, and then SQLite needs no shared memory: that file could not grow on a full
    # disk, and can't be made at all on some network volumes.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    return connection


def refusal(error: sqlite3.Error, path: Path, refused: str) -> StoreError:
    """What to tell people of an error that says nothing of the file's content."""
    match _primary(error):
        case sqlite3.SQLITE_FULL:
            return StoreFullError(
                f"the disk of the store {path} is full: {refused}. What exists goes on as it is and requests are "
                f"served; make room (`df {path.parent}` shows it) and try again"
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreError(f"another program has the store {path} open: {refused}. Close it and try again")
    return StoreError(
        f"the store {path} can't be read or written ({error}): {refused}. What exists goes on as it is; look at the "
        "disk and at the file's permissions, then try again"
    )


def _check(connection: sqlite3.Connection, path: Path, migrations: Sequence[schema.Migration]) -> list[str]:
    """Have a sound file of the newest schema; says what was done. Raises sqlite3.Error, StoreError, _DamagedError."""
    problems: list[str] = []
    version = schema.version_of(connection)
    if not schema.is_empty(connection):
        if not schema.is_ours(connection):
            raise StoreError(f"{path} is a database of another program; move it away, or name another state directory")
        if version == 0:
            raise _DamagedError("its schema's number is lost")
        schema.refuse_newer(str(path), version, len(migrations))
        # The full check, not quick_check: the file is small, and only this one looks at the order of the keys.
        (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise _DamagedError(str(verdict).replace("\n", " "))
        if version < len(migrations):
            problems.append(_migrate(connection, path, version, migrations))
    configure(connection)
    schema.migrate(connection, migrations)
    return problems


def _migrate(connection: sqlite3.Connection, path: Path, version: int, migrations: Sequence[schema.Migration]) -> str:
    copy = _free_name(path, f"schema-{version}")
    _copy_database(connection, copy)
    configure(connection)
    try:
        schema.migrate(connection, migrations)
    except Exception as error:
        # Never taken for damage: the file is sound, and what it holds must not be given up.
        raise StoreError(
            f"the store {path} can't be brought from schema {version} to {len(migrations)} ({error}); go on with the "
            f"version of Byway that wrote it; a copy from before is {copy}"
        ) from error
    return f"the store {path} was brought from schema {version} to {len(migrations)}; a copy from before is {copy}"


def configure(connection: sqlite3.Connection) -> None:
    """Write-ahead log: one file to sync per commit.

    It is moved into the file every 64 pages (256 KiB): on a full disk that can be impossible, since the file has to
    grow while the log still holds the room, so there must never be much in it.
    """
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA wal_autocheckpoint = 64")
    connection.execute("PRAGMA journal_size_limit = 1048576")


def _content(connection: sqlite3.Connection) -> Content:
    return decode(row for table in (META, SESSION, INTERCEPT) for row in read(connection, table))


def _begin_anew(
    path: Path, damage: str, migrations: Sequence[schema.Migration]
) -> tuple[sqlite3.Connection, Content, list[str]]:
    content = decode(_salvage(path))
    fresh = path.with_name(path.name + ".new")
    try:
        _write_fresh(fresh, content, migrations)
        aside = _free_name(path, "corrupt")
        _swap(path, aside, fresh)
        connection = connect(path)
        configure(connection)
    except sqlite3.Error as error:
        raise refusal(error, path, f"it is damaged ({damage}) and could not be begun anew") from error
    text = (
        f"the store {path} was damaged ({damage}): it is kept as {aside}, and a new one was begun with the "
        f"{len(content.sessions)} sessions and {len(content.intercepts)} intercepts that could be read"
    )
    return connection, content, [text]


def _salvage(path: Path) -> list[Row]:
    """Every row that can still be reached, from both ends of each table: a bad page lies between them."""
    rows: dict[tuple[str, bytes | None], Row] = {}
    if path.stat().st_size == 0:
        # Nothing to read, and to open it would delete its log.
        return []
    with suppress(sqlite3.Error), closing(connect(path)) as connection:
        # With this set SQLite also reads a file that is shorter than its header says.
        connection.execute("PRAGMA writable_schema = ON")
        for table in (META, SESSION, INTERCEPT):
            for order in ("ORDER BY id", "ORDER BY id DESC"):
                with suppress(sqlite3.Error):
                    for row in islice(read(connection, table, order), SALVAGE_LIMIT):
                        rows[table, row.id] = row
    return list(rows.values())


def _write_fresh(fresh: Path, content: Content, migrations: Sequence[schema.Migration]) -> None:
    for leftover in (fresh, *_logs(fresh)):
        leftover.unlink(missing_ok=True)
    os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with closing(connect(fresh)) as connection:
        configure(connection)
        schema.migrate(connection, migrations)
        statements: list[Statement] = [put(SESSION, one.id, session_row(one, 0.0)) for one in content.sessions.values()]
        statements += [put(INTERCEPT, one.id, intercept_row(one, 0.0)) for one in content.intercepts.values()]
        connection.execute("BEGIN IMMEDIATE")
        for sql, parameters in statements:
            connection.execute(sql, parameters)
        connection.execute("COMMIT")


def _swap(path: Path, aside: Path, fresh: Path) -> None:
    """Keep the damaged file with its log under another name, and put the new one in its place."""
    _keep(path, aside)
    for log in _logs(path):
        if log.exists():
            _keep(log, aside.with_name(aside.name + log.name.removeprefix(path.name)))
            # SQLite would take it for the new file's log.
            log.unlink()
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _keep(path: Path, aside: Path) -> None:
    try:
        os.link(path, aside)
    except OSError:
        # Not every file system has links.
        shutil.copyfile(path, aside)
        aside.chmod(0o600)


def _copy_database(connection: sqlite3.Connection, copy: Path) -> None:
    os.close(os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        with closing(sqlite3.connect(copy)) as target:
            connection.backup(target)
    except BaseException:
        copy.unlink()
        raise


def _free_name(path: Path, why: str) -> Path:
    base = f"{path.name}.{why}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    names = (base if count == 1 else f"{base}-{count}" for count in range(1, SALVAGE_LIMIT))
    return next(path.with_name(name) for name in names if not path.with_name(name).exists())


def _logs(path: Path) -> list[Path]:
    return [path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal")]


def _lost_to_log(path: Path) -> bool:
    """Whether SQLite would delete a log that has something in it, because the file itself has nothing."""
    log = path.with_name(path.name + "-wal")
    return path.stat().st_size == 0 and log.exists() and log.stat().st_size > 0


def _primary(error: sqlite3.Error) -> int:
    # The low byte is the primary result code, https://www.sqlite.org/rescode.html
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def _is_damage(error: sqlite3.Error, path: Path) -> bool:
    if getattr(error, "sqlite_errorcode", 0) in {sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS}:
        return True
    if _primary(error) == sqlite3.SQLITE_READONLY:
        # SQLite says so of a file that may be written when the version in its header is unknown.
        return os.access(path, os.W_OK)
    return _primary(error) not in _HINDRANCES
