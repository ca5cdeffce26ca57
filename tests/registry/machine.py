"""The registry under every sequence of commands that hypothesis can think of, beside the model of `model.py`."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.registry.keepers import File, Keeper, Memory
from tests.registry.model import KEY, MATCHES, WORKLOADS, Item, Model, Person, conflict
from xds.compile.state import reach
from xds.registry import errors, intercepts, sessions
from xds.registry.change import Change, EventKind
from xds.registry.comparison import Comparison
from xds.registry.intercept import Disposition, Intercept, InterceptSpec, Kind, PortMapping, Target
from xds.registry.match import Match
from xds.registry.overlap import Conflict, verdict
from xds.registry.session import Session, TargetHealth, TargetReport
from xds.registry.settings import Settings
from xds.registry.state import State
from xds.registry.workload import WorkloadId

TARGETS = (Target("localhost", 3000), Target("localhost", 3001))
PEOPLE = (("ann", "lap"), ("ann", "tower"), ("bob", "lap"), ("cat", "book"), ("dan", "book"))
PAUSES = (0.5, 30.0, 300.0, 599.0, 601.0, 601.0, 3600.0, 3600.0, 23 * 3600.0, 25 * 3600.0)
LATE = 120.0
"""How much less idle a session may look after a restart: the clock and the activity are each written once a minute."""


def _specs() -> list[InterceptSpec]:
    found = []
    ports = ((80,), (81,), (80, 81))
    for workload, match, numbers in itertools.product(WORKLOADS, MATCHES, ports):
        mapping = tuple(PortMapping(number, TARGETS[number - 80]) for number in numbers)
        found.append(InterceptSpec("", workload, mapping, match))
    for workload, shared, numbers in itertools.product(WORKLOADS, (False, True), ports):
        mapping = tuple(PortMapping(number, TARGETS[0]) for number in numbers)
        found.append(InterceptSpec("", workload, mapping, Match(), Kind.GLOBAL, shared))
    return found


SPECS = _specs()
PICK = st.integers(0, 11)
Picture = dict[WorkloadId, dict[str, Any]]


class Registry(RuleBasedStateMachine):
    """Steps are commands; after each the state is that of the model and every invariant holds."""

    steps: ClassVar[int] = 0
    """How many were taken in this process."""
    happened: ClassVar[Counter[EventKind]] = Counter()
    """What came of them."""
    file_runs: ClassVar[st.SearchStrategy[bool]] = st.integers(0, 19).map(lambda number: number == 7)

    def __init__(self) -> None:
        super().__init__()
        self.now = 5000.0
        self.state = State()
        self.state.apply(Change(workloads=dict(WORKLOADS)))
        self.model = Model()
        self.keeper: Keeper | None = None
        self.numbers = itertools.count(1)
        self.formers: dict[str, tuple[Intercept | None, tuple[str, Item] | None]] = {}
        self.prepared: list[tuple[str, Comparison]] = []
        self.ended: set[str] = set()
        self.sequence = 0

    @initialize(on_file=file_runs)
    def begin(self, on_file: bool) -> None:
        self.keeper = File(now=self.now) if on_file else Memory(now=self.now)
        for key, (user, host) in enumerate(PEOPLE[:3]):
            self._connect(f"s-{key}", user, host)

    def teardown(self) -> None:
        if self.keeper is not None:
            self.keeper.close()

    # What every command goes through

    @property
    def settings(self) -> Settings:
        return Settings(self.model.ttl, self.model.timeout, self.model.allow_global, KEY)

    def commit(self, change: Change) -> None:
        assert self.keeper is not None
        before = self.picture()
        self.keeper.save(change, now=self.now)
        self.state.apply(change)
        after = self.picture()
        assert change.dirty == {key for key in WORKLOADS if before[key] != after[key]}
        for event in change.events:
            self.happened[event.kind] += 1
            if event.kind is EventKind.SESSION_ENDED:
                self.ended.add(event.session.id)
        if change.intercepts and change.sequence:
            assert change.sequence > self.sequence, "a number is never given out twice"

    def picture(self) -> Picture:
        """All of each workload that sidecars are to know of."""
        found: Picture = {key: {} for key in WORKLOADS}
        for one in self.state.intercepts.values():
            if one.disposition.routed:
                session = self.state.sessions[one.session]
                away = [session.targets.get(mapping.target, TargetReport()) for mapping in one.spec.ports]
                found[one.spec.workload][one.id] = (
                    one.owner,
                    one.spec,
                    [reach(session, mapping.target) for mapping in one.spec.ports],
                    min((report.since for report in away if not report.health.usable), default=None)
                    if session.present
                    else session.present_since,
                )
        return found

    def someone(self, pick: int) -> str:
        return sorted(self.model.people)[pick % len(self.model.people)]

    def something(self, pick: int, wanted: Callable[[Item], bool] = lambda _: True) -> str | None:
        found = sorted(key for key, one in self.model.items.items() if wanted(one))
        return found[pick % len(found)] if found else None

    # Sessions

    def _connect(self, key: str, user: str, host: str) -> None:
        session = Session(key, user, host, f"hash-{key}", "10.0.0.1", last_activity=self.now)
        self.commit(sessions.connect(self.state, session))
        self.model.people[key] = Person(user, host, "10.0.0.1", self.now, token=f"hash-{key}")

    @precondition(lambda self: len(self.model.people) < len(PEOPLE))
    @rule(pick=PICK)
    def connect(self, pick: int) -> None:
        self._connect(f"s-{next(self.numbers) + 10}", *PEOPLE[pick % len(PEOPLE)])

    @precondition(lambda self: self.model.people)
    @rule(pick=PICK, host=st.sampled_from(["", "lap", "new"]), address=st.sampled_from(["10.0.0.1", "10.0.0.2"]))
    def resume(self, pick: int, host: str, address: str) -> None:
        key = self.someone(pick)
        self.commit(sessions.resume(self.state, key, host=host, address=address, now=self.now))
        one = self.model.people[key]
        one.host, one.address, one.epoch = host or one.host, address, one.epoch + 1

    @precondition(lambda self: self.model.people)
    @rule(pick=PICK)
    def adopt_after_the_token_was_lost(self, pick: int) -> None:
        key = self.someone(pick)
        one = self.model.people[key]
        token = f"hash-{next(self.numbers)}"
        self.commit(
            sessions.resume(self.state, key, host=one.host, address=one.address, now=self.now, token_hash=token)
        )
        one.epoch, one.active, one.token = one.epoch + 1, self.now, token

    @precondition(lambda self: self.model.people)
    @rule(pick=PICK, ago=st.sampled_from([0.0, 0.0, 5.0, 700.0, 1e6]))
    def activity(self, pick: int, ago: float) -> None:
        key = self.someone(pick)
        self.commit(sessions.activity(self.state, key, self.now - ago))
        self.model.people[key].active = max(self.model.people[key].active, self.now - ago)

    @precondition(lambda self: self.model.people)
    @rule(
        pick=PICK,
        present=st.booleans(),
        late=st.sampled_from([0, 0, 0, 1, -1]),
        said=st.none() | st.dictionaries(st.sampled_from(TARGETS), st.sampled_from(TargetHealth)),
        detail=st.sampled_from(["", "python (pid 7)"]),
    )
    def presence(
        self, pick: int, present: bool, late: int, said: dict[Target, TargetHealth] | None, detail: str
    ) -> None:
        key = self.someone(pick)
        one = self.model.people[key]
        reports = None if said is None else {target: TargetReport(health, detail) for target, health in said.items()}
        try:
            change = sessions.presence(
                self.state, key, epoch=one.epoch - late, present=present, targets=reports, now=self.now
            )
        except errors.StaleEpochError:
            assert late
            return
        assert not late
        self.commit(change)
        one.present = present
        if said is not None:
            known = self.state.sessions[key].targets
            assert {target: known[target].health for target in said} == said

    @precondition(lambda self: len(self.model.people) > 3)
    @rule(pick=PICK)
    def quit(self, pick: int) -> None:
        key = self.someone(pick)
        self.commit(sessions.end(self.state, key, by="x", text="quit"))
        self.model.quit(key)

    @rule(pause=st.sampled_from(PAUSES))
    def time_passes(self, pause: float) -> None:
        assert self.keeper is not None
        self.now += pause
        due = self.model.expired(self.now)
        self.commit(sessions.expire(self.state, self.settings, self.now))
        self.model.quit(*due)
        if pause >= 60:
            self.keeper.save_activity(self.state, now=self.now)

    # Intercepts

    @precondition(lambda self: self.model.people)
    @rule(pick=PICK, number=st.integers(0, len(SPECS) - 1), name=st.sampled_from("pqr"))
    def intercept(self, pick: int, number: int, name: str) -> None:
        self._create(self.someone(pick), replace(SPECS[number], name=name), None)

    @precondition(lambda self: self.model.people and self.model.items)
    @rule(pick=PICK, like=PICK, name=st.sampled_from("pqr"))
    def intercept_what_somebody_has(self, pick: int, like: int, name: str) -> None:
        key = self.something(like)
        assert key is not None
        self._create(self.someone(pick), replace(self.model.items[key].spec, name=name), None)

    @precondition(lambda self: self.model.people and self.model.items)
    @rule(
        pick=PICK,
        like=PICK,
        number=st.none() | st.integers(0, len(SPECS) - 1),
        name=st.sampled_from("pqr"),
    )
    def take_over(self, pick: int, like: int, number: int | None, name: str) -> None:
        """What somebody has, or something else, when everybody has been idle for long enough: chains are rare else."""
        self.time_passes(self.model.timeout + 1)
        if self.model.people:
            self.activity(pick, 0.0)
            key = self.something(like)
            spec = self.model.items[key].spec if number is None and key is not None else SPECS[number or 0]
            self._create(self.someone(pick), replace(spec, name=name), None)

    @rule(pick=PICK, idle=st.booleans(), like=st.none() | st.integers(0, len(SPECS) - 1))
    def reclaim(self, pick: int, idle: bool, like: int | None) -> None:
        """Whose intercept was displaced comes back to the keyboard and runs the command again, or a similar one."""
        if idle:
            self.time_passes(self.model.timeout + 1)
        key = self.something(pick, lambda one: one.state == "displaced")
        if key is not None:
            one = self.model.items[key]
            self.activity(sorted(self.model.people).index(one.session), 0.0)
            spec = one.spec if like is None else replace(SPECS[like], name=one.spec.name)
            self._create(one.session, spec, None)

    @precondition(lambda self: self.model.people)
    @rule(pick=PICK, number=st.integers(0, len(SPECS) - 1), name=st.sampled_from("pqr"))
    def compare_ahead(self, pick: int, number: int, name: str) -> None:
        comparison = Comparison(replace(SPECS[number], name=name))
        for other in comparison.pending(self.state):
            comparison.verdict(other)
        self.prepared.append((self.someone(pick), comparison))

    @precondition(lambda self: self.prepared)
    @rule()
    def create_what_was_compared_ahead(self) -> None:
        """Others have come and gone meanwhile."""
        session, comparison = self.prepared.pop(0)
        if session in self.model.people:
            self._create(session, comparison.spec, comparison)

    def _create(self, session: str, spec: InterceptSpec, comparison: Comparison | None) -> None:
        key = f"i-{next(self.numbers)}"
        former = self.state.named(session, spec.name)
        old = self.model.named(session, spec.name)
        model_former = (old, self.model.items[old]) if old else None
        expected = self.model.create(key, session, spec, self.now)
        try:
            change, warnings = intercepts.create(
                self.state, self.settings, session, spec, new_id=key, now=self.now, comparison=comparison
            )
        except errors.RegistryError as refusal:
            assert self._said(refusal, session) == expected  # noqa: PT017
        else:
            assert expected == ""
            assert not any(conflict(spec, other.spec) for other, _ in warnings)
            self.commit(change)
            self.formers[key] = (former, model_former)

    def _said(self, refusal: errors.RegistryError, session: str) -> str:
        """A refusal in the model's words."""
        if not isinstance(refusal, errors.ConflictError):
            return {errors.AlreadyExistsError: "exists", errors.NotAllowedError: "not allowed"}[type(refusal)]
        blocker = refusal.conflict.intercept
        owner = self.model.items[blocker].session
        assert self.model.blocks(owner, session, self.now)
        assert blocker in str(refusal)
        assert repr(refusal.conflict.name) in str(refusal)
        return f"conflict with {blocker}"

    @rule(pick=PICK)
    def settle(self, pick: int) -> None:
        key = self.something(pick)
        if key is not None:
            self.commit(intercepts.settle(self.state, key))
            one = self.model.items[key]
            one.state = "active" if one.state == "pending" else one.state
            self.formers.pop(key, None)

    @rule(pick=PICK)
    def reject(self, pick: int) -> None:
        key = self.something(pick, lambda one: one.routed)
        if key is not None:
            self.commit(intercepts.reject(self.state, key, "no"))
            self.model.items[key].state = "rejected"
            self.model.restore()

    @rule(pick=PICK)
    def leave_or_revoke(self, pick: int) -> None:
        key = self.something(pick)
        if key is not None:
            self.commit(intercepts.end(self.state, key, by="x", text="left"))
            self.model.end(key)

    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        """The creation of one that is pending, or was displaced meanwhile, does not complete."""
        created = sorted(self.formers)
        if created:
            key = created[pick % len(created)]
            former, model_former = self.formers.pop(key)
            one = self.model.items.get(key)
            if one is not None and one.state in {"pending", "displaced"}:
                self.commit(intercepts.roll_back(self.state, key, former=former, by="x", text="cancelled"))
                self.model.roll_back(key, model_former)

    @rule()
    def restore_finds_nothing_to_do(self) -> None:
        assert not intercepts.restore(self.state)

    # The world

    @rule(timeout=st.sampled_from([0.0, 600.0, 600.0, 7200.0]), allow=st.sampled_from([True, True, False]))
    def settings_change(self, timeout: float, allow: bool) -> None:
        self.model.timeout, self.model.allow_global = timeout, allow

    @rule(now=st.sampled_from([0.0, 77.0, 1e6]))
    def restart(self, now: float) -> None:
        """The manager was killed, and has been down for however long."""
        assert self.keeper is not None
        before, ages = self.state, {key: self.now - one.last_activity for key, one in self.state.sessions.items()}
        by = now - self.now
        loaded = self.keeper.restart(now=now)
        self.now = now
        self.state = State()
        self.state.apply(
            Change(
                sessions=loaded.sessions,
                intercepts=loaded.intercepts,
                workloads=dict(WORKLOADS),
                sequence=loaded.sequence,
            )
        )
        assert not self.ended & self.state.sessions.keys()
        assert self.state.sequence >= before.sequence
        assert self.state.sessions.keys() == before.sessions.keys()
        for key, session in self.state.sessions.items():
            age = now - session.last_activity
            assert max(0.0, ages[key] - LATE) - 1e-3 <= age <= ages[key] + 1e-3
            self.model.people[key].active = session.last_activity
        assert {key: _timeless(one) for key, one in self.state.intercepts.items()} == {
            key: _timeless(one) for key, one in before.intercepts.items()
        }
        for key, one in self.state.intercepts.items():
            if one.displaced is not None:
                assert self.model.items[key].by is not None
                self.model.items[key].by = (one.displaced.intercept, one.displaced.since)
                old = before.intercepts[key].displaced
                assert old is not None
                assert one.displaced.since >= old.since + by - 1e-3
        # The calls that waited for them have died with the process.
        self.formers.clear()
        self.prepared.clear()

    # What is always so

    @invariant()
    def the_state_is_the_models(self) -> None:
        type(self).steps += 1
        found = {
            key: (
                one.session,
                one.spec,
                one.sequence,
                one.disposition.value,
                (one.displaced.intercept, one.displaced.since) if one.displaced else None,
            )
            for key, one in self.state.intercepts.items()
        }
        assert found == {
            key: (one.session, one.spec, one.sequence, one.state, one.by) for key, one in self.model.items.items()
        }
        assert {
            key: (one.user, one.host, one.address, one.last_activity, one.epoch, one.token_hash, one.present)
            for key, one in self.state.sessions.items()
        } == {
            key: (one.user, one.host, one.address, one.active, one.epoch, one.token, one.present)
            for key, one in self.model.people.items()
        }
        for key, one in self.state.intercepts.items():
            assert one.owner == self.state.sessions[one.session].owner, key

    @invariant()
    def no_two_routed_intercepts_conflict(self) -> None:
        routed = [one for one in self.state.intercepts.values() if one.disposition.routed]
        for one, two in itertools.combinations(routed, 2):
            found = isinstance(verdict(one.spec, two.spec), Conflict)
            assert not found
            assert conflict(one.spec, two.spec) == found

    @invariant()
    def who_is_displaced_has_somebody_in_the_way(self) -> None:
        for one in self.state.intercepts.values():
            assert (one.displaced is not None) == (one.disposition is Disposition.DISPLACED)
            if one.displaced is not None:
                assert self.model.in_the_way(one.spec)

    @invariant()
    def numbers_only_grow(self) -> None:
        assert self.state.sequence >= self.sequence
        self.sequence = self.state.sequence
        numbers = [one.sequence for one in self.state.intercepts.values()]
        assert len(set(numbers)) == len(numbers)
        assert max(numbers, default=0) <= self.sequence

    @invariant()
    def the_indexes_say_what_is_there(self) -> None:
        every = sorted(self.state.intercepts.values(), key=lambda one: one.sequence)
        for key in WORKLOADS:
            assert self.state.of_workload(key) == [one for one in every if one.spec.workload == key]
        for session in {*self.state.sessions, *self.ended}:
            assert self.state.of_session(session) == [one for one in every if one.session == session]
        assert set(self.state._by_session) == {one.session for one in every}
        assert set(self.state._by_workload) == {one.spec.workload for one in every}


def _timeless(intercept: Intercept) -> Intercept:
    displaced = intercept.displaced
    return replace(intercept, displaced=replace(displaced, since=0.0) if displaced else None)
