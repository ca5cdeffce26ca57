"""Which intercept takes a request: the registry's answer and, while the call lasts, that of the sidecars themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import grpc

from xds.api.byway.manager import v1
from xds.compile import names
from xds.compile.twin import ASKED
from xds.manager.core import Manager
from xds.manager.recent import TooManyError
from xds.manager.service.callers import CallError
from xds.manager.service.read import find_workload, http_port
from xds.manager.service.render import Renderer
from xds.registry.conditions import flag_of, text_of
from xds.registry.conflict import duration
from xds.registry.example import describe_request
from xds.registry.explain import Candidate, Explanation, Verdict, explain
from xds.registry.request import Request
from xds.registry.requestline import head, parse_request
from xds.registry.session import Session
from xds.registry.workload import Port, Workload

LASTS = 10.0
"""Seconds for which sidecars answer with their routes' names at most."""
IN_FORCE = 3.0
"""Seconds to wait until sidecars do so; one that is stuck is not asked."""

VERDICTS = {
    Verdict.FAILS: v1.CandidateVerdict.FAILS,
    Verdict.TAKES: v1.CandidateVerdict.TAKES,
    Verdict.OUTRANKED: v1.CandidateVerdict.OUTRANKED,
    Verdict.NOT_ASKED: v1.CandidateVerdict.NOT_ASKED,
}


class Explaining:
    """Explains one request to one session."""

    def __init__(self, manager: Manager, renderer: Renderer, session: Session) -> None:
        self._manager = manager
        self._renderer = renderer
        self._session = session

    async def run(self, request: v1.ExplainRequest) -> AsyncGenerator[v1.ExplainReply]:
        """One reply; with `live` the sidecars answer until the call ends. Raises RegistryError, CallError."""
        manager = self._manager
        workload = find_workload(manager.state, request.workload, request.namespace)
        port = http_port(request.port, workload)
        asked = parse_request(request.request_line, request.headers)
        if not request.live:
            yield self._reply(workload, port, asked)
            return
        try:
            token, revision = manager.delivery.begin_asking(workload.id, port.number)
        except TooManyError as error:
            raise CallError(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error)) from None
        try:
            await manager.sidecars.in_force([workload.id], seconds=IN_FORCE)
            reply = self._reply(workload, port, asked)
            reply.live = self._question(workload, port, asked, reply.winner, token, revision)
            yield reply
            await asyncio.sleep(LASTS)
        finally:
            manager.delivery.end_asking(workload.id, token)

    def _reply(self, workload: Workload, port: Port, request: Request) -> v1.ExplainReply:
        manager = self._manager
        found = explain(
            manager.state.of_workload(workload.id),
            port.number,
            request,
            session=self._session.id,
            published=manager.delivery.published(workload.id),
        )
        winner = found.winner
        return v1.ExplainReply(
            workload=str(workload.id),
            port=v1.Port(number=port.number, name=port.name, protocol=port.protocol),
            request=describe_request(request),
            winner=winner.id if winner else "",
            answered_by=self._renderer.answered_by(winner, port.number) if winner else "",
            candidates=[self._candidate(one) for one in found.candidates],
            hints=[*found.hints, *self._lost(workload, found)],
            sidecars=list(self._renderer.sidecars(workload)),
        )

    def _candidate(self, candidate: Candidate) -> v1.Candidate:
        intercept = candidate.intercept
        failed = candidate.condition
        mine = intercept.session == self._session.id
        return v1.Candidate(
            id=intercept.id,
            name=intercept.spec.name,
            owner=intercept.owner,
            mine=mine,
            match_flags=self._renderer.match_flags(intercept),
            kind=intercept.spec.kind,
            shared=intercept.spec.shared,
            verdict=VERDICTS[candidate.verdict],
            why=candidate.why,
            condition=f"{flag_of(failed.field, failed.op)} {text_of(failed)}" if failed else "",
            more=candidate.more,
            hints=list(candidate.hints),
        )

    def _lost(self, workload: Workload, found: Explanation) -> list[str]:
        """What others ended of the caller's own intercepts, where there is none of that name again."""
        there = {one.intercept.spec.name for one in found.candidates if one.intercept.session == self._session.id}
        now = self._manager.clock.now()
        lost: dict[str, str] = {}
        for one in self._manager.obituaries.taken_from(self._session.owner, workload.id):
            name = one.intercept.spec.name
            if name not in there:
                age = duration(now - one.at)
                lost.setdefault(name, f"your intercept {name!r} was ended by {one.by} {age} ago: {one.text}")
        return list(lost.values())

    def _question(
        self, workload: Workload, port: Port, request: Request, winner: str, token: str, revision: int
    ) -> v1.LiveQuestion:
        states = {one.instance: one for one in self._renderer.sidecars(workload, revision)}
        known = self._manager.delivery.askers.knows(workload.id, token)
        unbound = self._manager.sidecars.unbound(workload, [port.number])
        return v1.LiveQuestion(
            token=token,
            head=head(request, [(ASKED, token), ("connection", "close")]),
            expected=winner or names.APP,
            instances=[
                v1.LiveInstance(
                    instance=instance.id,
                    host=instance.listen[port.number].host,
                    port=instance.listen[port.number].port,
                    obstacle=unbound.get(names.node(workload.id, instance.id), "")
                    or _obstacle(states[instance.id], known=known),
                )
                for instance in sorted(workload.instances.values(), key=lambda one: one.id)
            ],
        )


def _obstacle(state: v1.SidecarState, *, known: bool) -> str:
    """Why a sidecar must not be asked: without its twins the request would reach the app or a laptop."""
    if state.state is not v1.SidecarStateState.ACKED:
        return state.detail or "it has not acknowledged the newest state"
    return "" if known else "a sidecar of the workload refused to be asked; see `xdsctl status`"
