"""What sidecars are given of each workload, and what follows from what they say of it.

    dirty workload → rollout → compiled → served → acknowledged by every live sidecar → its intercepts are active
                        ▲                    └── refused → blamed → what all have acknowledged, then one by one
                        └──────────────────────────────────────────────────────────────────────────────┘

It changes nothing of the registry by itself: that an intercept is active, or rejected, is a change for `commit`.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from xds.compile import names
from xds.compile.workload import compile_workload
from xds.manager import publish as publishing
from xds.manager import reasons as because
from xds.manager.blame import Blame
from xds.manager.clock import Clock
from xds.manager.convergence import Convergence
from xds.manager.gateways import Gateways
from xds.manager.linger import Lingering
from xds.manager.recent import Askers
from xds.manager.rollout import Rollout
from xds.manager.sidecars import AWAITED, HEEDED, Sidecars
from xds.manager.store.errors import StoreError
from xds.registry import intercepts
from xds.registry.change import Change
from xds.registry.intercept import Disposition
from xds.registry.state import State
from xds.registry.workload import Workload, WorkloadId
from xds.serve.status import Nack, Observer, StreamInfo
from xds.serve.store import Store

log = logging.getLogger(__name__)


class Delivery(Observer):
    """The way of every workload's intercepts to its sidecars. `commit` and `owe` are the manager's."""

    def __init__(
        self,
        *,
        state: State,
        store: Store,
        sidecars: Sidecars,
        gateways: Gateways,
        clock: Clock,
        commit: Callable[[Change], None],
        owe: Callable[[Callable[[], Change]], None],
    ) -> None:
        self.askers = Askers()
        self.blame = Blame()
        self.convergence = Convergence()
        self._state = state
        self._store = store
        self._sidecars = sidecars
        self._gateways = gateways
        self._clock = clock
        self._commit = commit
        self._owe = owe
        self._rollouts: defaultdict[WorkloadId, Rollout] = defaultdict(Rollout)
        self._lingering: defaultdict[WorkloadId, Lingering] = defaultdict(Lingering)
        self._unsettled: set[WorkloadId] = set()
        """Workloads of which something was acknowledged that could not be stored yet."""

    def resume(self, key: WorkloadId) -> None:
        """Begin with a workload's intercepts as they were stored: those that were active had been acknowledged."""
        rollout = self._rollouts[key]
        here = self._state.of_workload(key)
        rollout.want(one.id for one in here if one.disposition.routed)
        rollout.trust(one.id for one in here if one.disposition is Disposition.ACTIVE)
        self.publish(key, because.STARTED)

    def catch_up(self) -> None:
        """Try again what could not be stored."""
        for workload in list(self._unsettled):
            self._review(workload)

    def forget(self, workload: Workload, reason: str) -> None:
        """Take everything away from a workload that is no more."""
        publishing.drop(self._store, workload, reason)
        self.askers.drop_all(workload.id)
        self._sidecars.forget(workload.id)
        self._rollouts.pop(workload.id, None)
        self._lingering.pop(workload.id, None)
        self._unsettled.discard(workload.id)
        self.convergence.forget(workload.id)

    def publish(self, key: WorkloadId, reason: str) -> None:
        """Give a workload's sidecars what follows from the registry's state, for this reason."""
        workload = self._state.workloads.get(key)
        if workload is None:
            return
        began, before = self._clock.now(), self._store.revision
        rollout = self._rollouts[key]
        proven = rollout.proven
        rollout.want(one.id for one in self._state.of_workload(key) if one.disposition.routed)
        wanted = publishing.workload_state(self._state, workload, rollout.publication(), self._clock)
        lingering = self._lingering[key].update(wanted.routed, acknowledged=proven, now=self._clock.now())
        asked = self.askers.of(key)
        compiled = compile_workload(replace(wanted, lingering=lingering, explaining=asked, gateways=self._gateways.all))
        revision = publishing.put(self._store, workload, compiled, reason)
        self._sidecars.require(key, revision)
        if revision != before and self._sidecars.connected(key):
            self.convergence.began(key, revision, began)
        self._review(key)

    def sweep(self) -> None:
        """Remove what has lingered for long enough."""
        now = self._clock.now()
        for key in [key for key, lingering in self._lingering.items() if lingering.due(now)]:
            self.publish(key, because.LINGERED)
        if self._gateways.due(now):
            self._gateways.publish(self._state, because.LINGERED, now=now)

    # What sidecars say (xds.serve.Observer)

    def on_connect(self, stream: StreamInfo) -> None:
        """A sidecar came, or a gateway."""
        if stream.view.group == names.GATEWAYS:
            self._gateways.came(stream)
            return
        self._heard(self._sidecars.came(stream))

    def on_disconnect(self, stream: StreamInfo) -> None:
        """A sidecar went, or a gateway: whoever waited for it waits no longer."""
        if stream.view.group == names.GATEWAYS:
            self._gateways.went(stream)
            self._gateways_moved()
            return
        key = self._sidecars.went(stream)
        if not self._sidecars.connected(key):
            self.convergence.forget(key)
        if key in self._rollouts and not self._sidecars.connected(key):
            self._rollouts[key].acquit()
            self.publish(key, because.LAST_WENT)
        self.blame.gone(stream.number)
        text = self.blame.left_alone(self._sidecars.streams(key))
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
            self._gateways.refused(stream, nack)
            self._gateways_moved()
            return
        key = WorkloadId.parse(stream.view.group)
        # A refusal of an older state says nothing of what is on its way already.
        if key in self._state.workloads and type_url in AWAITED and nack.revision >= self._sidecars.required(key):
            who = (stream.number, type_url)
            others = self._sidecars.streams(key) - {stream.number}
            if not self._rollouts[key].publication():
                self.blame.refused_nothing(who)
                self._rollouts[key].acquit()
                self.publish(key, because.NO_BLAME)
            elif not self.blame.excused(who) and not self.blame.is_newcomers(who, nack.text, others=others):
                if self.askers.drop_all(key):
                    # No intercept is to suffer for it, should it have been the twins that were refused.
                    self.publish(key, because.TAKEN_BACK)
                else:
                    self._isolate(key, nack.text)
        self._heard(key)

    def _isolate(self, key: WorkloadId, text: str) -> None:
        guilty = self._rollouts[key].refused()
        if guilty is not None:
            self._owe(partial(intercepts.reject, self._state, guilty, text))
        self.publish(key, because.TAKEN_BACK)

    def _gateways_moved(self) -> None:
        """Look again at what may have waited for the gateways alone."""
        self._gateways.progress.fire()
        if not self._gateways.behind():
            for key in {self._state.intercepts[one].spec.workload for one in self._pending(self._state.intercepts)}:
                self._heard(key)

    def _heard(self, key: WorkloadId) -> None:
        self.convergence.look(key, self._clock.now(), partial(self._behind, key))
        self._review(key)
        self._sidecars.progress[key].fire()

    def _review(self, key: WorkloadId) -> None:
        """Settle what every live sidecar of a workload has acknowledged by now."""
        if key not in self._state.workloads:
            return
        rollout = self._rollouts[key]
        published = rollout.publication()
        if not self._pending(published) and rollout.steady and key not in self._unsettled:
            return
        if self._behind(key):
            return
        if self._sidecars.connected(key):
            rollout.acknowledged()
        try:
            for intercept in filter(self._passes, self._pending(published)):
                self._commit(intercepts.settle(self._state, intercept))
        except StoreError as error:
            # It is tried again every second, for as long as the disk is full.
            if key not in self._unsettled:
                log.error("%s; it will be tried again", error, extra=error.about)
            self._unsettled.add(key)
        else:
            self._unsettled.discard(key)
        if rollout.publication() != published:
            self.publish(key, because.ON_TRIAL)

    def _passes(self, intercept: str) -> bool:
        """Whether the gateways let an intercept's requests through, where they have to."""
        session = self._state.session(self._state.intercepts[intercept].session)
        return session.tunnel is None or not self._gateways.behind()

    def _behind(self, key: WorkloadId, revision: int | None = None) -> bool:
        """Whether some live sidecar runs less than that of a workload, or than its newest state."""
        return self._sidecars.behind(
            key, revision, excused=lambda lag: self.blame.excused((lag.stream.number, lag.type_url))
        )

    def _pending(self, published: Iterable[str]) -> list[str]:
        known = self._state.intercepts
        return sorted(key for key in published if key in known and known[key].disposition is Disposition.PENDING)

    def begin_asking(self, key: WorkloadId, port: int) -> tuple[str, int]:
        """Give every route of a workload's port a twin that says its name to requests that bear the returned token.

        They are there from the returned revision on. Raises TooManyError. Whoever calls takes them away again with
        `end_asking`.
        """
        token = self.askers.add(key, port)
        self.publish(key, because.EXPLAIN_BEGINS)
        return token, self._sidecars.required(key)

    def end_asking(self, key: WorkloadId, token: str) -> None:
        """Take the twins of a token away."""
        if self.askers.drop(key, token):
            self.publish(key, because.EXPLAIN_ENDS)

    def published(self, key: WorkloadId) -> frozenset[str]:
        """The intercepts of a workload that its sidecars are to be given now."""
        return self._rollouts[key].publication() if key in self._rollouts else frozenset()
