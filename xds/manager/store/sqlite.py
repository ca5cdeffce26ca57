"""The store on SQLite: what was answered is on the disk.

The manager stores a change first, then applies it in memory, then answers. `save` is one transaction in one of two
grades. A *lasting* change (a session or intercept made, changed or ended) is synced: with `synchronous=NORMAL` a
write-ahead log survives the death of the process, but the newest commits don't survive that of the machine. A
*passing* one (presence, activity) is written without a sync, so it survives `kill -9` and costs next to nothing; when
it can't be written nobody is refused anything, it is counted and written with the next `save_activity`.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from xds.manager.store.errors import StoreError
from xds.manager.store.file import open_file, refusal
from xds.manager.store.lock import StoreLock
from xds.manager.store.rows import (
    INTERCEPT,
    META,
    SESSION,
    STATE,
    Content,
    Meta,
    Statement,
    meta_of,
    meta_to_dict,
    set_aside,
)
from xds.manager.store.rows import put as put_row
from xds.manager.store.rows import remove as remove_row
from xds.manager.store.times import (
    doubted,
    intercept_row,
    same_but_passing,
    session_row,
    shift_intercept,
    shift_session,
    to_keep,
)
from xds.paths import private_dir
from xds.registry.change import Change
from xds.registry.intercept import Intercept
from xds.registry.session import Session


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the store held, times on the registry clock. `problems`: a sentence each, for the log and the audit log."""

    sessions: Mapping[str, Session] = field(default_factory=dict)
    intercepts: Mapping[str, Intercept] = field(default_factory=dict)
    sequence: int = 0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """Transactions since the store was opened; times in seconds. `problem` is the newest failure's text, and `broken`
    whether the newest transaction was that failure."""

    lasting: int = 0
    passing: int = 0
    failed: int = 0
    spent: float = 0.0
    slowest: float = 0.0
    problem: str = ""
    broken: bool = False


class SqliteStore:
    """Sessions, the intercepts that have not ended, and the newest sequence number.

    May be used from any thread; each call is one transaction and waits for its turn.
    """

    def __init__(self, path: Path, lock: StoreLock, connection: sqlite3.Connection, meta: Meta, now: float) -> None:
        self.path = path
        self._lock = lock
        self._connection = connection
        self._shift = meta.clock - now
        self._clock = meta.clock
        self._sequence = meta.sequence
        self._kept: dict[str, Session] = {}
        self._intercepts: set[str] = set()
        self._turn = threading.RLock()
        self._statistics = StoreStatistics()

    @classmethod
    def open(cls, path: Path, *, now: float) -> tuple[SqliteStore, Loaded]:
        """Open or make the store at `path`, in a directory that becomes private; `now` is the registry clock.

        Raises StoreError: it is in use, of a newer version, of another program, or can't be read or written.
        """
        try:
            private_dir(path.parent)
            lock = StoreLock.take(path)
        except OSError as error:
            raise _unusable(path, error) from error
        try:
            connection, content, problems = open_file(path)
            meta, more = meta_of(content, path)
            store = cls(path, lock, connection, meta, now)
            return store, store._load(content, [*problems, *more], now)
        except OSError as error:
            lock.release()
            raise _unusable(path, error) from error
        except BaseException:
            lock.release()
            raise

    def _load(self, content: Content, problems: list[str], now: float) -> Loaded:
        self._kept = {key: shift_session(one, -self._shift) for key, one in content.sessions.items()}
        self._intercepts = set(content.intercepts)
        for row, problem in content.unreadable:
            name = (row.id or b"").decode("utf-8", "backslashreplace")
            problems.append(f"the store {self.path}: {row.table} {name!r} was set aside in quarantine: {problem}")
        aside = [one for row, problem in content.unreadable for one in set_aside(row, problem)]
        self._write({}, {}, now=now, lasting=True, refused="it can't be opened", also=aside)
        # The tables are in the file before its disk can fill up: then changes to them need no more room there.
        with suppress(sqlite3.Error):
            self._move_log()
        return Loaded(
            sessions={key: doubted(one, now) for key, one in self._kept.items()},
            intercepts={key: shift_intercept(one, -self._shift) for key, one in content.intercepts.items()},
            sequence=self._sequence,
            problems=tuple(problems),
        )

    def save(self, change: Change, *, now: float) -> None:
        """Store a change; on return it is on the disk. `now` is the registry clock, seconds.

        Activity is stored only where it is due, presence and targets at once but without a sync. Raises StoreError
        (StoreFullError when there is no room) for what lasts; then nothing of the change is stored.
        """
        refused = f"not done: {_describe(change)}"
        with self._turn:
            sessions = {key: one for key, one in change.sessions.items() if self._due(key, one)}
            lasting = (
                change.sequence > self._sequence
                or any(self._lasts(key, one) for key, one in sessions.items())
                or any(one is not None or key in self._intercepts for key, one in change.intercepts.items())
            )
            if not (sessions or lasting):
                return
            try:
                self._write(
                    sessions, change.intercepts, now=now, sequence=change.sequence, lasting=lasting, refused=refused
                )
            except StoreError:
                # A laptop that went away must be routed around, and whoever is active goes on, whatever the disk says.
                if lasting:
                    raise

    def save_activity(self, sessions: Iterable[Session], *, now: float) -> None:
        """Bring the idle ages on disk up to date; call it once a minute and before `close`.

        Also writes what could not be written before. Not synced. Raises StoreError; the next call tries again.
        """
        with self._turn:
            due = {one.id: one for one in sessions if one.id in self._kept and self._due(one.id, one)}
            self._write(due, {}, now=now, refused="idle ages are not up to date on disk")

    def statistics(self) -> StoreStatistics:
        """Counters since opening."""
        return self._statistics

    def close(self) -> None:
        """Close the file and let another manager have it."""
        with self._turn:
            with suppress(sqlite3.Error):
                # Closing moves the log into the file; sync that too.
                self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.close()
            self._lock.release()

    def _due(self, key: str, session: Session | None) -> bool:
        kept = self._kept.get(key)
        if session is None or kept is None:
            return session is not kept
        keep = to_keep(session, kept)
        return (
            not same_but_passing(session, kept)
            or keep.last_activity != kept.last_activity
            or (session.present, session.returns, session.targets, session.tunnel)
            != (kept.present, kept.returns, kept.targets, kept.tunnel)
        )

    def _lasts(self, key: str, session: Session | None) -> bool:
        kept = self._kept.get(key)
        return session is None or kept is None or not same_but_passing(session, kept)

    def _write(
        self,
        sessions: Mapping[str, Session | None],
        intercepts: Mapping[str, Intercept | None],
        *,
        now: float,
        refused: str,
        lasting: bool = False,
        sequence: int = 0,
        also: Iterable[Statement] = (),
    ) -> None:
        keep = {key: one and to_keep(one, self._kept.get(key)) for key, one in sessions.items()}
        statements = list(also)
        for key, session in keep.items():
            statements.append(
                put_row(SESSION, key, session_row(session, self._shift)) if session else remove_row(SESSION, key)
            )
        for key, one in intercepts.items():
            statements.append(
                put_row(INTERCEPT, key, intercept_row(one, self._shift)) if one else remove_row(INTERCEPT, key)
            )
        meta = Meta(
            clock=max(self._clock, now + self._shift),
            sequence=max(self._sequence, sequence),
            sessions=_count(self._kept, sessions),
            intercepts=_count(self._intercepts, intercepts),
        )
        statements.append(put_row(META, STATE, meta_to_dict(meta)))
        self._transact(statements, lasting=lasting, refused=refused)
        self._clock, self._sequence = meta.clock, meta.sequence
        for key, session in keep.items():
            if session is None:
                self._kept.pop(key, None)
            else:
                self._kept[key] = session
        for key, one in intercepts.items():
            (self._intercepts.discard if one is None else self._intercepts.add)(key)

    def _transact(self, statements: list[Statement], *, lasting: bool, refused: str) -> None:
        begun = time.perf_counter()
        try:
            try:
                self._run(statements, lasting=lasting)
            except sqlite3.OperationalError:
                # The log is moved into the file and begins again at its start, in room that it has already. That also
                # overwrites a commit whose sync failed, which would come back after a restart although it was refused.
                self._move_log()
                self._run(statements, lasting=lasting)
        except sqlite3.Error as error:
            problem = refusal(error, self.path, refused)
            old = self._statistics
            self._statistics = replace(old, failed=old.failed + 1, problem=str(problem), broken=True)
            raise problem from error
        took = time.perf_counter() - begun
        old = self._statistics
        self._statistics = replace(
            old,
            lasting=old.lasting + lasting,
            passing=old.passing + (not lasting),
            spent=old.spent + took,
            slowest=max(old.slowest, took),
            broken=False,
        )

    def _move_log(self) -> None:
        self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()

    def _run(self, statements: list[Statement], *, lasting: bool) -> None:
        connection = self._connection
        connection.execute(f"PRAGMA synchronous = {'FULL' if lasting else 'NORMAL'}")
        connection.execute("BEGIN IMMEDIATE")
        try:
            for sql, parameters in statements:
                connection.execute(sql, parameters)
            connection.execute("COMMIT")
        except BaseException:
            # SQLite has rolled back by itself after some errors, a full disk among them.
            if connection.in_transaction:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            raise


def _count(there: Mapping[str, object] | set[str], changes: Mapping[str, object | None]) -> int:
    count = len(there)
    for key, value in changes.items():
        count += (value is not None) - (key in there)
    return count


def _describe(change: Change) -> str:
    """What a change would have done, in a few words."""
    words = [
        f"{event.kind} ({event.intercept.spec.name!r} of {event.session.owner})"
        if event.intercept
        else f"{event.kind} ({event.session.owner})"
        for event in change.events
    ]
    return ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "") or "a change"


def _unusable(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"the store {path} can't be used: {error.strerror or error}; look at the directory's owner and permissions and "
        "at the room on its disk, or name another state directory (--state-dir)"
    )
