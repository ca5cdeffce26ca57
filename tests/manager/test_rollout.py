"""A refused intercept never takes the others with it: the rollout alone, and the manager with sidecars that refuse."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xds.compile import names
from xds.manager.clock import Clock
from xds.manager.core import Manager
from xds.manager.rollout import Rollout
from xds.manager.sidecars import AWAITED
from xds.manager.store.errors import StoreError
from xds.registry import intercepts, sessions
from xds.registry.change import Change
from xds.registry.intercept import Disposition, InterceptSpec, PortMapping, Target
from xds.registry.match import Condition, Field, FieldKind, Match, Op
from xds.registry.session import Session
from xds.registry.settings import Settings
from xds.registry.workload import Address, AppProtocol, Instance, Port, Workload, WorkloadId
from xds.serve.resource import CLUSTER, ROUTE
from xds.serve.status import Lag, Nack, StreamInfo, SyncState, Variant
from xds.serve.store import View

IDS = [f"i-{number}" for number in range(8)]
SOME = st.sets(st.sampled_from(IDS))


class Envoys:
    """Sidecars that refuse any publication with a bad intercept in it, each with an opinion of its own."""

    def __init__(self, *bad: Iterable[str]) -> None:
        self.rollout = Rollout()
        self.wanted: list[str] = []
        self.rejected: list[str] = []
        self.published = [frozenset[str]()]
        self.bad = [frozenset(one) for one in bad]
        self.acked = {number: True for number in range(len(bad))}

    def want(self, ids: Iterable[str]) -> None:
        self.wanted = [one for one in ids if one not in self.rejected]
        self.rollout.want(self.wanted)
        self.publish()

    def publish(self) -> None:
        newest = self.rollout.publication()
        if newest != self.published[-1]:
            self.published.append(newest)
            self.acked = dict.fromkeys(self.acked, False)

    def answer(self, number: int) -> None:
        """One sidecar says what it makes of the newest publication, having missed those between."""
        if self.acked[number]:
            return
        newest = self.published[-1]
        if newest & self.bad[number]:
            proven = self.rollout.proven
            guilty = self.rollout.refused()
            if newest - proven:
                assert self.rollout.publication() == proven, "what every sidecar has acknowledged is out at once"
            if guilty:
                assert guilty in self.bad[number]
                self.rejected.append(guilty)
                self.wanted.remove(guilty)
                self.rollout.want(self.wanted)
            self.publish()
            return
        self.acked[number] = True
        if all(self.acked.values()):
            self.rollout.acknowledged()
            self.publish()

    def join(self, bad: Iterable[str]) -> None:
        self.bad.append(frozenset(bad))
        self.acked[len(self.bad) - 1] = False

    def quiesce(self) -> int:
        """Let everybody answer until nothing changes any more; returns how many publications it took."""
        before = len(self.published)
        for _ in range(1000):
            if all(self.acked.values()):
                return len(self.published) - before
            for number in self.acked:
                self.answer(number)
        raise AssertionError("it goes round in circles")

    def settled(self, *, guilty: Iterable[str]) -> None:
        """Exactly these are rejected, everything else is published, and nothing is under suspicion."""
        assert set(self.rejected) == set(guilty)
        assert self.published[-1] == set(self.wanted)
        assert self.rollout.publication() == set(self.wanted)


@given(before=SOME, added=SOME, bad=SOME)
def test_exactly_the_bad_ones_are_rejected_within_the_promised_number_of_publications(
    before: set[str], added: set[str], bad: set[str]
) -> None:
    envoys = Envoys(bad)
    envoys.want(sorted(before - bad))
    envoys.quiesce()
    assert not envoys.rejected
    fresh = added - before
    wanted = sorted((before - bad) | fresh)
    envoys.want(wanted)
    took = envoys.quiesce()
    envoys.settled(guilty=fresh & bad)
    if fresh & bad:
        # At most the way back, each suspect's trial, and the way back from each that was refused.
        assert took <= 1 + len(fresh) + len(fresh & bad)
    else:
        assert took == 0, "one publication, which is acknowledged"


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("want"), SOME), st.tuples(st.just("answer"), st.integers(0, 2)), st.just(("quiesce", None))
    ),
    max_size=40,
)


@settings(deadline=None)
@given(bad=SOME, actions=ACTIONS)
def test_whatever_the_order_of_wants_and_answers(bad: set[str], actions: list[tuple[str, object]]) -> None:
    envoys = Envoys(bad, bad, bad)
    ever: set[str] = set()
    for what, value in actions:
        if what == "want" and isinstance(value, set):
            # An id is never used again once it is gone.
            gone = ever - set(envoys.wanted)
            envoys.want(sorted(value - gone))
            ever |= set(envoys.wanted)
        elif what == "answer" and isinstance(value, int):
            envoys.answer(value)
        elif what == "quiesce":
            envoys.quiesce()
    envoys.quiesce()
    assert set(envoys.rejected) <= bad
    assert not set(envoys.wanted) & bad
    assert envoys.published[-1] == set(envoys.wanted)
    assert envoys.rollout.publication() == set(envoys.wanted)


@given(wanted=SOME, bad=SOME)
def test_what_was_acknowledged_and_is_refused_by_a_sidecar_that_came_later_is_found_too(
    wanted: set[str], bad: set[str]
) -> None:
    envoys = Envoys(())
    envoys.want(sorted(wanted))
    envoys.quiesce()
    envoys.join(bad)
    took = envoys.quiesce()
    envoys.settled(guilty=wanted & bad)
    assert took <= 1 + len(wanted) + len(wanted & bad)


def test_the_last_acknowledged_set_is_out_again_after_one_step() -> None:
    rollout = Rollout()
    rollout.want(["a", "b"])
    rollout.acknowledged()
    rollout.want(["a", "b", "c", "d"])
    assert rollout.refused() is None
    assert rollout.publication() == {"a", "b"}


def test_what_was_refused_is_not_published_again_while_its_rejection_is_not_stored() -> None:
    rollout = Rollout()
    rollout.want(["a"])
    assert rollout.refused() == "a"
    rollout.acknowledged()
    rollout.want(["a", "b"])
    assert rollout.publication() == {"b"}


def test_what_was_acknowledged_before_a_restart_is_not_suspected_first() -> None:
    rollout = Rollout()
    rollout.want(["old", "new"])
    rollout.trust(["old"])
    assert rollout.refused() == "new"
    assert rollout.publication() == {"old"}


# The manager, its store and its compiler, with sidecars of which only the opinion is made up

ORDERS = WorkloadId("dev", "deployment", "orders")
INSTANCES = {
    name: Instance(name, {80: Address("127.0.0.1", 1)}, {80: Address("127.0.0.1", 2)}) for name in ("one", "two", "odd")
}
WORKLOAD = Workload(ORDERS, (Port(80, "web", AppProtocol.HTTP),), instances=INSTANCES)


class Keeper:
    """Keeps nothing; may be full."""

    full = False

    def save(self, change: Change, *, now: float) -> None:
        if self.full:
            raise StoreError("the disk is full")


@dataclass
class Sidecar:
    """A connected Envoy, which refuses resources of one type by what stands in them."""

    manager: Manager
    stream: StreamInfo
    refuses: Callable[[bytes], bool]
    kind: str = ROUTE
    acked: dict[str, dict[str, str]] = field(default_factory=dict)
    refused: dict[str, dict[str, str]] = field(default_factory=dict)

    def meant(self, kind: str) -> dict[str, str]:
        found = self.manager.store.snapshot(self.stream.view, kind).resources
        return {name: one.version for name, one in found.items()}

    def answer(self) -> bool:
        """Say what it makes of what is new; False if nothing is."""
        news = [one for one in AWAITED if self.meant(one) not in (self.acked.get(one), self.refused.get(one))]
        for kind in news:
            found = self.manager.store.snapshot(self.stream.view, kind).resources
            if kind == self.kind and any(self.refuses(one.body) for one in found.values()):
                self.refused[kind] = self.meant(kind)
                nack = Nack("no such thing", self.manager.store.revision, self.refused[kind], 0.0)
                self.manager.delivery.on_nack(self.stream, kind, nack)
            else:
                self.refused.pop(kind, None)
                self.acked[kind] = self.meant(kind)
                self.manager.delivery.on_ack(self.stream, kind, self.manager.store.revision)
        return bool(news)

    def lag(self) -> list[Lag]:
        behind = [kind for kind in AWAITED if self.acked.get(kind) != self.meant(kind)]
        return [Lag(self.stream, kind, SyncState.STALE, None) for kind in behind]


class World:
    """A manager, and the server that it asks who lags."""

    def __init__(self) -> None:
        self.keeper = Keeper()
        self.events: list[str] = []
        self.manager = Manager(
            settings=Settings(),
            clock=Clock(),
            keeper=self.keeper,
            audit=lambda events, _: self.events.extend(str(event.kind) for event in events),
        )
        self.manager.sidecars.server = self  # type: ignore[assignment]
        self.sidecars: list[Sidecar] = []
        self.manager.commit(Change(workloads={ORDERS: WORKLOAD}, dirty=frozenset({ORDERS})))
        session = Session("s-1", "ann", "lap", "hash", "127.0.0.1", last_activity=self.manager.clock.now())
        self.manager.commit(sessions.connect(self.manager.state, session))

    def lagging(self, group: str, revision: int, types: Iterable[str]) -> list[Lag]:
        return [lag for one in self.sidecars for lag in one.lag()]

    def lag(self, group: str, stream: int, revision: int, types: Iterable[str]) -> list[Lag]:
        return [one for one in self.lagging(group, revision, types) if one.stream.number == stream]

    def connect(self, instance: str, refuses: Callable[[bytes], bool], kind: str = ROUTE) -> Sidecar:
        view = View(str(ORDERS), names.node(ORDERS, instance))
        stream = StreamInfo(len(self.sidecars) + 1, view, view.node, "envoy/1", "peer", Variant.DELTA, True, 0.0)
        self.sidecars.append(Sidecar(self.manager, stream, refuses, kind))
        self.manager.delivery.on_connect(stream)
        return self.sidecars[-1]

    def create(self, name: str) -> str:
        match = Match.of([Condition(Field(FieldKind.HEADER, "x-user"), Op.EXACT, name)])
        spec = InterceptSpec(name, ORDERS, (PortMapping(80, Target("localhost", 3000)),), match)
        manager = self.manager
        key = f"i-{name}"
        change, _ = intercepts.create(manager.state, manager.settings, "s-1", spec, new_id=key, now=manager.clock.now())
        manager.commit(change)
        return key

    def end(self, name: str) -> None:
        manager = self.manager
        manager.commit(intercepts.end(manager.state, f"i-{name}", by="ann@lap", text="left"))

    def quiesce(self) -> None:
        for _ in range(200):
            answered = [one.answer() for one in self.sidecars]
            if not any(answered):
                return
        raise AssertionError("it goes round in circles")

    def dispositions(self) -> dict[str, str]:
        return {one.spec.name: one.disposition.value for one in self.manager.state.intercepts.values()}

    def served(self) -> set[str]:
        found = self.manager.store.snapshot(View(str(ORDERS), names.node(ORDERS, "one")), ROUTE).resources
        bodies = b"".join(one.body for one in found.values())
        return {one.spec.name for one in self.manager.state.intercepts.values() if one.id.encode() in bodies}


def has_bad(body: bytes) -> bool:
    return b"bad" in body


@pytest.mark.parametrize("kind", [ROUTE, CLUSTER])
@pytest.mark.parametrize("order", [("good1", "bad", "good2"), ("bad1", "bad2", "good1"), ("good1", "good2", "bad")])
def test_the_manager_rejects_what_a_sidecar_refuses_and_serves_the_rest(kind: str, order: tuple[str, ...]) -> None:
    world = World()
    world.connect("one", lambda _: False)
    world.connect("two", has_bad, kind)
    world.quiesce()
    for name in order:
        world.create(name)
    world.quiesce()
    assert world.dispositions() == {name: "rejected" if name.startswith("bad") else "active" for name in order}
    assert world.served() == {name for name in order if name.startswith("good")}
    assert all("no such thing" in one.reason for one in world.manager.state.intercepts.values() if one.reason)


def test_a_sidecar_that_refuses_even_a_workload_without_intercepts_takes_nobodys_away() -> None:
    world = World()
    world.connect("one", has_bad)
    world.create("good1")
    world.quiesce()
    odd = world.connect("odd", lambda _: True)
    world.quiesce()
    assert world.dispositions() == {"good1": "active"}
    assert world.served() == {"good1"}
    world.create("good2")
    world.create("bad")
    world.quiesce()
    assert world.dispositions() == {"good1": "active", "good2": "active", "bad": "rejected"}
    assert odd.refused


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_newcomer_that_refuses_what_the_others_run_is_to_blame_itself(when: str) -> None:
    world = World()
    world.connect("one", lambda _: False)
    world.connect("two", lambda _: False)
    world.quiesce()
    if when == "before":
        world.create("bad1")
        world.quiesce()
    odd = world.connect("odd", has_bad)
    if when == "after":
        world.create("bad1")
    world.create("good")
    world.quiesce()
    assert world.dispositions() == {"bad1": "active", "good": "active"}
    assert world.served() == {"bad1", "good"}
    assert world.manager.delivery.blame.newcomer(odd.stream.number)
    # It is one of them as soon as it runs what they run.
    world.end("bad1")
    world.quiesce()
    assert not world.manager.delivery.blame.newcomer(odd.stream.number)
    world.create("bad2")
    world.quiesce()
    assert world.dispositions() == {"good": "active", "bad2": "rejected"}


def test_what_every_sidecar_refuses_is_rejected_were_they_all_newcomers() -> None:
    world = World()
    world.create("bad")
    world.create("good")
    for name in ("one", "two", "odd"):
        world.connect(name, has_bad)
    world.quiesce()
    assert world.dispositions() == {"bad": "rejected", "good": "active"}
    assert world.served() == {"good"}


def test_a_newcomer_that_is_left_alone_counts() -> None:
    world = World()
    one = world.connect("one", lambda _: False)
    world.quiesce()
    world.create("bad")
    world.create("good")
    world.quiesce()
    world.connect("odd", has_bad)
    world.quiesce()
    assert world.dispositions() == {"bad": "active", "good": "active"}
    world.sidecars.remove(one)
    world.manager.delivery.on_disconnect(one.stream)
    world.quiesce()
    assert world.dispositions() == {"bad": "rejected", "good": "active"}
    assert world.served() == {"good"}


def test_without_a_sidecar_nobody_stays_under_suspicion() -> None:
    world = World()
    one = world.connect("one", has_bad)
    world.quiesce()
    for name in ("good1", "bad", "good2"):
        world.create(name)
    while one.answer() and world.served() != set():
        pass
    world.sidecars.remove(one)
    world.manager.delivery.on_disconnect(one.stream)
    assert world.dispositions() == {"good1": "active", "bad": "active", "good2": "active"}
    world.connect("one", has_bad)
    world.quiesce()
    assert world.dispositions() == {"good1": "active", "bad": "rejected", "good2": "active"}


def test_what_the_store_refuses_meanwhile_is_settled_and_rejected_later() -> None:
    world = World()
    world.connect("one", has_bad)
    world.create("good")
    world.create("bad")
    world.keeper.full = True
    world.quiesce()
    assert world.served() == {"good"}
    assert world.dispositions() == {"good": "pending", "bad": "pending"}
    with pytest.raises(StoreError):
        world.manager.catch_up()
    world.keeper.full = False
    world.manager.catch_up()
    assert world.dispositions() == {"good": "active", "bad": "rejected"}


def test_what_can_not_be_settled_is_complained_of_once_per_outage(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.connect("one", has_bad)
    keys: list[str] = []
    for name in ("good1", "good2"):
        keys.append(world.create(name))
        world.keeper.full = True
        for _ in range(30):
            world.quiesce()
            world.manager.catch_up()
        told = [one for one in caplog.records if one.levelno == logging.ERROR]
        assert [(one.getMessage(), vars(one)["intercept"]) for one in told] == [
            ("the disk is full; it will be tried again", key) for key in keys
        ]
        assert world.dispositions()[name] == "pending"
        world.keeper.full = False
        world.manager.catch_up()
        assert world.dispositions()[name] == "active"


def test_the_audit_log_tells_of_a_creation_before_what_follows_from_it() -> None:
    world = World()
    key = world.create("good")
    assert world.manager.state.intercepts[key].disposition is Disposition.ACTIVE
    assert world.events[-2:] == ["intercept created", "intercept active"]


def test_a_session_that_ended_leaves_nothing_in_the_manager() -> None:
    world = World()
    world.create("good")
    manager = world.manager
    box = manager.mailboxes["s-1"]
    manager.commit(sessions.end(manager.state, "s-1", by="byway", text="its time is over"))
    assert "s-1" not in manager.mailboxes
    assert any("its time is over" in message.text for message in box.take()), "whoever attends is still told"
    assert not manager.state.intercepts
