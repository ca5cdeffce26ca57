"""Why requests don't reach an intercept: the way from its registration to the laptop, stage by stage.

    registered → compiled → sent → acknowledged → routed → laptop present → process listening → requests seen

Each stage is done, missing, not reached because of the one before, or unknown. Pure: what is so comes as `Facts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from xds.manager.counts import Counts
from xds.manager.recent import Ended
from xds.registry.conflict import duration
from xds.registry.intercept import Disposition, Intercept, PortMapping, WhenDown
from xds.registry.session import Session, TargetHealth, TargetReport


class State(StrEnum):
    """How a stage is."""

    DONE = "done"
    MISSING = "missing"
    UNKNOWN = "unknown"
    NOT_REACHED = "not reached"


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage. `advice` says what it means and what to do; empty where there is nothing to do."""

    name: str
    state: State
    text: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True)
class SidecarFacts:
    """How far the sidecar of one instance is. `lag` says what it has not acknowledged, `nack` is Envoy's text.

    `unbound` is its text about the listener of one of the intercept's ports, by which no request gets to it.
    """

    instance: str
    connected: bool = True
    sent: bool = True
    lag: str = ""
    nack: str = ""
    unbound: str = ""
    counts: Counts = field(default_factory=Counts)


@dataclass(frozen=True, slots=True)
class LastRequest:
    """The request that sidecars told of last: how many seconds ago, who answered (empty: nobody), how many in all."""

    ago: float
    served_by: str
    total: int


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known of an intercept. `now` in seconds of the registry's clock, as the times of the others.

    `session` is None where it has ended, and `ended` is set where the intercept has. `lost` is what it needs of its
    workload and isn't there. `compiled` is whether it is in what sidecars are to be given. `rival` is another
    intercept that takes `example`. `http` is whether any of its ports may carry requests. `last` is None where no
    request was told of since the manager was started.
    """

    intercept: Intercept
    session: Session | None
    now: float
    ended: Ended | None = None
    lost: str = ""
    compiled: bool = True
    sidecars: tuple[SidecarFacts, ...] = ()
    rival: Intercept | None = None
    example: str = ""
    curl: str = ""
    http: bool = True
    last: LastRequest | None = None


def stages(facts: Facts) -> list[Stage]:
    """Every stage, in order."""
    found: list[Stage] = []
    for check in (_registered, _compiled, _sent, _acknowledged, _routed):
        blocked = bool(found) and found[-1].state in {State.MISSING, State.NOT_REACHED} and not _some(facts, found[-1])
        stage = check(facts)
        found.append(Stage(stage.name, State.NOT_REACHED) if blocked else stage)
    found += [_laptop(facts), _process(facts)]
    requests = _requests(facts)
    reached = all(one.state is not State.NOT_REACHED for one in found)
    if requests.state is State.MISSING and not (reached and all(one.state is not State.MISSING for one in found)):
        requests = Stage(requests.name, State.NOT_REACHED, requests.text)
    return [*found, requests]


def _some(facts: Facts, stage: Stage) -> bool:
    """Whether a missing stage is missing at some sidecars alone, so that those after it matter to the others."""
    if stage.state is not State.MISSING or not facts.intercept.disposition.routed or facts.ended:
        return False
    if stage.name == "compiled":
        return facts.compiled
    good = {"sent": _is_sent, "acknowledged": _is_acknowledged}.get(stage.name)
    return good is not None and any(good(one) for one in facts.sidecars)


def _registered(facts: Facts) -> Stage:
    one = facts.intercept
    if facts.ended is not None:
        ended = facts.ended
        text = f"{_called(one)} was ended by {ended.by} {duration(facts.now - ended.at)} ago: {ended.text}"
        return Stage("registered", State.MISSING, text, "`byway intercept` with the same flags makes it again")
    if one.disposition is Disposition.DISPLACED:
        since = f" {duration(facts.now - one.displaced.since)} ago" if one.displaced else ""
        return Stage(
            "registered",
            State.MISSING,
            f"{_called(one)} is displaced{since}: {one.reason}",
            "it comes back by itself when nothing is in its way any more; `byway intercept` with the same flags claims "
            "it back as soon as the other owner is idle",
        )
    ports = ", ".join(str(number) for number in sorted(one.spec.numbers))
    return Stage("registered", State.DONE, f"{_called(one)} of {one.owner} on {one.spec.workload}, port {ports}")


def _called(intercept: Intercept) -> str:
    return f"{intercept.spec.name!r} ({intercept.id})"


def _compiled(facts: Facts) -> Stage:
    name = "compiled"
    if facts.lost:
        text = f"{facts.lost} is not there any more"
        return Stage(name, State.MISSING, text, "`byway list` shows what there is; it goes on when that is back")
    if facts.intercept.disposition is Disposition.REJECTED:
        return Stage(name, State.DONE, "it was, until it was refused")
    if not facts.compiled:
        return Stage(
            name,
            State.MISSING,
            "it is held back: a sidecar refused an intercept of the workload, and they are tried one by one",
            "wait a moment; `xdsctl status` shows how far each sidecar is",
        )
    return Stage(name, State.DONE, "it is in what the workload's sidecars are to be given")


def _is_sent(sidecar: SidecarFacts) -> bool:
    return sidecar.connected and sidecar.sent


def _sent(facts: Facts) -> Stage:
    name = "sent"
    if facts.intercept.disposition is Disposition.REJECTED:
        return Stage(name, State.DONE, "it was")
    if not facts.sidecars:
        text = f"{facts.intercept.spec.workload} has no running instance"
        return Stage(name, State.MISSING, text, "start one; `byway list` shows which are known")
    absent = [one.instance for one in facts.sidecars if not one.connected]
    behind = [one.instance for one in facts.sidecars if one.connected and not one.sent]
    if absent:
        text = f"{_of(absent, facts)} no sidecar is connected"
        advice = (
            f"requests to {', '.join(absent)} can't be intercepted until its sidecar is there: `byway sidecar "
            f"--workload {facts.intercept.spec.workload} --instance {absent[0]}` starts it, and its log says why it "
            "ended"
        )
        return Stage(name, State.MISSING, text, advice)
    if behind:
        text = f"{_of(behind, facts)} not yet: something sent before is not acknowledged"
        return Stage(name, State.MISSING, text, _STUCK)
    return Stage(name, State.DONE, f"to {', '.join(one.instance for one in facts.sidecars)}")


_STUCK = "its process may be stopped, or busy; `xdsctl status` shows how far it is"


def _of(those: list[str], facts: Facts) -> str:
    return f"{len(those)} of {len(facts.sidecars)} ({', '.join(those)}):"


def _is_acknowledged(sidecar: SidecarFacts) -> bool:
    return sidecar.connected and not sidecar.lag and not sidecar.nack


def _acknowledged(facts: Facts) -> Stage:
    name = "acknowledged"
    if facts.intercept.disposition is Disposition.REJECTED:
        return Stage(
            name,
            State.MISSING,
            f"Envoy refused it: {facts.intercept.reason}",
            f"Envoy's words name the condition; `byway leave {facts.intercept.spec.name}`, and make it again with "
            "another one. Other intercepts are not affected",
        )
    there = [one for one in facts.sidecars if one.connected]
    for one in there:
        if one.nack:
            advice = "it goes on with what it had before; `xdsctl status` shows what it refuses"
            return Stage(name, State.MISSING, f"{one.instance} refused: {one.nack}", advice)
    late = [one.instance for one in there if one.lag]
    if late:
        lag = next(one.lag for one in there if one.lag)
        return Stage(name, State.MISSING, f"{_of(late, facts)} not yet: {lag}", _STUCK)
    return Stage(name, State.DONE, f"by {', '.join(one.instance for one in there)}")


def _routed(facts: Facts) -> Stage:
    name = "routed"
    if facts.rival is not None:
        return Stage(
            name,
            State.MISSING,
            f"{_called(facts.rival)} of {facts.rival.owner} is asked before and takes the same requests, "
            f"such as {facts.example}",
            f"`byway explain {facts.intercept.spec.workload} 'GET /…'` says of a request who takes it, and why",
        )
    if unbound := [one for one in facts.sidecars if one.unbound]:
        return Stage(
            name,
            State.MISSING,
            f"{_of([one.instance for one in unbound], facts)} Envoy does not listen: {unbound[0].unbound}",
            "what is sent there does not pass through the sidecar; free the port or mend the instance's `listen` in "
            "the manager's file, and start that sidecar again",
        )
    if not facts.http:
        return Stage(name, State.UNKNOWN, "its ports carry connections, not requests")
    asked = [one for one in facts.sidecars if _is_acknowledged(one)]
    without = [one.instance for one in asked if not one.counts.routed and not one.counts.obstacle]
    if without:
        text = f"{_of(without, facts)} acknowledged, but its Envoy has no route of it"
        return Stage(name, State.MISSING, text, "that is a bug of Byway: please report it with `xdsctl get routes`")
    having = [one.instance for one in asked if one.counts.routed]
    if not having:
        why = next((one.counts.obstacle for one in asked), "no sidecar can be asked")
        return Stage(name, State.UNKNOWN, f"acknowledged; {why}")
    return Stage(name, State.DONE, f"Envoy of {', '.join(having)} has its routes")


def _laptop(facts: Facts) -> Stage:
    name = "laptop"
    session = facts.session
    if session is None:
        return Stage(name, State.NOT_REACHED, "the session has ended")
    tunnel = session.tunnel
    if session.reachable:
        way = f", with a tunnel to {', '.join(sorted(tunnel.up))} ({tunnel.kind})" if tunnel else ""
        return Stage(name, State.DONE, f"{session.host} is connected{way}")
    since = duration(facts.now - session.present_since)
    if session.present and tunnel:
        return Stage(
            name,
            State.MISSING,
            f"{session.host} is connected, but has no tunnel to any gateway since {since}"
            f"{f' ({tunnel.detail})' if tunnel.detail else ''}; {_meanwhile(facts.intercept)}",
            "`byway status` there says of each gateway what is wrong; `byway connect --reach direct` does without "
            "them, where sidecars reach the laptop's address",
        )
    return Stage(
        name,
        State.MISSING,
        f"{session.host} is away since {since}; {_meanwhile(facts.intercept)}",
        "is it awake, is it on the network, does its daemon run? `byway status` there says so, `byway connect` "
        "starts it",
    )


def _meanwhile(intercept: Intercept) -> str:
    if not intercept.disposition.routed or intercept.spec.when_down is WhenDown.CLUSTER:
        return "the app answers meanwhile"
    return "requests get 503 meanwhile (--when-down fail)"


def _process(facts: Facts) -> Stage:
    name = "process"
    session = facts.session
    if session is None:
        return Stage(name, State.NOT_REACHED)
    reports = [(one, session.targets.get(one.target, TargetReport())) for one in facts.intercept.spec.ports]
    bad = [(mapping, report) for mapping, report in reports if not report.health.usable]
    if bad:
        mapping, report = bad[0]
        text = f"{_reported(mapping, report)}; {_meanwhile(facts.intercept)}"
        return Stage(name, State.MISSING, text, _process_advice(mapping, report))
    if not session.present or any(report.health is TargetHealth.UNKNOWN for _, report in reports):
        return Stage(name, State.UNKNOWN, "the laptop has not said whether the process listens")
    return Stage(name, State.DONE, ", ".join(_reported(mapping, report) for mapping, report in reports))


def _reported(mapping: PortMapping, report: TargetReport) -> str:
    if not report.detail:
        return f"{mapping.target} is {report.health}"
    # After a semicolon it says what to do.
    detail = report.detail.partition("; ")[0]
    return detail if str(mapping.target) in detail else f"{mapping.target}: {detail}"


def _process_advice(mapping: PortMapping, report: TargetReport) -> str:
    if report.health is TargetHealth.STOPPED:
        return report.detail.partition("; ")[2] or "continue it: `fg` in its terminal, or `kill -CONT` from elsewhere"
    return (
        f"start your process so that it listens on {mapping.target}; if it listens on another port, "
        "`byway intercept --port` names that"
    )


def _requests(facts: Facts) -> Stage:
    name = "requests"
    if facts.ended is not None or not facts.intercept.disposition.routed:
        return Stage(name, State.NOT_REACHED)
    if not facts.http:
        return Stage(name, State.UNKNOWN, "connections are not counted")
    counted = [one for one in facts.sidecars if one.counts.routed]
    if not counted and facts.last is not None:
        return Stage(name, State.DONE, f"{facts.last.total} since the manager was started{_last(facts)}")
    if not counted:
        why = next((f"{one.instance}: {one.counts.obstacle}" for one in facts.sidecars if one.counts.obstacle), "")
        return Stage(name, State.UNKNOWN, why or "no sidecar can be asked")
    total = sum(one.counts.total for one in counted)
    if total:
        statuses: dict[str, int] = {}
        for one in counted:
            for status, count in one.counts.statuses.items():
                statuses[status] = statuses.get(status, 0) + count
        return Stage(name, State.DONE, f"{total} since the sidecars were started{_statuses(statuses)}{_last(facts)}")
    advice = f"send one{f': `{facts.curl}`' if facts.curl else ''}; " if facts.curl else ""
    return Stage(
        name,
        State.MISSING,
        "none has matched since the sidecars were started",
        f"{advice}`byway explain {facts.intercept.spec.workload} 'GET /…' -H …` says of a request why it doesn't match",
    )


ANSWERED = {
    "laptop": "the laptop answered it",
    "cluster": "the app answered it",
    "none": "Envoy answered it, since nobody else could",
}


def _last(facts: Facts) -> str:
    """When the last request came, and who answered it."""
    if facts.last is None:
        return ""
    answered = ANSWERED.get(facts.last.served_by, "nobody has answered it")
    return f"; the last one {duration(facts.last.ago)} ago, {answered}"


def _statuses(statuses: Mapping[str, int]) -> str:
    listed = ", ".join(f"{count} × {status}" for status, count in sorted(statuses.items()))
    return f": {listed}" if listed else ""
