"""What a laptop says of itself, and what the registry makes of it."""

from __future__ import annotations

from dataclasses import replace

from xds.registry import sessions
from xds.registry.intercept import Disposition, Intercept, InterceptSpec, PortMapping, Target
from xds.registry.match import Condition, Field, FieldKind, Match, Op
from xds.registry.session import Session, TargetHealth, TargetReport, Tunnel
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


def dialled(state: State, now: float, *up: str, present: bool = True) -> Session:
    targets = {TARGET: TargetReport(TargetHealth.LISTENING)} if present else None
    tunnel = Tunnel("envoy", frozenset(up))
    epoch = state.session("s-1").epoch
    state.apply(sessions.presence(state, "s-1", epoch=epoch, present=present, targets=targets, now=now, tunnel=tunnel))
    return state.session("s-1")


def test_a_laptop_whose_tunnel_is_down_is_present_and_out_of_reach() -> None:
    state = world()
    assert dialled(state, 10, "gw-1").reachable
    down = dialled(state, 20)
    assert (down.present, down.reachable, down.present_since) == (True, False, 20)
    up = dialled(state, 30, "gw-2")
    assert (up.reachable, up.present_since, up.returns) == (True, 30, down.returns + 1)


def test_a_tunnel_to_one_more_gateway_changes_nothing_of_the_way_to_the_laptop() -> None:
    state = world()
    before = dialled(state, 10, "gw-1")
    change = sessions.presence(
        state,
        "s-1",
        epoch=1,
        present=True,
        targets=before.targets,
        now=20,
        tunnel=Tunnel("envoy", frozenset({"a", "b"})),
    )
    assert not change.dirty
    state.apply(change)
    assert state.session("s-1").returns == before.returns


def test_absence_says_nothing_of_the_tunnel() -> None:
    state = world()
    dialled(state, 10, "gw-1")
    away = dialled(state, 20, present=False)
    assert (away.reachable, away.tunnel) == (False, Tunnel("envoy", frozenset({"gw-1"})))


def test_the_same_daemon_keeps_its_tunnels_name_and_another_one_gets_another() -> None:
    state = world()
    state.apply(sessions.resume(state, "s-1", host="laptop", address="", now=5, daemon="a" * 8))
    first = dialled(state, 10, "gw-1").node
    state.apply(sessions.resume(state, "s-1", host="laptop", address="", now=20, daemon="a" * 8))
    again = state.session("s-1")
    assert (again.node, again.tunnel) == (first, Tunnel("envoy", frozenset({"gw-1"})))
    state.apply(sessions.resume(state, "s-1", host="laptop", address="", now=30, daemon="b" * 8))
    other = state.session("s-1")
    assert other.node != first
    assert other.tunnel is None
