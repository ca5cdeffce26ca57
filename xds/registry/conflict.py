"""A conflict in words: who is in the way, since when idle, which request both would take, and what can be done."""

from __future__ import annotations

from xds.registry import conditions
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
    conflict = Conflict(
        intercept=other.id,
        name=other.spec.name,
        owner=owner.owner,
        yours=owner.user == session.user,
        port=min(verdict.ports),
        idle=max(0.0, now - owner.last_activity),
        witness=verdict.witness,
        proven=verdict.proven,
        others=len(blockers) - 1,
    )
    sentences = [_who(conflict, session, owner, spec), _which(conflict, spec, other)]
    if owner.id == session.id:
        sentences.append(f"`byway leave {conflict.name}` ends it.")
    else:
        sentences += [_narrow(state, spec, other, conflict.port), _ask(conflict, owner)]
    sentences.append(_wait(state, session, blockers, settings, now))
    return ConflictError(" ".join(sentence for sentence in sentences if sentence), conflict)


def duration(seconds: float) -> str:
    """A time span for people: `45 s`, `9 min`, `3 h`."""
    if seconds < 60:
        return f"{max(0, round(seconds))} s"
    if seconds < 2 * 3600:
        return f"{round(seconds / 60)} min"
    return f"{round(seconds / 3600)} h"


def _who(conflict: Conflict, session: Session, owner: Session, spec: InterceptSpec) -> str:
    more = f" (and {conflict.others} more)" if conflict.others else ""
    takes = f"already takes such requests on port {conflict.port} of {spec.workload}"
    facts = f"(id {conflict.intercept}, idle for {duration(conflict.idle)})"
    if owner.id == session.id:
        return f"your own intercept {conflict.name!r}{more} {takes} {facts}."
    if conflict.yours:
        return f"intercept {conflict.name!r}{more} {takes}: it is you, on host {owner.host} {facts}."
    return f"{owner.owner} {takes} with intercept {conflict.name!r}{more} {facts}."


def _which(conflict: Conflict, spec: InterceptSpec, other: Intercept) -> str:
    if not conflict.proven:
        return "The two could not be proved disjoint."
    if Kind.PERSONAL not in {spec.kind, other.spec.kind}:
        return "Each takes all of the port."
    return f"Both would take: {conditions.describe_request(conflict.witness)}." if conflict.witness else ""


def _narrow(state: State, spec: InterceptSpec, other: Intercept, port: int) -> str:
    """How the newcomer could ask for less; empty where nothing less would do."""
    if other.spec.kind is Kind.PERSONAL:
        if spec.kind is Kind.PERSONAL:
            return "Narrow yours with another --http-header or path."
        return "With --shared yours leaves to personal intercepts what they claim."
    workload = state.workloads.get(spec.workload)
    there = workload.port(port) if workload else None
    if other.spec.shared and there is not None and there.protocol.may_be_http:
        return "With --http-header auto yours takes only your own requests, which goes beside it."
    return ""


def _ask(conflict: Conflict, owner: Session) -> str:
    if conflict.yours:
        return f"`byway leave {conflict.name}` on {owner.host} ends it."
    return (
        f"Ask {owner.user} to `byway leave {conflict.name}`; an administrator can `byway revoke {conflict.intercept}`."
    )


def _wait(
    state: State,
    session: Session,
    blockers: list[tuple[Intercept, ConflictVerdict]],
    settings: Settings,
    now: float,
) -> str:
    """From when on nobody in the way has the right to be; empty where one's own intercept is among them."""
    owners = [state.session(other.session) for other, _ in blockers]
    if any(owner.id == session.id for owner in owners):
        return ""
    left = settings.inactive_block_timeout - now + max(owner.last_activity for owner in owners)
    return f"Or wait: after {duration(left)} more without activity there, running this again takes over."
