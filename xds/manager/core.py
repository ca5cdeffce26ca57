"""The manager's heart: every change goes through `commit`, and from there to the sidecars and to the people.

    command → Change → stored → applied → compiled → served → acknowledged → settled

All of it runs on one event loop and `commit` does not await, so a check and what it decides are one step.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Protocol

from xds.compile import names
from xds.compile.workload import compile_workload
from xds.manager import publish
from xds.manager import reasons as because
from xds.manager.blame import Blame
from xds.manager.clock import Clock
from xds.manager.convergence import Convergence
from xds.manager.flapping import Flapping
from xds.manager.gateways import Gateways
from xds.manager.linger import Lingering
from xds.manager.logs import fields_of, log_events
from xds.manager.notify import Mailbox, Message, message, place_message
from xds.manager.recent import Askers, Obituaries
from xds.manager.requests.ledger import Ledger
from xds.manager.rollout import Rollout
from xds.manager.sidecars import AWAITED, HEEDED, Sidecars
from xds.manager.store.errors import StoreError
from xds.registry import intercepts
from xds.registry.change import Change, Event
from xds.registry.errors import RegistryError
from xds.registry.gateway import Gateway
from xds.registry.intercept import Disposition
from xds.registry.settings import Settings
from xds.registry.state import State
from xds.registry.workload import Workload, WorkloadId
from xds.serve.status import Nack, Observer, StreamInfo
from xds.serve.store import Store

log = logging.getLogger(__name__)


class Keeper(Protocol):
    """What stores changes before they are applied."""

    def save(self, change: Change, *, now: float) -> None:
        """Make a change durable, or raise and keep nothing of it."""


class Manager(Observer):
    """Registry, rollouts and the xDS store, kept in step."""

    def __init__(
        self, *, settings: Settings, clock: Clock, keeper: Keeper, audit: Callable[[tuple[Event, ...], str], None]
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.state = State()
        self.store = Store()
        self.sidecars = Sidecars()
        self.gateways = Gateways(self.store)
        self.mailboxes: defaultdict[str, Mailbox] = defaultdict(Mailbox)
        self.attended: dict[str, int] = {}
        """Sessions whose laptop has spoken since the start and not hung up, with the epoch that it spoke of."""
        self.flapping: defaultdict[str, Flapping] = defaultdict(Flapping)
        """By session with a tunnel, whether that may be used yet."""
        self.obituaries = Obituaries()
        self.askers = Askers()
        self.ledger = Ledger(self.state)
        self.comparing = asyncio.Lock()
        """Held while a newcomer is compared with others, in slices: one at a time, so that the loop stays free."""
        self.closing = False
        """The process is about to end. Laptops are no less there for it, whatever becomes of their streams."""
        self.convergence = Convergence()
        self._rollouts: defaultdict[WorkloadId, Rollout] = defaultdict(Rollout)
        self._lingering: defaultdict[WorkloadId, Lingering] = defaultdict(Lingering)
        self.blame = Blame()
        self._unsettled: set[WorkloadId] = set()
        self._owed: list[Callable[[], Change]] = []
        """What could not be stored yet: workloads to review again, and commands to give again."""
        self._keeper = keeper
        self._audit = audit

    def commit(self, change: Change, *, peer: str = "") -> None:
        """Make a change real: store, apply, publish, tell. Raises what the keeper raises, and then nothing changed."""
        if not change:
            return
        if change.sessions or change.intercepts:
            self._save(change)
        gone = [self.state.workloads[key] for key, new in change.workloads.items() if new is None]
        left = self._nodes_that_leave(change)
        why = because.reasons(self.state, change)
        lost = self._lost(change.workloads)
        gateways_too = self.gateways.concerned(self.state, change)
        gateways_why = because.gateways_reason(self.state, change, why.values())
        self.state.apply(change)
        # Before anything follows from it: what publishing settles is another change, with lines of its own.
        if change.events:
            self._audit(change.events, peer)
            log_events(change.events, peer)
            self.obituaries.note(change.events, self.clock.now())
        for workload in gone:
            self._forget(workload, why[workload.id])
        for one in [one for one, intercept in change.intercepts.items() if intercept is None]:
            self.ledger.forget(one)
        for key, nodes in left.items():
            publish.drop_nodes(self.store, nodes, why[key])
            self.sidecars.expel(nodes)
        # They are on the way to what sidecars are about to be given.
        if gateways_too:
            self.gateways.publish(self.state, gateways_why, now=self.clock.now())
        for key in change.dirty:
            self._publish(key, why[key])
        self._tell(change)
        for one, what in self._lost(change.workloads).items():
            if what != lost.get(one, ""):
                intercept = self.state.intercepts[one]
                self.tell(intercept.session, place_message(intercept, what))

    def _save(self, change: Change) -> None:
        try:
            self._keeper.save(change, now=self.clock.now())
        except StoreError as error:
            error.about = fields_of(change)
            raise

    def _nodes_that_leave(self, change: Change) -> dict[WorkloadId, list[str]]:
        """By workload, the nodes of instances that a change takes away."""
        left = {}
        for key, new in change.workloads.items():
            old = self.state.workloads.get(key)
            gone = old.instances.keys() - (new.instances.keys() if new else ()) if old else ()
            left[key] = [names.node(key, instance) for instance in sorted(gone)]
        return left

    def _lost(self, workloads: Iterable[WorkloadId]) -> dict[str, str]:
        """By intercept, what it needs of one of these workloads and is not there; empty where everything is."""
        return {one.id: self.state.lost(one.spec) for key in workloads for one in self.state.of_workload(key)}

    def change_settings(self, settings: Settings) -> None:
        """Go by other settings from now on; laptops hear of those that they show."""
        if settings != self.settings:
            self.settings = settings
            for mailbox in self.mailboxes.values():
                mailbox.pulse.fire()

    def change_gateways(self, gateways: Iterable[Gateway]) -> None:
        """These are the gateways from now on; sidecars and laptops hear of them."""
        if self.gateways.configure(gateways, self.state, because.GATEWAYS, now=self.clock.now()):
            for key in self.state.workloads:
                self._publish(key, because.GATEWAYS)
            for mailbox in self.mailboxes.values():
                mailbox.pulse.fire()

    def load(self, change: Change) -> None:
        """Take over what was stored before; nothing is stored again, nobody is told."""
        self.state.apply(change)
        self.gateways.publish(self.state, because.STARTED, now=self.clock.now())
        for key in change.dirty:
            rollout = self._rollouts[key]
            here = self.state.of_workload(key)
            rollout.want(one.id for one in here if one.disposition.routed)
            rollout.trust(one.id for one in here if one.disposition is Disposition.ACTIVE)
            self._publish(key, because.STARTED)

    def owe(self, command: Callable[[], Change], *, peer: str = "") -> None:
        """Commit what this command says, now or, where it can't be stored now, as soon as it can."""
        try:
            self.commit(command(), peer=peer)
        except StoreError as error:
            log.error("%s; it will be tried again", error, extra=error.about)
            self._owed.append(command)

    def catch_up(self) -> None:
        """Try again what could not be stored. Raises what the keeper raises."""
        while self._owed:
            with suppress(RegistryError):
                self.commit(self._owed[0]())
            self._owed.pop(0)
        for workload in list(self._unsettled):
            self._review(workload)

    def _forget(self, workload: Workload, reason: str) -> None:
        publish.drop(self.store, workload, reason)
        self.askers.drop_all(workload.id)
        self.sidecars.forget(workload.id)
        self._rollouts.pop(workload.id, None)
        self._lingering.pop(workload.id, None)
        self._unsettled.discard(workload.id)
        self.convergence.forget(workload.id)

    def _publish(self, key: WorkloadId, reason: str) -> None:
        workload = self.state.workloads.get(key)
        if workload is None:
            return
        began, before = self.clock.now(), self.store.revision
        rollout = self._rollouts[key]
        proven = rollout.proven
        rollout.want(one.id for one in self.state.of_workload(key) if one.disposition.routed)
        wanted = publish.workload_state(self.state, workload, rollout.publication(), self.clock)
        lingering = self._lingering[key].update(wanted.routed, acknowledged=proven, now=self.clock.now())
        asked = self.askers.of(key)
        compiled = compile_workload(replace(wanted, lingering=lingering, explaining=asked, gateways=self.gateways.all))
        revision = publish.put(self.store, workload, compiled, reason)
        self.sidecars.require(key, revision)
        if revision != before and self.sidecars.connected(key):
            self.convergence.began(key, revision, began)
        self._review(key)

    def sweep(self) -> None:
        """Remove what has lingered for long enough."""
        now = self.clock.now()
        for key in [key for key, lingering in self._lingering.items() if lingering.due(now)]:
            self._publish(key, because.LINGERED)
        if self.gateways.due(now):
            self.gateways.publish(self.state, because.LINGERED, now=now)

    def _tell(self, change: Change) -> None:
        sessions = set(change.sessions) | {one.session for one in change.intercepts.values() if one}
        ended = {key for key, value in change.sessions.items() if value is None}
        for event in change.events:
            sessions.add(event.session.id)
            if event.intercept is not None and event.session.id in ended:
                # That the session has ended says it all.
                continue
            if told := message(event):
                self.mailboxes[event.session.id].messages.append(told)
        for workload in change.dirty:
            sessions |= {one.session for one in self.state.of_workload(workload)}
            self.sidecars.progress[workload].fire()
        for session in sessions:
            self.mailboxes[session].pulse.fire()
            if session not in self.state.sessions:
                # Whoever attends it holds the box and empties it; nobody else ever will.
                del self.mailboxes[session]
                self.flapping.pop(session, None)

    def tell(self, session: str, told: Message) -> None:
        """Leave a message for a session's user."""
        self.mailboxes[session].messages.append(told)
        self.mailboxes[session].pulse.fire()

    # What sidecars say (xds.serve.Observer)

    def on_connect(self, stream: StreamInfo) -> None:
        """A sidecar came, or a gateway."""
        if stream.view.group == names.GATEWAYS:
            self.gateways.came(stream)
            return
        self._heard(self.sidecars.came(stream))

    def on_disconnect(self, stream: StreamInfo) -> None:
        """A sidecar went, or a gateway: whoever waited for it waits no longer."""
        if stream.view.group == names.GATEWAYS:
            self.gateways.went(stream)
            self._gateways_moved()
            return
        key = self.sidecars.went(stream)
        if not self.sidecars.connected(key):
            self.convergence.forget(key)
        if key in self._rollouts and not self.sidecars.connected(key):
            self._rollouts[key].acquit()
            self._publish(key, because.LAST_WENT)
        self.blame.gone(stream.number)
        text = self.blame.left_alone(self.sidecars.streams(key))
        if text is not None and key in self._rollouts:
            self._isolate(key, text)
        self._heard(key)

    def on_ack(self, stream: StreamInfo, type_url: str, revision: int) -> None:  # noqa: ARG002  the observer's shape
        """A sidecar acknowledged something, or a gateway."""
        if stream.view.group == names.GATEWAYS:
            self._gateways_moved()
            return
        if type_url in HEEDED:
            self.blame.acknowledged((stream.number, type_url))
            self._heard(WorkloadId.parse(stream.view.group))

    def on_nack(self, stream: StreamInfo, type_url: str, nack: Nack) -> None:
        """A sidecar refused something: find out whose intercept it was."""
        if stream.view.group == names.GATEWAYS:
            self.gateways.refused(stream, nack)
            self._gateways_moved()
            return
        key = WorkloadId.parse(stream.view.group)
        # A refusal of an older state says nothing of what is on its way already.
        if key in self.state.workloads and type_url in AWAITED and nack.revision >= self.sidecars.required(key):
            who = (stream.number, type_url)
            others = self.sidecars.streams(key) - {stream.number}
            if not self._rollouts[key].publication():
                self.blame.refused_nothing(who)
                self._rollouts[key].acquit()
                self._publish(key, because.NO_BLAME)
            elif not self.blame.excused(who) and not self.blame.is_newcomers(who, nack.text, others=others):
                if self.askers.drop_all(key):
                    # No intercept is to suffer for it, should it have been the twins that were refused.
                    self._publish(key, because.TAKEN_BACK)
                else:
                    self._isolate(key, nack.text)
        self._heard(key)

    def _isolate(self, key: WorkloadId, text: str) -> None:
        guilty = self._rollouts[key].refused()
        if guilty is not None:
            self.owe(partial(intercepts.reject, self.state, guilty, text))
        self._publish(key, because.TAKEN_BACK)

    def _gateways_moved(self) -> None:
        """Look again at what may have waited for the gateways alone."""
        self.gateways.progress.fire()
        if not self.gateways.behind():
            for key in {self.state.intercepts[one].spec.workload for one in self._pending(self.state.intercepts)}:
                self._heard(key)

    def _heard(self, key: WorkloadId) -> None:
        self.convergence.look(key, self.clock.now(), partial(self._behind, key))
        self._review(key)
        self.sidecars.progress[key].fire()

    def _review(self, key: WorkloadId) -> None:
        """Settle what every live sidecar of a workload has acknowledged by now."""
        if key not in self.state.workloads:
            return
        rollout = self._rollouts[key]
        published = rollout.publication()
        if not self._pending(published) and rollout.steady and key not in self._unsettled:
            return
        if self._behind(key):
            return
        if self.sidecars.connected(key):
            rollout.acknowledged()
        try:
            for intercept in filter(self._passes, self._pending(published)):
                self.commit(intercepts.settle(self.state, intercept))
        except StoreError as error:
            # It is tried again every second, for as long as the disk is full.
            if key not in self._unsettled:
                log.error("%s; it will be tried again", error, extra=error.about)
            self._unsettled.add(key)
        else:
            self._unsettled.discard(key)
        if rollout.publication() != published:
            self._publish(key, because.ON_TRIAL)

    def _passes(self, intercept: str) -> bool:
        """Whether the gateways let an intercept's requests through, where they have to."""
        session = self.state.session(self.state.intercepts[intercept].session)
        return session.tunnel is None or not self.gateways.behind()

    def _behind(self, key: WorkloadId, revision: int | None = None) -> bool:
        """Whether some live sidecar runs less than that of a workload, or than its newest state."""
        return self.sidecars.behind(
            key, revision, excused=lambda lag: self.blame.excused((lag.stream.number, lag.type_url))
        )

    def _pending(self, published: Iterable[str]) -> list[str]:
        known = self.state.intercepts
        return sorted(key for key in published if key in known and known[key].disposition is Disposition.PENDING)

    def begin_asking(self, key: WorkloadId, port: int) -> tuple[str, int]:
        """Give every route of a workload's port a twin that says its name to requests that bear the returned token.

        They are there from the returned revision on. Raises TooManyError. Whoever calls takes them away again with
        `end_asking`.
        """
        token = self.askers.add(key, port)
        self._publish(key, because.EXPLAIN_BEGINS)
        return token, self.sidecars.required(key)

    def end_asking(self, key: WorkloadId, token: str) -> None:
        """Take the twins of a token away."""
        if self.askers.drop(key, token):
            self._publish(key, because.EXPLAIN_ENDS)

    def published(self, key: WorkloadId) -> frozenset[str]:
        """The intercepts of a workload that its sidecars are to be given now."""
        return self._rollouts[key].publication() if key in self._rollouts else frozenset()
