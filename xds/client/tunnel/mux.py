"""The tunnel held by this process, where Envoy can't run. To a gateway it looks like an Envoy's.

For each gateway one task, which dials again for as long as the tunnel isn't stopped:

    Carrier (TLS, HTTP/2 client) ▸ CONNECT tunnel.byway:443 ▸ handshake ▸ pings ▸ HTTP/2 server ▸ RequestServer

Where the gateway says that it takes no more requests on a tunnel (GOAWAY), the next one is dialled while what is under
way on the old one goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Set
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential, wait_random

from xds.client.tunnel.bytestream import ByteStream
from xds.client.tunnel.carrier import Carrier, CarrierError, RefusedError
from xds.client.tunnel.contract import (
    CARRIER_AUTHORITY,
    Changed,
    Gateway,
    GatewayState,
    Offer,
    Target,
    TunnelState,
)
from xds.client.tunnel.handshake import Handshake, HandshakeError, Pings
from xds.client.tunnel.multiplex import Multiplex, Stream
from xds.client.tunnel.mux_serve import RequestServer

log = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT = 5.0
STABLE = 1.0
"""Seconds after which a tunnel that is lost is dialled again at once; one that ends sooner may do so each time."""


class LostError(Exception):
    """There is no tunnel to a gateway now; says why."""


class Line:
    """The tunnel to one gateway."""

    def __init__(self, gateway: Gateway, offer: Offer, serve: RequestServer, changed: Changed) -> None:
        self.gateway = gateway
        self.offer = offer
        self.state = GatewayState(gateway.name, up=False, since=time.monotonic(), reason="dialling")
        self._serve = serve
        self._changed = changed
        self._nudge = asyncio.Event()
        self._old: set[asyncio.Task[None]] = set()
        self._task = asyncio.create_task(self._run())

    def nudge(self) -> None:
        """Something is different: dial now, where a pause was made."""
        self._nudge.set()

    async def close(self) -> None:
        """End it."""
        tasks = [self._task, *self._old]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _say(self, reason: str) -> None:
        if (self.state.up, self.state.reason) == (not reason, reason):
            return
        since = self.state.since if self.state.up == (not reason) else time.monotonic()
        self.state = GatewayState(self.gateway.name, up=not reason, since=since, reason=reason)
        log.log(logging.WARNING if reason else logging.INFO, "gateway %s: %s", self.gateway.name, reason or "up")
        self._changed()

    async def _run(self) -> None:
        while True:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(LostError),
                wait=wait_exponential(multiplier=0.1, min=0.1, max=1.0) + wait_random(0, 0.1),
                before_sleep=self._tell,
                sleep=self._pause,
            ):
                with attempt:
                    await self._once()

    async def _once(self) -> None:
        """Dial, and stay until no more requests will come. Raises LostError where there was no tunnel to speak of."""
        tunnel = await self._dial()
        began = time.monotonic()
        self._say("")
        reason = await tunnel.until_idle_or_lost()
        if not tunnel.lost:
            self._finish(tunnel)
            return
        await tunnel.close()
        self._say(reason)
        if time.monotonic() - began < STABLE:
            raise LostError(reason)

    def _tell(self, attempt: RetryCallState) -> None:
        assert attempt.outcome is not None
        self._say(str(attempt.outcome.exception()))

    async def _pause(self, seconds: float) -> None:
        self._nudge.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._nudge.wait()

    def _finish(self, tunnel: OpenTunnel) -> None:
        """Let what is under way go on."""
        task = asyncio.create_task(tunnel.drained())
        self._old.add(task)
        task.add_done_callback(self._old.discard)

    async def _dial(self) -> OpenTunnel:
        """Raises LostError."""
        offer = self.offer
        try:
            carrier = await Carrier.dial(self.gateway, offer.ca)
        except CarrierError as error:
            raise LostError(str(error)) from error
        try:
            stream = await carrier.connect(CARRIER_AUTHORITY, offer.token)
            async with asyncio.timeout(HANDSHAKE_TIMEOUT):
                rest = await shake_hands(stream, offer)
        except (CarrierError, HandshakeError, RefusedError, OSError) as error:
            await carrier.close()
            raise LostError(str(error) or "the gateway did not answer in time") from error
        except BaseException:
            carrier.multiplex.close()
            raise
        return OpenTunnel(carrier, stream, rest, self._serve)


async def shake_hands(stream: ByteStream, offer: Offer) -> bytes:
    """Begin the tunnel; returns what the gateway sent after its answer. Raises HandshakeError, OSError."""
    handshake = Handshake(offer.node, offer.token)
    stream.write(handshake.request)
    while (rest := handshake.received(await stream.read())) is None:
        pass
    return rest


class Pinged:
    """The tunnel's stream, without the pings at its beginning. What is written meanwhile waits for their end: until
    then a gateway takes everything for the answer to a ping."""

    def __init__(self, io: ByteStream, first: bytes) -> None:
        self._io = io
        self._first = first
        self._pings = Pings()
        self._held: list[bytes] = []
        self.drain, self.end, self.close, self.abort = io.drain, io.end, io.close, io.abort

    def write(self, data: bytes) -> None:
        """See ByteStream."""
        if self._pings.over:
            self._io.write(data)
        else:
            self._held.append(data)

    async def read(self) -> bytes:
        """See ByteStream."""
        while not self._pings.over:
            data = self._first or await self._io.read()
            if not data:
                return b""
            self._first = b""
            echo, rest = self._pings.received(data)
            self._io.write(echo)
            if self._pings.over:
                self._io.write(b"".join(self._held))
                return rest
        return await self._io.read()


class OpenTunnel:
    """A tunnel that a gateway has accepted."""

    def __init__(self, carrier: Carrier, stream: Stream, first: bytes, serve: RequestServer) -> None:
        self._carrier = carrier
        self._ends = asyncio.Event()
        self._server = Multiplex(Pinged(stream, first), client=False, serve=serve.accept)
        self._server.when_draining(self._ends.set)
        carrier.multiplex.when_draining(self._ends.set)

    @property
    def lost(self) -> bool:
        """Whether it is gone; else it takes no more requests."""
        return self._server.closed.is_set() or self._carrier.multiplex.closed.is_set()

    async def until_idle_or_lost(self) -> str:
        """Wait until no more requests will come. Returns why."""
        waiting: list[asyncio.Task[Any]] = [
            asyncio.create_task(event.wait())
            for event in (self._server.closed, self._carrier.multiplex.closed, self._ends)
        ]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            await self.close()
            raise
        finally:
            for task in waiting:
                task.cancel()
        return self._carrier.multiplex.reason or self._server.reason or "the gateway takes no more requests"

    async def drained(self) -> None:
        """Wait for the end of what is under way, then close."""
        try:
            await self._server.empty()
        finally:
            await self.close()

    async def close(self) -> None:
        """Hang up."""
        self._server.close()
        await self._carrier.close()


class PythonTunnel:
    """See contract.Tunnel."""

    kind = "python"

    def __init__(self, changed: Changed) -> None:
        self._changed = changed
        self._lines: dict[str, Line] = {}
        self._order: tuple[str, ...] = ()
        self._offer: Offer | None = None
        self._server: RequestServer | None = None
        self._targets: frozenset[Target] = frozenset()

    @property
    def state(self) -> TunnelState:
        """See contract.Tunnel."""
        return TunnelState(tuple(self._lines[name].state for name in self._order if name in self._lines))

    async def start(self, offer: Offer) -> None:
        """See contract.Tunnel."""
        if self._server is None:
            self._server = RequestServer()
            self._server.declare(self._targets)
        await self.offer(offer)

    async def offer(self, offer: Offer) -> None:
        """See contract.Tunnel."""
        assert self._server is not None, "start comes first"
        same = self._offer is not None and (self._offer.node, self._offer.ca) == (offer.node, offer.ca)
        self._offer = offer
        wanted = {gateway.name: gateway for gateway in offer.gateways}
        gone = [name for name, line in self._lines.items() if not same or wanted.get(name) != line.gateway]
        await asyncio.gather(*(self._lines.pop(name).close() for name in gone))
        for name, gateway in wanted.items():
            if name in self._lines:
                self._lines[name].offer = offer
                self._lines[name].nudge()
            else:
                self._lines[name] = Line(gateway, offer, self._server, self._changed)
        self._order = tuple(wanted)
        self._changed()

    async def declare(self, targets: Set[Target]) -> None:
        """See contract.Tunnel."""
        self._targets = frozenset(targets)
        if self._server is not None:
            self._server.declare(self._targets)

    async def stop(self) -> None:
        """See contract.Tunnel."""
        lines, self._lines, self._order = list(self._lines.values()), {}, ()
        server, self._server = self._server, None
        self._offer = None
        await asyncio.gather(*(line.close() for line in lines))
        if server is not None:
            await server.close()
