"""What a command would do to the registry's state, and what people should hear of it.

Commands read the state and return a `Change`; nothing happens until the change is stored and then applied. So a full
disk refuses a change as a whole, and check and creation are one atomic step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from xds.registry.intercept import Intercept
from xds.registry.session import Session
from xds.registry.workload import Workload, WorkloadId


class EventKind(StrEnum):
    """What happened, in the words of the audit log."""

    SESSION_STARTED = "session started"
    SESSION_RESUMED = "session resumed"
    SESSION_ENDED = "session ended"
    INTERCEPT_CREATED = "intercept created"
    INTERCEPT_ACTIVE = "intercept active"
    INTERCEPT_DISPLACED = "intercept displaced"
    INTERCEPT_RESTORED = "intercept restored"
    INTERCEPT_REJECTED = "intercept rejected"
    INTERCEPT_ENDED = "intercept ended"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `by` is who caused it (user@host, or Byway itself); `text` says why."""

    kind: EventKind
    session: Session
    intercept: Intercept | None = None
    by: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """New values by id; None removes. `sequence` is the newest sequence number given out, 0 for unchanged."""

    sessions: Mapping[str, Session | None] = field(default_factory=dict)
    intercepts: Mapping[str, Intercept | None] = field(default_factory=dict)
    workloads: Mapping[WorkloadId, Workload | None] = field(default_factory=dict)
    sequence: int = 0
    events: tuple[Event, ...] = ()
    dirty: frozenset[WorkloadId] = frozenset()
    """Workloads whose resources have to be compiled anew."""

    def __bool__(self) -> bool:
        return bool(self.sessions or self.intercepts or self.workloads or self.events)
