"""The gateways: what they are given, and how far each is with it.

They all get the same: a route for every intercept whose laptop has a tunnel, and the names of the tunnels that may be
there. They get it before the sidecars hear of it, and an intercept counts as live once the gateways that are connected
have acknowledged it, too. One that refuses is no intercept's fault and holds none up: sidecars try another gateway, and
then the app.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress

from xds.compile import names
from xds.compile.gateway import GatewayState, compile_gateways
from xds.compile.gateway_routes import Passage
from xds.manager import publish
from xds.manager.linger import LINGER
from xds.manager.pulse import Pulse
from xds.registry.change import Change
from xds.registry.gateway import Gateway
from xds.registry.session import Session
from xds.registry.state import State
from xds.serve.server import XdsServer
from xds.serve.status import Nack, StreamInfo, SyncState
from xds.serve.store import Store

log = logging.getLogger(__name__)


class Gateways:
    """The gateways of a manager."""

    def __init__(self, store: Store) -> None:
        self.all: tuple[Gateway, ...] = ()
        self.server: XdsServer | None = None
        self._store = store
        self.progress = Pulse()
        self._passages: dict[tuple[str, int], Passage] = {}
        self._leaving: dict[tuple[str, int], tuple[Passage, float]] = {}
        self._live: dict[int, StreamInfo] = {}
        self._required = 0

    def configure(self, gateways: Iterable[Gateway], state: State, reason: str, *, now: float) -> bool:
        """These are the gateways from now on. Says whether that is news."""
        before, self.all = self.all, tuple(gateways)
        if self.all == before:
            return False
        left = {one.name for one in before} - {one.name for one in self.all}
        publish.drop_nodes(self._store, [names.gateway_node(one) for one in sorted(left)], reason)
        self.publish(state, reason, now=now)
        return True

    def publish(self, state: State, reason: str, *, now: float) -> None:
        """Give the gateways what follows from the registry's state, and what followed until a moment ago.

        Gateways hear before the sidecars do, whose requests would find their passage gone.
        """
        if self.all:
            passages = _passages(state)
            gone = {key: (one, now + LINGER) for key, one in self._passages.items() if key not in passages}
            known = {**self._leaving, **gone}.items()
            self._leaving = {key: (one, until) for key, (one, until) in known if key not in passages and until > now}
            self._passages = passages
            compiled = compile_gateways(self._wanted(state))
            self._required = publish.put_gateways(self._store, compiled, reason)

    def due(self, now: float) -> bool:
        """Whether a passage has been kept for long enough."""
        return any(until <= now for _, until in self._leaving.values())

    def _wanted(self, state: State) -> GatewayState:
        passages = [*self._passages.values(), *(one for one, _ in self._leaving.values())]
        passages.sort(key=lambda one: (one.intercept.sequence, one.intercept.id, one.port))
        return GatewayState(
            self.all,
            tuple(passages),
            frozenset(filter(None, map(_node, state.sessions.values()))),
            tuple(state.workloads[key] for key in sorted(state.workloads)),
        )

    def concerned(self, state: State, change: Change) -> bool:
        """Whether gateways have to hear of a change, which is not applied yet."""
        return bool(self.all) and bool(
            change.dirty
            or change.workloads
            or any(_node(state.sessions.get(key)) != _node(new) for key, new in change.sessions.items())
        )

    async def in_force(self, *, seconds: float) -> None:
        """Wait until the connected gateways have what they are to be given now, or until the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.behind():
                    await self.progress.wait(self.progress.count)

    def came(self, stream: StreamInfo) -> None:
        """A gateway connected."""
        self._live[stream.number] = stream

    def went(self, stream: StreamInfo) -> None:
        """A gateway is gone."""
        self._live.pop(stream.number, None)

    def refused(self, stream: StreamInfo, nack: Nack) -> None:
        """A gateway refused something, which is ours to mend."""
        log.error("%s refuses its configuration: %s", stream.view.node, nack.text)

    @property
    def connected(self) -> Mapping[str, StreamInfo]:
        """The gateways that are connected, by node id."""
        return {stream.view.node: stream for stream in self._live.values()}

    def behind(self) -> bool:
        """Whether a connected gateway runs less than its newest state, and may come to."""
        if self.server is None or not self._live:
            return False
        lags = self.server.lagging(names.GATEWAYS, self._required)
        return any(lag.state is not SyncState.NACKED for lag in lags)


def _node(session: Session | None) -> str:
    return session.node if session is not None and session.daemon else ""


def _passages(state: State) -> dict[tuple[str, int], Passage]:
    """By intercept and port, the ways to laptops that have tunnels."""
    return {
        (intercept.id, mapping.port): Passage(intercept, mapping.port, mapping.target, session.node)
        for intercept in state.intercepts.values()
        if intercept.disposition.routed
        and (session := state.session(intercept.session)).daemon
        and session.tunnel is not None
        for mapping in intercept.spec.ports
    }
