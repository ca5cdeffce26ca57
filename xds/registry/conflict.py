"""A conflict in words: who is in the way, since when idle, which request both would take, and what can be done."""

from __future__ import annotations

from xds.registry import conditions, sessions
from xds.registry.errors import Conflict, ConflictError
from xds.registry.intercept import Intercept, InterceptSpec, Kind
from xds.registry.overlap import Conflict as ConflictVerdict
from xds.registry.session import Session
from xds.registry.settings import Settings
from xds.registry.state import State


def explain(
    state: State,
    session: Session,
    spec: InterceptSpec,
    blockers: list[tuple[Intercept, ConflictVerdict]],
    settings: Settings,
    now: float,
) -> ConflictError:
    """The error for an intercept that others are in the way of; the oldest of them is named."""
    other, verdict = blockers[0]
    owner = state.session(other.session)
    idle = max(0.0, now - owner.last_activity)
    port = min(verdict.ports)
    conflict = Conflict(
        intercept=other.id,
        name=other.spec.name,
        owner=owner.owner,
        yours=owner.user == session.user,
        port=port,
        idle=idle,
        witness=verdict.witness,
        proven=verdict.proven,
        others=len(blockers) - 1,
    )
    sentences = [
        _who(conflict, session, owner, spec, port),
        _which(conflict, spec, other),
        _what(conflict, owner, session),
    ]
    if not sessions.inactive(owner, settings, now) and not conflict.yours:
        left = settings.inactive_block_timeout - idle
        sentences.append(f"Or wait: after {duration(left)} more without activity of theirs yours will take over.")
    return ConflictError(" ".join(sentence for sentence in sentences if sentence), conflict)


def duration(seconds: float) -> str:
    """A time span for people: `45 s`, `9 min`, `3 h`."""
    if seconds < 60:
        return f"{max(0, round(seconds))} s"
    if seconds < 2 * 3600:
        return f"{round(seconds / 60)} min"
    return f"{round(seconds / 3600)} h"


def _who(conflict: Conflict, session: Session, owner: Session, spec: InterceptSpec, port: int) -> str:
    more = f" (and {conflict.others} more)" if conflict.others else ""
    if owner.id == session.id:
        return (
            f"your own intercept {conflict.name!r}{more} already takes such requests on port {port} of {spec.workload}."
        )
    if conflict.yours:
        return (
            f"intercept {conflict.name!r}{more} already takes such requests on port {port} of {spec.workload}: "
            f"it is you, on host {owner.host} (id {conflict.intercept}, idle for {duration(conflict.idle)})."
        )
    return (
        f"{owner.owner} already takes such requests on port {port} of {spec.workload} with intercept "
        f"{conflict.name!r}{more} (id {conflict.intercept}, idle for {duration(conflict.idle)})."
    )


def _which(conflict: Conflict, spec: InterceptSpec, other: Intercept) -> str:
    if not conflict.proven:
        return "The two could not be proved disjoint."
    if conflict.witness is None or Kind.PERSONAL not in {spec.kind, other.spec.kind}:
        return ""
    return f"Both would take: {conditions.describe_request(conflict.witness)}."


def _what(conflict: Conflict, owner: Session, session: Session) -> str:
    if owner.id == session.id:
        return f"`byway leave {conflict.name}` ends it."
    if conflict.yours:
        return "Leave it there with `byway leave`, or narrow this one with another --http-header or path."
    return "Narrow yours with another --http-header or path, or ask them to `byway leave`."
