"""The manager's heart: every change goes through `commit`, and from there to the sidecars and to the people.

    command → Change → stored → applied ─┬▶ told: audit log, mailboxes
                 ▲                       └▶ delivered to gateways and sidecars (`delivery`) ─┐
                 └───────────────────────── acknowledged, or refused ◀───────────────────────┘

All of it runs on one event loop and `commit` does not await, so a check and what it decides are one step.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Protocol

from xds.compile import names
from xds.manager import publish
from xds.manager import reasons as because
from xds.manager.clock import Clock
from xds.manager.delivery import Delivery
from xds.manager.flapping import Flapping
from xds.manager.gateways import Gateways
from xds.manager.logs import fields_of, log_events
from xds.manager.notify import Mailbox, Message, message, place_message
from xds.manager.recent import Obituaries
from xds.manager.requests.ledger import Ledger
from xds.manager.sidecars import Sidecars
from xds.manager.store.errors import StoreError
from xds.registry.change import Change, Event
from xds.registry.errors import RegistryError
from xds.registry.gateway import Gateway
from xds.registry.settings import Settings
from xds.registry.state import State
from xds.registry.workload import WorkloadId
from xds.serve.store import Store

log = logging.getLogger(__name__)


class Keeper(Protocol):
    """What stores changes before they are applied."""

    def save(self, change: Change, *, now: float) -> None:
        """Make a change durable, or raise and keep nothing of it."""


class Manager:
    """The registry, what is stored of it and what is delivered of it, kept in step."""

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
        self.ledger = Ledger(self.state)
        self.comparing = asyncio.Lock()
        """Held while a newcomer is compared with others, in slices: one at a time, so that the loop stays free."""
        self.closing = False
        """The process is about to end. Laptops are no less there for it, whatever becomes of their streams."""
        self.delivery = Delivery(
            state=self.state,
            store=self.store,
            sidecars=self.sidecars,
            gateways=self.gateways,
            clock=clock,
            commit=self.commit,
            owe=self.owe,
        )
        self._owed: list[Callable[[], Change]] = []
        """Commands that could not be stored yet, to be given again."""
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
            self.delivery.forget(workload, why[workload.id])
        for one in [one for one, intercept in change.intercepts.items() if intercept is None]:
            self.ledger.forget(one)
        for key, nodes in left.items():
            publish.drop_nodes(self.store, nodes, why[key])
            self.sidecars.expel(nodes)
        # They are on the way to what sidecars are about to be given.
        if gateways_too:
            self.gateways.publish(self.state, gateways_why, now=self.clock.now())
        for key in change.dirty:
            self.delivery.publish(key, why[key])
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
                self.delivery.publish(key, because.GATEWAYS)
            for mailbox in self.mailboxes.values():
                mailbox.pulse.fire()

    def load(self, change: Change) -> None:
        """Take over what was stored before; nothing is stored again, nobody is told."""
        self.state.apply(change)
        self.gateways.publish(self.state, because.STARTED, now=self.clock.now())
        for key in change.dirty:
            self.delivery.resume(key)

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
        self.delivery.catch_up()

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
