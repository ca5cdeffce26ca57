"""Stores for the registry's machine: the real one on a file, and one in memory with the same codec and rules."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Protocol

from xds.manager.store import Loaded, SqliteStore
from xds.manager.store.codec import intercept_from_dict, session_from_dict
from xds.manager.store.times import doubted, intercept_row, session_row, shift_intercept, shift_session, to_keep
from xds.registry.change import Change
from xds.registry.session import Session
from xds.registry.state import State


class Keeper(Protocol):
    """Keeps changes, and gives back what it has when its process starts again."""

    def save(self, change: Change, *, now: float) -> None: ...
    def save_activity(self, state: State, *, now: float) -> None: ...
    def restart(self, *, now: float) -> Loaded: ...
    def close(self) -> None: ...


class Memory:
    """Rows as JSON text."""

    def __init__(self, *, now: float) -> None:
        self._shift = 1000.0 - now
        self._clock = 1000.0
        self._sequence = 0
        self._sessions: dict[str, str] = {}
        self._intercepts: dict[str, str] = {}

    def _kept(self, key: str) -> Session | None:
        row = self._sessions.get(key)
        return None if row is None else shift_session(session_from_dict(json.loads(row)), -self._shift)

    def save(self, change: Change, *, now: float) -> None:
        self._clock = max(self._clock, now + self._shift)
        self._sequence = max(self._sequence, change.sequence)
        for key, session in change.sessions.items():
            if session is None:
                self._sessions.pop(key, None)
            else:
                self._sessions[key] = json.dumps(session_row(to_keep(session, self._kept(key)), self._shift))
        for key, one in change.intercepts.items():
            if one is None:
                self._intercepts.pop(key, None)
            else:
                self._intercepts[key] = json.dumps(intercept_row(one, self._shift))

    def save_activity(self, state: State, *, now: float) -> None:
        self.save(Change(sessions=state.sessions), now=now)

    def restart(self, *, now: float) -> Loaded:
        self._shift = self._clock - now
        sessions = {key: doubted(one, now) for key in self._sessions if (one := self._kept(key)) is not None}
        intercepts = {
            key: shift_intercept(intercept_from_dict(json.loads(row)), -self._shift)
            for key, row in self._intercepts.items()
        }
        return Loaded(sessions, intercepts, self._sequence)

    def close(self) -> None:
        pass


class File:
    """The real store."""

    def __init__(self, *, now: float) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="byway-"))
        self._store, _ = SqliteStore.open(self._folder / "state.db", now=now)

    def save(self, change: Change, *, now: float) -> None:
        self._store.save(change, now=now)

    def save_activity(self, state: State, *, now: float) -> None:
        self._store.save_activity(state.sessions.values(), now=now)

    def restart(self, *, now: float) -> Loaded:
        self._store.close()
        self._store, loaded = SqliteStore.open(self._folder / "state.db", now=now)
        return loaded

    def close(self) -> None:
        self._store.close()
        shutil.rmtree(self._folder)
