"""All that the registry knows, with the indexes that questions need. Changed by `apply` alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from operator import attrgetter
from typing import TypeVar

from xds.registry.change import Change
from xds.registry.errors import NotFoundError
from xds.registry.intercept import Intercept, InterceptSpec
from xds.registry.session import Session
from xds.registry.workload import Workload, WorkloadId

K = TypeVar("K")
V = TypeVar("V")

BY_AGE = attrgetter("sequence")
"""Sorts intercepts, the oldest first."""


class State:
    """Workloads, sessions and the intercepts that have not ended."""

    def __init__(self) -> None:
        self.workloads: dict[WorkloadId, Workload] = {}
        self.sessions: dict[str, Session] = {}
        self.intercepts: dict[str, Intercept] = {}
        self.sequence = 0
        self._by_workload: defaultdict[WorkloadId, dict[str, None]] = defaultdict(dict)
        self._by_session: defaultdict[str, dict[str, None]] = defaultdict(dict)

    def apply(self, change: Change) -> None:
        """Make a change real. Cannot fail: whatever could be wrong with it was found when it was made."""
        for workload, value in change.workloads.items():
            _put(self.workloads, workload, value)
        for key, session in change.sessions.items():
            _put(self.sessions, key, session)
        for key, intercept in change.intercepts.items():
            self._unindex(key)
            _put(self.intercepts, key, intercept)
            if intercept is not None:
                self._by_workload[intercept.spec.workload][key] = None
                self._by_session[intercept.session][key] = None
        self.sequence = max(self.sequence, change.sequence)

    def _unindex(self, key: str) -> None:
        old = self.intercepts.get(key)
        if old is not None:
            for index, group in ((self._by_workload, old.spec.workload), (self._by_session, old.session)):
                index[group].pop(key, None)  # type: ignore[index]
                if not index[group]:  # type: ignore[index]
                    del index[group]  # type: ignore[arg-type]

    def of_workload(self, workload: WorkloadId) -> list[Intercept]:
        """A workload's intercepts, the oldest first."""
        return self._oldest_first(self._by_workload.get(workload, ()))

    def of_session(self, session: str) -> list[Intercept]:
        """A session's intercepts, the oldest first."""
        return self._oldest_first(self._by_session.get(session, ()))

    def _oldest_first(self, keys: Iterable[str]) -> list[Intercept]:
        return sorted(map(self.intercepts.__getitem__, keys), key=BY_AGE)

    def session(self, key: str) -> Session:
        """A session by id; raises NotFoundError."""
        try:
            return self.sessions[key]
        except KeyError:
            raise NotFoundError("the session has ended; run `byway connect`") from None

    def intercept(self, key: str) -> Intercept:
        """An intercept by id; raises NotFoundError."""
        try:
            return self.intercepts[key]
        except KeyError:
            raise NotFoundError(f"there is no intercept {key!r}; `byway list --all` shows them") from None

    def lost(self, spec: InterceptSpec, port: int = 0) -> str:
        """The workload, or the port of it, that is needed for a port (0: for any) and isn't there; empty: all is."""
        workload = self.workloads.get(spec.workload)
        if workload is None:
            return str(spec.workload)
        gone = [one.port for one in spec.ports if port in {0, one.port} and workload.port(one.port) is None]
        return f"port {gone[0]} of {spec.workload}" if gone else ""

    def named(self, session: str, name: str) -> Intercept | None:
        """A session's intercept of that name."""
        return next((one for one in self.of_session(session) if one.spec.name == name), None)


def _put(table: dict[K, V], key: K, value: V | None) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value
