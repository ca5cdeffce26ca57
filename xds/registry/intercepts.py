"""Commands on intercepts: create (with take-over), settle, reject, end, roll back, restore.

Check and creation are one step: the conflict is looked for in the very state that the change is made from. An
intercept whose owner is inactive keeps its place until somebody needs it; then it is *displaced* in the same step that
creates the newcomer's, and comes back when nothing is in its way any more. To oneself one can't be in the way from a
laptop that isn't there: on which else could one end it?
"""

from __future__ import annotations

from dataclasses import replace

from xds.registry import sessions
from xds.registry.change import Change, EventKind
from xds.registry.comparison import Comparison
from xds.registry.conflict import explain
from xds.registry.draft import Draft
from xds.registry.errors import AlreadyExistsError, InvalidError, NotAllowedError, NotFoundError
from xds.registry.intercept import Displacement, Disposition, Intercept, InterceptSpec, Kind
from xds.registry.match import FieldKind
from xds.registry.overlap import Conflict, Fine, Warn, admits_every_path
from xds.registry.settings import Settings
from xds.registry.state import State
from xds.registry.workload import AppProtocol, Port, Workload


def create(
    state: State,
    settings: Settings,
    session_key: str,
    spec: InterceptSpec,
    *,
    new_id: str,
    now: float,
    comparison: Comparison | None = None,
) -> tuple[Change, list[tuple[Intercept, Warn]]]:
    """Create an intercept, displacing those in its way whose owners are inactive, or the same user on a lost laptop.

    `comparison` holds what was compared ahead; whatever it lacks is compared here. Returns the change and the overlaps
    that are allowed but worth a warning. Raises NotFoundError, InvalidError, NotAllowedError, AlreadyExistsError,
    ConflictError.
    """
    session = state.session(session_key)
    check(state, settings, session_key, spec)
    draft = Draft(state)
    _reclaim(draft, session_key, spec)
    in_the_way, warnings = _overlapping(draft, comparison or Comparison(spec))
    blockers = [
        (other, verdict)
        for other, verdict in in_the_way
        if other.session == session_key or sessions.blocks(state.session(other.session), session, settings, now)
    ]
    if blockers:
        raise explain(state, session, spec, blockers, settings, now)
    intercept = Intercept(id=new_id, session=session.id, owner=session.owner, spec=spec, sequence=draft.next_sequence())
    for other, _ in in_the_way:
        _displace(draft, other, by=intercept, now=now)
    draft.put(intercept)
    draft.event(EventKind.INTERCEPT_CREATED, intercept, by=session.owner)
    # What was displaced may have been all that kept an older displaced one away.
    draft.restore()
    return draft.change(), warnings


def check(state: State, settings: Settings, session_key: str, spec: InterceptSpec) -> None:
    """Whether the spec may be asked for at all, whoever else is there. Raises as `create` does, but ConflictError."""
    _check_spec(state, settings, spec)
    same = state.named(session_key, spec.name)
    if same is not None and same.disposition.routed:
        raise AlreadyExistsError(
            f"you have an intercept named {spec.name!r} already ({same.disposition}); "
            f"`byway leave {spec.name}` ends it, --name gives this one another name"
        )


def _check_spec(state: State, settings: Settings, spec: InterceptSpec) -> None:
    workload = state.workloads.get(spec.workload)
    if workload is None:
        raise NotFoundError(f"there is no workload {spec.workload}; `byway list` shows what can be intercepted")
    if not spec.ports:
        raise InvalidError("--port: an intercept needs at least one port")
    if len(spec.numbers) != len(spec.ports):
        raise InvalidError("--port: the same port of the workload is named twice")
    if _takes_everybodys(spec) and not settings.allow_global_intercepts:
        raise NotAllowedError(
            "global intercepts are not allowed here (setting intercept.allowGlobalIntercepts); "
            "add --http-header auto to intercept only your own requests"
        )
    for mapping in spec.ports:
        port = workload.port(mapping.port)
        if port is None:
            known = ", ".join(map(str, workload.ports))
            raise InvalidError(f"--port: {spec.workload} has no port {mapping.port}; its ports are {known}")
        _check_protocol(port, workload, spec)


def _takes_everybodys(spec: InterceptSpec) -> bool:
    """Whether it takes every request of a port: one that says so with `--http-header all` is no less global,
    and neither is one with a path expression that leaves nothing out.
    """
    if spec.kind is not Kind.PERSONAL:
        return spec.kind is not Kind.MIRROR
    return all(one.field.kind is FieldKind.PATH and admits_every_path(one) for one in spec.match.conditions)


def _check_protocol(port: Port, workload: Workload, spec: InterceptSpec) -> None:
    if port.protocol is AppProtocol.UDP:
        raise InvalidError(f"--port: port {port} of {workload.id} is UDP; intercepting UDP: not yet")
    if spec.kind is not Kind.PERSONAL:
        return
    if port.protocol is AppProtocol.TLS:
        raise InvalidError(
            f"--port: port {port} of {workload.id} ends TLS in the app, so the sidecar can't see headers or paths "
            "there; without --http-* flags the whole port can be intercepted"
        )
    if not port.protocol.may_be_http:
        raise InvalidError(
            f"--port: port {port} of {workload.id} is declared {port.protocol}, not HTTP, so it has no headers or "
            "paths; without --http-* flags the whole port can be intercepted"
        )


def _reclaim(draft: Draft, session: str, spec: InterceptSpec) -> None:
    """Running `intercept` again on one's own displaced or rejected intercept replaces it, with a newcomer's rights."""
    same = draft.state.named(session, spec.name)
    if same is not None:
        draft.end(same, by=draft.session(session).owner, text="created again")


def _overlapping(
    draft: Draft, comparison: Comparison
) -> tuple[list[tuple[Intercept, Conflict]], list[tuple[Intercept, Warn]]]:
    conflicts: list[tuple[Intercept, Conflict]] = []
    warnings: list[tuple[Intercept, Warn]] = []
    for other in draft.of_workload(comparison.spec.workload):
        if other.disposition is Disposition.REJECTED:
            continue
        found = comparison.verdict(other)
        # Most are fine, and there may be thousands.
        if isinstance(found, Fine) or not other.disposition.routed:
            continue
        if isinstance(found, Conflict):
            conflicts.append((other, found))
        else:
            warnings.append((other, found))
    return conflicts, warnings


def _displace(draft: Draft, other: Intercept, *, by: Intercept, now: float) -> None:
    displaced = replace(
        other,
        disposition=Disposition.DISPLACED,
        displaced=Displacement(by.id, by.owner, now),
        reason=f"displaced by {by.owner}, whose intercept {by.spec.name!r} needs the same requests",
    )
    draft.put(displaced)
    draft.event(EventKind.INTERCEPT_DISPLACED, displaced, by=by.owner, text=displaced.reason)


def settle(state: State, key: str) -> Change:
    """Every live sidecar has acknowledged it: pending becomes active; anything else stays as it is."""
    intercept = state.intercepts.get(key)
    if intercept is None or intercept.disposition is not Disposition.PENDING:
        return Change()
    draft = Draft(state)
    active = replace(intercept, disposition=Disposition.ACTIVE)
    draft.put(active)
    draft.event(EventKind.INTERCEPT_ACTIVE, active)
    return draft.change()


def reject(state: State, key: str, text: str) -> Change:
    """Envoy refused it, with that text; what it displaced comes back."""
    intercept = state.intercepts.get(key)
    if intercept is None or not intercept.disposition.routed:
        return Change()
    draft = Draft(state)
    rejected = replace(intercept, disposition=Disposition.REJECTED, reason=text)
    draft.put(rejected)
    draft.event(EventKind.INTERCEPT_REJECTED, rejected, by="envoy", text=text)
    draft.restore()
    return draft.change()


def end(state: State, key: str, *, by: str, text: str) -> Change:
    """End an intercept (left, revoked); what it kept away comes back. Raises NotFoundError."""
    intercept = state.intercept(key)
    draft = Draft(state)
    draft.end(intercept, by=by, text=text)
    draft.restore()
    return draft.change()


def roll_back(state: State, key: str, *, former: Intercept | None, by: str, text: str) -> Change:
    """Undo a creation that did not complete; what it kept away comes back.

    `former` is what the session had under that name before: had it been displaced, it is so again, and nothing is lost
    by having tried to reclaim it. It comes after those that the attempt displaced: who fails to reclaim changes
    nothing. Raises NotFoundError.
    """
    draft = Draft(state)
    draft.end(state.intercept(key), by=by, text=text)
    draft.restore()
    if former is not None and former.disposition is Disposition.DISPLACED:
        again = replace(former, owner=state.session(former.session).owner)
        draft.put(again)
        by_whom = again.displaced.owner if again.displaced else ""
        draft.event(EventKind.INTERCEPT_DISPLACED, again, by=by_whom, text=again.reason)
        draft.restore()
    return draft.change()


def restore(state: State) -> Change:
    """Bring back every displaced intercept that nothing is in the way of.

    Each change does so for what it frees. This is for what a change left undecided for want of time, and for a store
    that has lost what was in the way.
    """
    draft = Draft(state)
    draft.restore(everywhere=True)
    return draft.change()
