"""What the manager knows of an intercept, for `xds.manager.why` to make stages of."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable
from pathlib import Path

import grpc

from xds.api.byway.manager import v1
from xds.compile import names
from xds.manager import counts
from xds.manager.core import Manager
from xds.manager.counts import Counts
from xds.manager.service.callers import CallError
from xds.manager.service.render import Renderer
from xds.manager.sidecars import AWAITED
from xds.manager.why import Facts, LastRequest, SidecarFacts, Stage, State, stages
from xds.registry.example import curl, describe_request
from xds.registry.explain import explain
from xds.registry.intercept import Intercept, Kind
from xds.registry.overlap import example_request
from xds.registry.request import Request
from xds.registry.session import Session
from xds.registry.workload import Workload
from xds.serve.resource import CLUSTER, ROUTE
from xds.serve.status import SyncState
from xds.serve.store import View

Sockets = Callable[[str, str], Path]
"""Where the admin interface of a workload's instance is."""

STATES = {
    State.DONE: v1.StageState.DONE,
    State.MISSING: v1.StageState.MISSING,
    State.UNKNOWN: v1.StageState.UNKNOWN,
    State.NOT_REACHED: v1.StageState.NOT_REACHED,
}


class Why:
    """Looks at one intercept for one session."""

    def __init__(self, manager: Manager, renderer: Renderer, session: Session, sockets: Sockets | None) -> None:
        self._manager = manager
        self._renderer = renderer
        self._session = session
        self._sockets = sockets

    async def run(self, request: v1.WhyRequest) -> v1.WhyReply:
        """The stages of the intercept of that name or id. Raises CallError."""
        facts = await self._facts(request.intercept)
        intercept = facts.intercept
        return v1.WhyReply(
            intercept=self._renderer.intercept(intercept, mine=intercept.owner == self._session.owner),
            stages=[stage_message(one) for one in stages(facts)],
            counts=[
                v1.RequestCount(
                    instance=one.instance,
                    total=one.counts.total,
                    statuses=dict(one.counts.statuses),
                    obstacle=one.counts.obstacle,
                )
                for one in facts.sidecars
            ],
        )

    async def _facts(self, text: str) -> Facts:
        state = self._manager.state
        intercept = state.named(self._session.id, text) or state.intercepts.get(text)
        now = self._manager.clock.now()
        if intercept is None:
            ended = self._manager.obituaries.find(text, self._session.owner)
            if ended is None:
                raise CallError(grpc.StatusCode.NOT_FOUND, _unknown(text, state.of_session(self._session.id)))
            session = state.sessions.get(ended.intercept.session)
            return Facts(ended.intercept, session, now, ended=ended)
        workload = state.workloads.get(intercept.spec.workload)
        session = state.sessions.get(intercept.session)
        if workload is None:
            return Facts(intercept, session, now, lost=state.lost(intercept.spec), compiled=False)
        sidecars = await asyncio.gather(
            *(self._sidecar(workload, one, intercept) for one in sorted(workload.instances))
        )
        example, rival = self._example(intercept, workload)
        return Facts(
            intercept,
            session,
            self._manager.clock.now(),
            lost=state.lost(intercept.spec),
            compiled=self._compiled(intercept, workload),
            sidecars=tuple(sidecars),
            rival=rival,
            example=describe_request(example) if example else "",
            curl=self._curl(example, workload, intercept),
            http=_may_be_http(workload, intercept),
            last=self._last(intercept),
        )

    def _last(self, intercept: Intercept) -> LastRequest | None:
        traffic = self._manager.ledger.traffic(intercept.id)
        # Whoever answers what reaches somebody else's laptop, and when, is not everybody's business.
        if traffic.last is None or intercept.session != self._session.id:
            return None
        ago = self._manager.clock.now() - traffic.last.heard
        return LastRequest(ago, traffic.last.record.served_by, traffic.total)

    def _compiled(self, intercept: Intercept, workload: Workload) -> bool:
        """Whether it shows in the resources: its routes bear its id, and so do the names of its clusters."""
        view = View(str(workload.id), str(workload.id))
        key = intercept.id
        if _may_be_http(workload, intercept):
            routes = self._manager.store.snapshot(view, ROUTE).resources.values()
            return any(key.encode() in one.body for one in routes)
        return any(f"/{key}/" in f"{name}/" for name in self._manager.store.snapshot(view, CLUSTER).resources)

    async def _sidecar(self, workload: Workload, instance: str, intercept: Intercept) -> SidecarFacts:
        manager = self._manager
        node = names.node(workload.id, instance)
        if node not in manager.sidecars.connected(workload.id):
            return SidecarFacts(
                instance, connected=False, sent=False, counts=Counts(obstacle="no sidecar is connected")
            )
        lags = [lag for lag in manager.sidecars.lagging(workload.id) if lag.stream.view.node == node]
        nacks = [lag.nack.text for lag in lags if lag.state is SyncState.NACKED and lag.nack]
        waiting = [lag for lag in lags if lag.state is not SyncState.NACKED]
        ports = [mapping.port for mapping in intercept.spec.ports]
        found = await self._counts(workload, instance, intercept)
        return SidecarFacts(
            instance,
            sent=self._sent(node),
            lag=f"{waiting[0].type_url.rpartition('.')[2]} {_lag(waiting[0].state)}" if waiting else "",
            nack=nacks[0] if nacks else "",
            unbound=manager.sidecars.unbound(workload, ports).get(node, ""),
            counts=found,
        )

    def _sent(self, node: str) -> bool:
        """Whether the newest state of each awaited type has gone out to a node."""
        for client in self._manager.sidecars.server.clients() if self._manager.sidecars.server else []:
            if client.stream.view.node != node:
                continue
            for type_url in AWAITED:
                status = client.types.get(type_url)
                snapshot = self._manager.store.snapshot(client.stream.view, type_url)
                if status is None:
                    if snapshot.resources:
                        return False
                    continue
                last = status.last_sent.revision if status.last_sent else 0
                if max(status.acked_revision, last) < snapshot.revision:
                    return False
        return True

    async def _counts(self, workload: Workload, instance: str, intercept: Intercept) -> Counts:
        if self._sockets is None:
            return Counts(obstacle="the manager can't reach the admin interfaces of sidecars here")
        return await counts.ask(self._sockets(str(workload.id), instance), intercept.id)

    def _example(self, intercept: Intercept, workload: Workload) -> tuple[Request | None, Intercept | None]:
        """A request that matches, and another intercept that takes it nevertheless."""
        personal = intercept.spec.kind is Kind.PERSONAL
        example = example_request(intercept.spec.match) if personal else Request()
        if example is None or not intercept.disposition.routed:
            return example, None
        there = self._manager.state.of_workload(workload.id)
        for number in sorted(intercept.spec.numbers):
            winner = explain(there, number, example, published=self._manager.delivery.published(workload.id)).winner
            if personal and winner is not None and winner.id != intercept.id:
                return example, winner
        return example, None

    def _curl(self, example: Request | None, workload: Workload, intercept: Intercept) -> str:
        for instance in workload.instances.values():
            for number in sorted(intercept.spec.numbers & instance.listen.keys()):
                if example is not None:
                    return shlex.join(curl(example, base=f"http://{instance.listen[number]}"))
        return ""


def _may_be_http(workload: Workload, intercept: Intercept) -> bool:
    ports = [workload.port(number) for number in intercept.spec.numbers]
    return any(port is not None and port.protocol.may_be_http for port in ports)


def _lag(state: SyncState) -> str:
    return "sent, not acknowledged" if state is SyncState.STALE else str(state).lower()


def stage_message(stage: Stage) -> v1.Stage:
    """A stage as the API says it."""
    return v1.Stage(name=stage.name, state=STATES[stage.state], text=stage.text, advice=stage.advice)


def _unknown(text: str, mine: list[Intercept]) -> str:
    known = ", ".join(one.spec.name for one in mine)
    yours = f"yours are {known}" if known else "you have none"
    return f"you have no intercept named {text!r}, and nobody has one of that id; {yours}, `byway list --all` shows all"
