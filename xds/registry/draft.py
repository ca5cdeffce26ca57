"""A change in the making: reads see what has been put into it, on top of the state."""

from __future__ import annotations

from dataclasses import replace

from xds.registry.change import Change, Event, EventKind
from xds.registry.intercept import Disposition, Intercept
from xds.registry.overlap import Budget, Conflict, verdict
from xds.registry.session import Session
from xds.registry.state import BY_AGE, State
from xds.registry.workload import WorkloadId

RESTORE_STEPS = 30_000
"""Steps of comparing for all that one change may bring back, about 25 ms; what is left over stays displaced."""


class Draft:
    """Collects new values and events; `change()` is what came of it."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._sessions: dict[str, Session | None] = {}
        self._intercepts: dict[str, Intercept | None] = {}
        self._events: list[Event] = []
        self._dirty: set[WorkloadId] = set()
        self._freed: list[Intercept] = []
        self._sequence = state.sequence

    def change(self) -> Change:
        """The collected change."""
        return Change(
            sessions=self._sessions,
            intercepts=self._intercepts,
            sequence=self._sequence if self._sequence > self.state.sequence else 0,
            events=tuple(self._events),
            dirty=frozenset(self._dirty),
        )

    def next_sequence(self) -> int:
        """A sequence number greater than any before."""
        self._sequence += 1
        return self._sequence

    def put_session(self, session: Session) -> None:
        """Set a session's new value."""
        self._sessions[session.id] = session

    def drop_session(self, session: Session) -> None:
        """Remove a session; its intercepts are ended by whoever calls."""
        self._sessions[session.id] = None

    def session(self, key: str) -> Session:
        """A session as it would be; raises NotFoundError."""
        return self._sessions.get(key) or self.state.session(key)

    def put(self, intercept: Intercept) -> None:
        """Set an intercept's new value; its workload is compiled anew where that shows in its routes."""
        old = self._intercepts.get(intercept.id, self.state.intercepts.get(intercept.id))
        if (old is not None and old.disposition.routed) != intercept.disposition.routed:
            self._dirty.add(intercept.spec.workload)
            if old is not None and old.disposition.routed:
                self._freed.append(old)
        self._intercepts[intercept.id] = intercept

    def touch(self, workload: WorkloadId) -> None:
        """Have a workload compiled anew."""
        self._dirty.add(workload)

    def event(self, kind: EventKind, intercept: Intercept, *, by: str = "", text: str = "") -> None:
        """Say what happened to an intercept."""
        self._events.append(Event(kind, self.session(intercept.session), intercept, by, text))

    def session_event(self, kind: EventKind, session: Session, *, by: str = "", text: str = "") -> None:
        """Say what happened to a session."""
        self._events.append(Event(kind, session, None, by, text))

    def of_workload(self, workload: WorkloadId) -> list[Intercept]:
        """A workload's intercepts as they would be, the oldest first."""
        there = self.state.of_workload(workload)
        if not self._intercepts:
            return there
        keys: dict[str, Intercept | None] = {one.id: one for one in there}
        for key, value in self._intercepts.items():
            if key in keys or (value is not None and value.spec.workload == workload):
                keys[key] = value
        return sorted((one for one in keys.values() if one is not None), key=BY_AGE)

    def end(self, intercept: Intercept, *, by: str, text: str) -> None:
        """End an intercept, whatever its disposition; what it displaced is restored by `restore`."""
        ended = replace(intercept, disposition=Disposition.ENDED, reason=text)
        self.event(EventKind.INTERCEPT_ENDED, ended, by=by, text=text)
        self._intercepts[intercept.id] = None
        if intercept.disposition.routed:
            self._dirty.add(intercept.spec.workload)
            self._freed.append(intercept)

    def restore(self, *, everywhere: bool = False) -> None:
        """Bring back, in creation order, each displaced intercept that no routed one conflicts with.

        Restoring never displaces: whoever is in the way stays, however idle. Only those are looked at that something
        freed by this change may have kept away, or all with `everywhere`.
        """
        budget = Budget(total=RESTORE_STEPS)
        # One that is displaced anew may be of another workload than what had reclaimed it.
        anew = [one for one in self._intercepts.values() if one is not None and self._is_new(one)]
        workloads = {one.spec.workload for one in (*self._freed, *anew)}
        if everywhere:
            workloads |= {one.spec.workload for one in self.state.intercepts.values()}
        for workload in sorted(workloads):
            there = self.of_workload(workload)
            freed = None if everywhere else [one for one in self._freed if one.spec.workload == workload]
            routed = [one for one in there if one.disposition.routed]
            for displaced in there:
                if displaced.disposition is not Disposition.DISPLACED:
                    continue
                if (freed is None or self._is_new(displaced) or _any_conflict(displaced, freed, budget)) and not (
                    _any_conflict(displaced, routed, budget)
                ):
                    routed.append(self._bring_back(displaced))

    def _is_new(self, displaced: Intercept) -> bool:
        """Whether it is displaced only since this change, by the end of what had reclaimed it."""
        return displaced.disposition is Disposition.DISPLACED and displaced.id not in self.state.intercepts

    def _bring_back(self, displaced: Intercept) -> Intercept:
        back = replace(displaced, disposition=Disposition.PENDING, displaced=None, reason="")
        self.put(back)
        self.event(EventKind.INTERCEPT_RESTORED, back, text="nothing is in its way any more")
        return back


def _any_conflict(intercept: Intercept, others: list[Intercept], budget: Budget) -> bool:
    return any(isinstance(verdict(intercept.spec, one.spec, budget=budget), Conflict) for one in others)
