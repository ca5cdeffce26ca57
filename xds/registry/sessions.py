"""Commands on sessions: connect, resume, activity, presence, the end.

Times are registry clock, in seconds; the caller owns the clock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from xds.registry.change import Change, EventKind
from xds.registry.draft import Draft
from xds.registry.errors import StaleEpochError
from xds.registry.intercept import Intercept, Target
from xds.registry.session import Session, TargetReport, Tunnel
from xds.registry.settings import Settings
from xds.registry.state import State

WARN_BEFORE = 3600.0
"""How long before its session ends a user is warned, seconds."""


def connect(state: State, session: Session) -> Change:
    """Start a new session."""
    draft = Draft(state)
    draft.put_session(session)
    draft.session_event(EventKind.SESSION_STARTED, session, by=session.owner)
    return draft.change()


def resume(
    state: State, key: str, *, host: str, address: str, now: float, token_hash: str | None = None, daemon: str = ""
) -> Change:
    """A new connection of an existing session: a higher epoch, from wherever the laptop is now.

    `token_hash` replaces the session's token where the old one was lost; somebody has asked for that, so it counts as
    activity. Resuming does not: a laptop does it by itself. Raises NotFoundError.
    """
    draft = Draft(state)
    old = state.session(key)
    session = replace(
        old,
        host=host or old.host,
        address=address,
        epoch=old.epoch + 1,
        token_hash=token_hash or old.token_hash,
        last_activity=max(old.last_activity, now) if token_hash else old.last_activity,
        daemon=daemon,
        # What another process said of its tunnel says nothing of this one's.
        tunnel=old.tunnel if daemon == old.daemon else None,
    )
    draft.put_session(session)
    if session.owner != old.owner:
        for intercept in state.of_session(key):
            draft.put(replace(intercept, owner=session.owner))
    _touch(draft, old, session)
    draft.session_event(EventKind.SESSION_RESUMED, session, by=session.owner)
    return draft.change()


def activity(state: State, key: str, at: float) -> Change:
    """The user did something at that time; an earlier time than is known changes nothing."""
    session = state.session(key)
    if at <= session.last_activity:
        return Change()
    draft = Draft(state)
    draft.put_session(replace(session, last_activity=at))
    return draft.change()


def presence(
    state: State,
    key: str,
    *,
    epoch: int,
    present: bool,
    targets: Mapping[Target, TargetReport] | None,
    now: float,
    tunnel: Tunnel | None = None,
) -> Change:
    """The laptop is there or not, and what it says of its targets (None: nothing new, of its tunnel neither).

    A target that an intercept needs and the laptop does not speak of stays as it was: a laptop that has just begun, or
    has not heard of a new intercept yet, does not mean that anything has changed there.

    Raises StaleEpochError when a newer connection of the session has taken over: two copies of a laptop must not steal
    from each other for ever.
    """
    session = state.session(key)
    if epoch != session.epoch:
        raise StaleEpochError(f"this session was taken over by a newer connection from {session.host}")
    reports = dict(session.targets)
    if targets is not None:
        needed = {mapping.target for one in state.of_session(key) for mapping in one.spec.ports}
        unsaid = {target: report for target, report in reports.items() if target in needed}
        reports = unsaid | _counted(session.targets, targets, now)
    way = session.tunnel if targets is None else tunnel
    if (present, reports, way) == (session.present, session.targets, session.tunnel):
        return Change()
    draft = Draft(state)
    updated = replace(session, present=present, targets=reports, tunnel=way)
    came = updated.reachable and not session.reachable
    if updated.reachable != session.reachable or present != session.present:
        updated = replace(updated, present_since=now, returns=session.returns + came)
    draft.put_session(updated)
    _touch(draft, session, updated)
    return draft.change()


def _counted(
    before: Mapping[Target, TargetReport], said: Mapping[Target, TargetReport], now: float
) -> dict[Target, TargetReport]:
    """The new reports, each with the count of its target's returns carried on."""
    counted = {}
    for target, report in said.items():
        old = before.get(target, TargetReport())
        same = report.health.usable == old.health.usable
        counted[target] = replace(
            report,
            returns=old.returns + (report.health.usable and not same),
            since=old.since if same else now,
        )
    return counted


def _touch(draft: Draft, old: Session, new: Session) -> None:
    """Have those workloads compiled anew whose resources show what has changed of the session."""
    for intercept in draft.state.of_session(new.id):
        if intercept.disposition.routed and (
            old.owner != new.owner or _as_reached(old, intercept) != _as_reached(new, intercept)
        ):
            draft.touch(intercept.spec.workload)


def _as_reached(session: Session, intercept: Intercept) -> object:
    """All of a session that shows in the resources of an intercept's workload, but its owner's name."""
    reports = [session.targets.get(mapping.target, TargetReport()) for mapping in intercept.spec.ports]
    ways = [(session.reachable and one.health.usable, session.returns, one.returns) for one in reports]
    silent = min((one.since for one in reports if not one.health.usable), default=None)
    where = session.address if session.tunnel is None else session.node
    return where, ways, silent if session.reachable else session.present_since


def end(state: State, key: str, *, by: str, text: str) -> Change:
    """End a session and every intercept of it; what they displaced comes back where it can."""
    return _end(state, [state.session(key)], by=by, text=text)


def _end(state: State, sessions: list[Session], *, by: str, text: str) -> Change:
    draft = Draft(state)
    for session in sessions:
        for intercept in state.of_session(session.id):
            draft.end(intercept, by=by, text=text)
        draft.session_event(EventKind.SESSION_ENDED, session, by=by, text=text)
        draft.drop_session(session)
    draft.restore()
    return draft.change()


def keep_users(state: State, users: Collection[str]) -> Change:
    """End each session whose user is none of these any more."""
    gone = [one for one in state.sessions.values() if one.user not in users]
    return _end(state, gone, by="byway", text="its user is not among the manager's users any more")


def expire(state: State, settings: Settings, now: float) -> Change:
    """End each session whose user did nothing for `grpc.connectionTTL`."""
    due = [one for one in state.sessions.values() if now - one.last_activity > settings.connection_ttl]
    return _end(state, due, by="byway", text="its user did nothing for the time that grpc.connectionTTL gives")


def inactive(session: Session, settings: Settings, now: float) -> bool:
    """Whether a session has lost the right to block others."""
    return now - session.last_activity > settings.inactive_block_timeout


def blocks(owner: Session, newcomer: Session, settings: Settings, now: float) -> bool:
    """Whether what a session has keeps another session's intercepts away: nobody conflicts with a ghost of himself."""
    ghost = owner.user == newcomer.user and not owner.present
    return not ghost and not inactive(owner, settings, now)
