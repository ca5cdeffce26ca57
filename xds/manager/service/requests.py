"""An intercept's requests, to its owner: those that are remembered first, then those that come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import grpc

from xds.api.byway.manager import v1
from xds.manager.core import Manager
from xds.manager.requests.ledger import Page
from xds.manager.requests.traffic import Entry, Traffic, Watch
from xds.manager.service.callers import CallError
from xds.registry.intercept import Intercept
from xds.registry.session import Session

WATCHERS = 16
"""How many may watch the requests of one intercept at a time."""
PACE = 0.05
"""Seconds for which changes are collected before they are shown: thousands of requests a second are to be no burden."""


class Requests:
    """Shows one session the requests of its intercepts."""

    def __init__(self, manager: Manager, session: Session) -> None:
        self._manager = manager
        self._session = session

    async def run(self, request: v1.RequestsRequest) -> AsyncGenerator[v1.RequestsReply]:
        """One reply or, with `follow`, one for each change until the intercept ends. Raises CallError."""
        intercept = self._find(request.intercept)
        page = self._manager.ledger.page(intercept.id)
        if page.traffic.watched >= WATCHERS:
            raise CallError(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"{WATCHERS} others watch these requests already; end one of them"
            )
        watch = page.traffic.watch()
        try:
            while True:
                seen = page.pulse.count
                yield self._reply(intercept, page, watch, query=request.query)
                if not request.follow:
                    return
                await page.pulse.wait(seen)
                if not page.ended:
                    await asyncio.sleep(PACE)
                if page.ended:
                    raise CallError(grpc.StatusCode.NOT_FOUND, self._ended(intercept))
        finally:
            page.traffic.unwatch(watch)

    def _find(self, text: str) -> Intercept:
        state = self._manager.state
        found = state.named(self._session.id, text) or state.intercepts.get(text)
        if found is not None and found.session == self._session.id:
            return found
        mine = ", ".join(one.spec.name for one in state.of_session(self._session.id))
        hint = f"yours are {mine}" if mine else "you have none"
        raise CallError(grpc.StatusCode.NOT_FOUND, f"you have no intercept named {text!r}, nor one of that id; {hint}")

    def _ended(self, intercept: Intercept) -> str:
        ended = self._manager.obituaries.find(intercept.id, self._session.owner)
        how = f" was ended by {ended.by}: {ended.text}" if ended else " has ended"
        return f"intercept {intercept.spec.name!r}{how}; `byway intercept` with the same flags makes it again"

    def _reply(self, intercept: Intercept, page: Page, watch: Watch, *, query: bool) -> v1.RequestsReply:
        entries, missed = page.traffic.news(watch)
        now = self._manager.clock.now()
        return v1.RequestsReply(
            intercept_id=intercept.id,
            name=intercept.spec.name,
            workload=str(intercept.spec.workload),
            requests=[request_message(one, now, query=query) for one in entries],
            missed=missed,
            traffic=traffic_message(page.traffic),
        )


def request_message(entry: Entry, now: float, *, query: bool = False) -> v1.InterceptedRequest:
    """A request as the API says it; without `query` the path ends before its `?`."""
    record = entry.record
    return v1.InterceptedRequest(
        number=entry.number,
        started=record.started,
        instance=entry.node.rpartition("/")[2],
        method=record.method,
        path=record.path if query else record.path.partition("?")[0],
        protocol=record.protocol,
        status=record.status,
        grpc_status=record.grpc_status,
        duration_seconds=record.duration,
        open=not record.ended,
        served_by=record.served_by,
        seconds_ago=max(0.0, now - entry.heard),
    )


def traffic_message(traffic: Traffic) -> v1.Traffic:
    """Counts as the API says them."""
    return v1.Traffic(
        total=traffic.total,
        statuses=dict(sorted(traffic.statuses.items())),
        served_by=dict(sorted(traffic.served_by.items())),
        p50_seconds=traffic.latencies.percentile(0.5),
        p99_seconds=traffic.latencies.percentile(0.99),
    )
