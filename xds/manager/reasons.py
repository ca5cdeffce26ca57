"""Why sidecars are sent something, in words for whoever looks at what they were sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from xds.registry.change import Change, Event, EventKind
from xds.registry.intercept import Intercept, Target
from xds.registry.session import Session, TargetReport
from xds.registry.state import State
from xds.registry.workload import WorkloadId

STARTED: Final = "the manager started"
CERTIFIED: Final = "who gets a certificate, by the gateways and instances in the file"
GATEWAYS: Final = "the gateways in the file"
RENEWED: Final = "half of a certificate's life is over"
LINGERED: Final = "what ended a moment ago is cleaned up"
EXPLAIN_BEGINS: Final = "`byway explain --live` asks the sidecars"
EXPLAIN_ENDS: Final = "`byway explain --live` has its answer"
TAKEN_BACK: Final = "a sidecar refused the routes: back to what all have acknowledged"
NO_BLAME: Final = "a sidecar refuses even what has no intercepts: none is to blame, all are routed"
ON_TRIAL: Final = "after a refusal: the intercepts that came with it are tried again one by one"
LAST_WENT: Final = "the last sidecar went: intercepts under suspicion are routed again"
CHANGED: Final = "the registry changed"

_DONE = {
    EventKind.INTERCEPT_CREATED: "created",
    EventKind.INTERCEPT_DISPLACED: "displaced",
    EventKind.INTERCEPT_RESTORED: "restored",
    EventKind.INTERCEPT_REJECTED: "rejected",
    EventKind.INTERCEPT_ENDED: "ended",
}


def reasons(before: State, change: Change) -> Mapping[WorkloadId, str]:
    """For each workload that a change has compiled anew: why. `before` is the state without the change."""
    found: defaultdict[WorkloadId, list[str]] = defaultdict(list)
    for key, workload in change.workloads.items():
        known = key in before.workloads
        found[key].append(f"workload {'removed' if workload is None else 'changed' if known else 'added'} in the file")
    for event in change.events:
        if event.intercept is not None and event.kind in _DONE:
            found[event.intercept.spec.workload].append(_of_event(event, event.intercept))
    for session_id, session in change.sessions.items():
        old = before.sessions.get(session_id)
        if old is None or session is None:
            continue
        for intercept in before.of_session(session_id):
            found[intercept.spec.workload] += _of_session(old, session, intercept)
    return {key: "; ".join(dict.fromkeys(found[key])) or CHANGED for key in change.dirty | change.workloads.keys()}


def gateways_reason(before: State, change: Change, why: Iterable[str]) -> str:
    """Why gateways are given something anew: as sidecars are, or since other tunnels may be there."""
    tunnels = [text for key, new in change.sessions.items() for text in _of_tunnel(before.sessions.get(key), new)]
    return "; ".join(dict.fromkeys([*sorted(why), *tunnels])) or CHANGED


def _of_tunnel(old: Session | None, new: Session | None) -> Iterator[str]:
    if old is None and new is not None:
        yield f"session of {new.owner} started"
    elif old is not None and new is None:
        yield f"session of {old.owner} ended"
    elif old is not None and new is not None and old.node != new.node:
        yield f"another daemon of {new.owner}"


def _of_event(event: Event, intercept: Intercept) -> str:
    by = f" by {event.by}" if event.by else ""
    text = f": {event.text}" if event.text and event.kind is EventKind.INTERCEPT_ENDED else ""
    return f"intercept {intercept.id} {_DONE[event.kind]}{by}{text}"


def _of_session(old: Session, new: Session, intercept: Intercept) -> Iterator[str]:
    """What of a session's change shows in the resources of its intercept's workload."""
    if old.present != new.present:
        yield f"laptop of {new.owner} {'back' if new.present else 'away'}"
    elif old.reachable != new.reachable:
        yield f"tunnel of {new.owner} {'up' if new.reachable else 'down'}"
    if old.node != new.node:
        yield f"another daemon of {new.owner}"
    yield from _of_targets(old, new, (mapping.target for mapping in intercept.spec.ports))
    if old.address != new.address:
        yield f"laptop of {new.owner} has another address"
    elif old.owner != new.owner:
        yield f"{old.owner} is {new.owner} now"


def _of_targets(old: Session, new: Session, targets: Iterable[Target]) -> Iterator[str]:
    none = TargetReport()
    for target in targets:
        report = new.targets.get(target, none)
        was = old.targets.get(target, none)
        if report.health.usable != was.health.usable:
            yield f"{target} of {new.owner}: {report.health.value}"
