"""What a laptop says of itself, and what the registry makes of it."""

from __future__ import annotations

from dataclasses import replace

from xds.registry import sessions
from xds.registry.intercept import Disposition, Intercept, InterceptSpec, PortMapping, Target
from xds.registry.match import Condition, Field, FieldKind, Match, Op
from xds.registry.session import Session, TargetHealth, TargetReport
from xds.registry.state import State
from xds.registry.workload import WorkloadId

SHOP = WorkloadId("dev", "deployment", "shop")
TARGET = Target("localhost", 3000)
OTHER = Target("localhost", 4000)


def world() -> State:
    match = Match.of([Condition(Field(FieldKind.HEADER, "x-user"), Op.EXACT, "ann")])
    spec = InterceptSpec("shop", SHOP, (PortMapping(80, TARGET),), match)
    intercept = Intercept("i-1", "s-1", "ann@laptop", spec, sequence=1, disposition=Disposition.ACTIVE)
    state = State()
    session = Session("s-1", "ann", "laptop", "hash", "127.0.0.1", present=True)
    state.apply(replace(sessions.connect(state, session), intercepts={"i-1": intercept}))
    return state


def say(state: State, now: float, **health: TargetHealth) -> None:
    targets = {Target("localhost", int(port[1:])): TargetReport(one) for port, one in health.items()}
    state.apply(sessions.presence(state, "s-1", epoch=1, present=True, targets=targets, now=now))


def test_a_target_counts_its_returns_and_knows_since_when_it_is_as_it_is() -> None:
    state = world()
    say(state, 10, p3000=TargetHealth.LISTENING)
    say(state, 20, p3000=TargetHealth.STOPPED)
    say(state, 30, p3000=TargetHealth.NOT_LISTENING)
    report = state.session("s-1").targets[TARGET]
    assert (report.returns, report.since) == (0, 20)
    say(state, 40, p3000=TargetHealth.LISTENING)
    report = state.session("s-1").targets[TARGET]
    assert (report.returns, report.since) == (1, 40)


def test_a_needed_target_that_the_laptop_does_not_speak_of_stays_as_it_was() -> None:
    """A daemon that has just begun doesn't know yet what to look at; that must not make another generation of it."""
    state = world()
    say(state, 10, p3000=TargetHealth.STOPPED)
    say(state, 20, p3000=TargetHealth.LISTENING)
    before = state.session("s-1").targets
    say(state, 30)
    assert state.session("s-1").targets == before


def test_a_target_that_nothing_needs_any_more_is_forgotten() -> None:
    state = world()
    say(state, 10, p3000=TargetHealth.LISTENING, p4000=TargetHealth.LISTENING)
    say(state, 20, p3000=TargetHealth.LISTENING)
    assert OTHER not in state.session("s-1").targets
