"""Simulated sidecars: each a delta stream that asks for what an Envoy would, and acknowledges what it gets.

A sidecar keeps names and versions, and no resource. Each has a connection of its own, as an Envoy has, unless it is to
share one. When its stream ends it opens another, after a pause that grows, and resumes there.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xds import __version__
from xds.serve.client import Client, DeltaClient, Follower, Stream, StreamEndedError, open_stream
from xds.serve.client import node as node_of
from xds.serve.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE
from xds.serve.wire import JSON
from xds.terminal.failure import Exit, FailureError
from xdsctl.fetched import kind_of
from xdsctl.server import Server, failure_of_end, metadata_of
from xdsctl.waves import Tally, Wave

if TYPE_CHECKING:
    import grpc.aio

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds before a stream is opened again."""
TICK = 0.1
"""Seconds between looks at whether a wave has ended."""
SCOUT = 10.0
"""Seconds that the first stream has for its first answer."""
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a sidecar says to be, and what proves it."""

    node: str
    cluster: str
    token: str = ""


class Fleet:
    """Sidecars on one server. `on_wave` and `on_sync` are told when a wave has ended and when all are in sync."""

    def __init__(
        self,
        server: Server,
        identities: Sequence[Identity],
        *,
        metadata: dict[str, JSON],
        rate: float,
        connections: int,
        on_wave: Callable[[Wave], object],
        on_sync: Callable[[float], object],
    ) -> None:
        self.tally = Tally(len(identities))
        self._server = server
        self._identities = identities
        self._metadata = metadata
        self._rate = rate
        self._connections = connections
        self._on_wave = on_wave
        self._on_sync = on_sync
        self._channels: dict[int, grpc.aio.Channel] = {}
        self._answered = asyncio.Event()
        self.synced = asyncio.Event()
        self._began = 0.0

    async def run(self) -> None:
        """Keep all of them open until cancelled. Raises FailureError when the first one gets no answer."""
        self._began = time.monotonic()
        tasks = [asyncio.create_task(self._sidecar(0, scout=True)), asyncio.create_task(self._tick())]
        answered = asyncio.create_task(self._answered.wait())
        try:
            done, _ = await asyncio.wait({tasks[0], answered}, timeout=SCOUT, return_when=asyncio.FIRST_COMPLETED)
            if tasks[0] in done:
                tasks[0].result()
            if not done:
                raise FailureError(
                    f"{self._server.address} takes a stream and answers nothing within {SCOUT:g} s",
                    hint="`xdsctl fetch` says more",
                    code="no_answer",
                    exit_code=Exit.NOT_CONNECTED,
                )
            tasks += [asyncio.create_task(self._sidecar(number)) for number in range(1, len(self._identities))]
            await asyncio.gather(*tasks)
        finally:
            for task in (*tasks, answered):
                task.cancel()
            await asyncio.gather(*tasks, answered, return_exceptions=True)
            await asyncio.gather(*(channel.close() for channel in self._channels.values()))
            self.tally.finish()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            if wave := self.tally.settle(time.monotonic()):
                self._on_wave(wave)

    async def _sidecar(self, number: int, *, scout: bool = False) -> None:
        identity = self._identities[number]
        who = node_of(
            id=identity.node,
            cluster=identity.cluster,
            metadata=self._metadata,
            user_agent="xdsctl-fleet",
            version=__version__,
        )
        client = DeltaClient(who, keep_bodies=False)
        follower = Follower(client)
        metadata = metadata_of(identity.token)
        await asyncio.sleep(number / self._rate)
        pause = FIRST_PAUSE
        while True:
            try:
                async with open_stream(self._channel(number), client, metadata=metadata) as stream:
                    await self._converse(number, stream, follower)
            except (StreamEndedError, ValueError) as error:
                if scout and not self._answered.is_set():
                    raise self._failure(error) from None
                # A stream that was of use starts the pauses anew.
                pause = FIRST_PAUSE if number in self.tally.in_sync else min(LONGEST_PAUSE, pause * 2)
                self.tally.on_end(number, error.code.name if isinstance(error, StreamEndedError) else "MALFORMED")
            await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311  a jitter

    def _failure(self, error: StreamEndedError | ValueError) -> FailureError:
        if isinstance(error, StreamEndedError):
            return failure_of_end(error, self._server.address)
        return FailureError(f"{self._server.address} does not speak xDS: {error}", code="malformed")

    async def _converse(self, number: int, stream: Stream, follower: Follower) -> None:
        client, tally = follower.client, self.tally
        resumed = bool(client.names(CLUSTER))
        if not resumed:
            await stream.send(*follower.begin())
        tally.open.add(number)
        seen = set[str]()
        if resumed:
            # What it has may be the newest, and then nothing comes.
            self._in_sync(number)
        while True:
            response = await stream.receive()
            answers = follower.answer(response)
            refused = bool(response.problem)
            tally.on_response(number, kind_of(response.type_url), response.size, time.monotonic(), refused=refused)
            await stream.send(*answers)
            self._answered.set()
            seen.add(response.type_url)
            if number not in tally.in_sync and _awaited(client) <= seen:
                self._in_sync(number)

    def _in_sync(self, number: int) -> None:
        seconds = time.monotonic() - self._began
        if self.tally.on_sync(number, seconds):
            self._on_sync(seconds)
            self.synced.set()

    def _channel(self, number: int) -> grpc.aio.Channel:
        key = number % self._connections if self._connections else number
        if key not in self._channels:
            self._channels[key] = self._server.channel(OWN_CONNECTION)
        return self._channels[key]


def _awaited(client: Client) -> set[str]:
    """The types that a sidecar waits for before it is in sync."""
    return {CLUSTER, LISTENER, *(each for each in (ENDPOINT, ROUTE) if client.names(each))}
