"""Rows: one object each, with a digest.

SQLite keeps no checksum of what is in a page. A digest over table, id and body tells a row that was written from one
in which the disk changed a port number.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Final, TypeVar

from xds.manager.store.codec import intercept_from_dict, session_from_dict
from xds.manager.store.errors import UnreadableError
from xds.registry.intercept import Intercept
from xds.registry.session import Session

T = TypeVar("T")
Statement = tuple[str, tuple[object, ...]]
SESSION: Final = "session"
INTERCEPT: Final = "intercept"
META: Final = "meta"
STATE: Final = "state"
"""The id of the one row of `meta`."""


@dataclass(frozen=True, slots=True)
class Meta:
    """The store's own clock (seconds that managers have been up), the newest sequence number, and the rows' counts."""

    clock: float
    sequence: int
    sessions: int
    intercepts: int


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it is on disk; nothing in it can be trusted. None stands for NULL."""

    table: str
    id: bytes | None
    body: bytes | None
    digest: bytes | None


@dataclass(slots=True)
class Content:
    """What a file holds: times on the store's clock. `unreadable` says of each row that was left out why."""

    sessions: dict[str, Session] = field(default_factory=dict)
    intercepts: dict[str, Intercept] = field(default_factory=dict)
    meta: Meta | None = None
    unreadable: list[tuple[Row, str]] = field(default_factory=list)


def put(table: str, key: str, data: dict[str, object]) -> Statement:
    """The statement that writes an object."""
    body = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return (
        f"INSERT INTO {table} (id, body, digest) VALUES (?, ?, ?) "  # noqa: S608 - a constant of this module
        "ON CONFLICT (id) DO UPDATE SET body = excluded.body, digest = excluded.digest",
        (key, body, digest_of(table, key, body)),
    )


def remove(table: str, key: str) -> Statement:
    """The statement that removes an object."""
    return f"DELETE FROM {table} WHERE id = ?", (key,)  # noqa: S608 - a constant of this module


def set_aside(row: Row, problem: str) -> Iterator[Statement]:
    """The statements that move a row into the quarantine."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    yield (
        "INSERT INTO quarantine (source, id, body, digest, problem, time) VALUES (?, ?, ?, ?, ?, ?)",
        (row.table, row.id, row.body, row.digest, problem, now),
    )
    yield f"DELETE FROM {row.table} WHERE CAST(id AS BLOB) IS ?", (row.id,)  # noqa: S608 - a constant of this module


def digest_of(table: str, key: str, body: str) -> str:
    """What has to be in `digest`."""
    return blake2b(f"{table}\0{key}\0{body}".encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def meta_to_dict(meta: Meta) -> dict[str, object]:
    """The row of `meta`."""
    return {
        "clock": meta.clock,
        "sequence": meta.sequence,
        "sessions": meta.sessions,
        "intercepts": meta.intercepts,
    }


def meta_of(content: Content, path: Path) -> tuple[Meta, list[str]]:
    """The store's state; where it is lost, the least idle session counts as active now, and so nobody is worse off."""
    meta = content.meta
    if meta is None:
        times = [one.last_activity for one in content.sessions.values()]
        times += [one.displaced.since for one in content.intercepts.values() if one.displaced]
        sequence = max((one.sequence for one in content.intercepts.values()), default=0)
        problems = [f"the store {path} had lost its clock; idle ages count from now"] if content.sessions else []
        return Meta(max(times, default=0.0), sequence, 0, 0), problems
    problems = []
    for table, expected, found in (
        (SESSION, meta.sessions, len(content.sessions)),
        (INTERCEPT, meta.intercepts, len(content.intercepts)),
    ):
        missing = expected - found - sum(row.table == table for row, _ in content.unreadable)
        if missing > 0:
            problems.append(f"the store {path} should hold {missing} more of kind {table}, which are lost")
    return meta, problems


def _meta(data: object) -> Meta:
    match data:
        case {"clock": float(clock), "sequence": int(sequence), "sessions": int(sessions), "intercepts": int(count)}:
            return Meta(clock, sequence, sessions, count)
    raise UnreadableError("it has no clock, sequence number and counts")


def read(connection: sqlite3.Connection, table: str, order: str = "") -> Iterator[Row]:
    """A table's rows. Raises sqlite3.Error, perhaps after some of them."""
    # As blobs: what has to be decoded may be anything, and Python would give up in the middle of the table.
    columns = "CAST(id AS BLOB), CAST(body AS BLOB), CAST(digest AS BLOB)"
    for found in connection.execute(f"SELECT {columns} FROM {table} {order}"):  # noqa: S608 - constants
        yield Row(table, *found)


def decode(rows: Iterable[Row]) -> Content:
    """The objects in the rows."""
    content = Content()
    waiting: list[tuple[Row, Intercept]] = []
    for row in rows:
        try:
            match row.table:
                case "session":
                    session = _open(row, session_from_dict, lambda one: one.id)
                    content.sessions[session.id] = session
                case "intercept":
                    waiting.append((row, _open(row, intercept_from_dict, lambda one: one.id)))
                case _:
                    content.meta = _open(row, _meta, lambda _: STATE)
        except UnreadableError as error:
            content.unreadable.append((row, str(error)))
    for row, intercept in waiting:
        # Without its session an intercept has nobody who could answer, leave or be told.
        if intercept.session in content.sessions:
            content.intercepts[intercept.id] = intercept
        else:
            content.unreadable.append((row, f"its session {intercept.session!r} is not there"))
    return content


def _open(row: Row, read_object: Callable[[object], T], id_of: Callable[[T], str]) -> T:
    if row.id is None or row.body is None or row.digest is None:
        raise UnreadableError("a column is empty")
    try:
        key, body = row.id.decode(), row.body.decode()
        data: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"it is not what was written: {error}") from error
    if row.digest != digest_of(row.table, key, body).encode():
        raise UnreadableError("it is not what was written: its digest differs")
    value = read_object(data)
    if id_of(value) != key:
        raise UnreadableError(f"it is stored under the id {key!r}, which is not its own")
    return value
