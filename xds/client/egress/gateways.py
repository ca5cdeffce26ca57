"""Opens TCP connections to the cluster's services over one of the gateways.

The gateway that worked last is asked first, on the connection that is open. Until a gateway has answered nothing of the
connection has been sent, so another one may be asked; what a gateway answered is true of the others as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from xds.client.tunnel.carrier import Carrier, CarrierError, RefusedError
from xds.client.tunnel.contract import Gateway, Offer
from xds.client.tunnel.multiplex import Stream
from xds.terminal.words import host_port

AVOID = 5.0
"""Seconds for which a gateway that failed is asked last."""
IDLE = 30.0
"""Seconds after which a connection that carries nothing is closed."""


class Reason(Enum):
    """Why there is no connection."""

    FORBIDDEN = "forbidden"
    UNKNOWN = "unknown"
    UNREACHABLE = "unreachable"
    """The service does not accept connections."""
    NO_GATEWAY = "no gateway"


class NoWayError(Exception):
    """There is no connection to a service; the text is a sentence for people."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass
class _Road:
    """A gateway, and the connection to it."""

    gateway: Gateway
    carrier: Carrier | None = None
    failed: float = -AVOID
    used: float = 0.0
    retired: Callable[[Carrier], None] = lambda _: None
    dialling: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def take(self, ca: bytes) -> tuple[Carrier, bool]:
        """A connection, and whether it is a new one. Raises CarrierError."""
        async with self.dialling:
            if self.carrier is not None and not self.carrier.full:
                return self.carrier, False
            old, self.carrier = self.carrier, None
            if old is not None:
                self.retired(old)
            self.carrier = await Carrier.dial(self.gateway, ca)
            return self.carrier, True


class Gateways:
    """The ways into the cluster that the manager offers."""

    def __init__(self) -> None:
        self._offer: Offer | None = None
        self._roads: dict[Gateway, _Road] = {}
        self._retired: set[Carrier] = set()
        self._sweeper = asyncio.create_task(self._sweep())

    def offer(self, offer: Offer | None) -> None:
        """Use this from now on. Connections of an earlier offer go on."""
        before, self._offer = self._offer, offer
        same = before is not None and offer is not None and before.ca == offer.ca
        wanted = offer.gateways if offer is not None else ()
        for gateway in [each for each in self._roads if not same or each not in wanted]:
            road = self._roads.pop(gateway)
            if road.carrier is not None:
                self._retire(road.carrier)
        # In the offer's order.
        self._roads = {gateway: self._roads.get(gateway) or _Road(gateway, retired=self._retire) for gateway in wanted}

    def _retire(self, carrier: Carrier) -> None:
        """What is under way on it goes on."""
        self._retired = {each for each in self._retired if not each.multiplex.closed.is_set()}
        self._retired.add(carrier)
        carrier.retire()

    async def connect(self, host: str, port: int) -> Stream:
        """A connection to a service. Raises NoWayError."""
        offer = self._offer
        if offer is None or not self._roads:
            text = "the manager offers no gateway, so there is no way into the cluster; see `byway status`"
            raise NoWayError(Reason.NO_GATEWAY, text)
        authority = host_port(host.lower().rstrip("."), port)
        errors: list[str] = []
        for road in sorted(self._roads.values(), key=self._preference):
            try:
                return await self._try(road, offer, authority)
            except CarrierError as error:
                road.failed = time.monotonic()
                errors.append(str(error))
            except RefusedError as error:
                if error.status != 401:
                    raise _refusal(error, authority) from error
                # The token may be renewed by now, or this gateway may not know its key yet.
                errors.append(f"gateway {road.gateway.name} refused this session's token ({error.text})")
        raise NoWayError(Reason.NO_GATEWAY, f"no gateway could be reached: {'; '.join(errors)}")

    def _preference(self, road: _Road) -> tuple[bool, bool, float]:
        failed = time.monotonic() - road.failed < AVOID
        return failed, road.carrier is None or road.carrier.full, -road.used

    async def _try(self, road: _Road, offer: Offer, authority: str) -> Stream:
        while True:
            carrier, fresh = await road.take(offer.ca)
            try:
                token = (self._offer or offer).token
                stream = await carrier.connect(authority, token)
            except CarrierError:
                # A connection that was idle may have died unnoticed; a new one says how things are.
                if fresh or not carrier.full:
                    raise
            else:
                road.used = time.monotonic()
                return stream

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(IDLE / 3)
            for road in self._roads.values():
                carrier = road.carrier
                idle = time.monotonic() - road.used > IDLE and not road.dialling.locked()
                if carrier is not None and idle and not carrier.multiplex.streams:
                    road.carrier = None
                    await carrier.close()

    def cut(self) -> None:
        """The session is over, and with it what it had open: every connection ends now."""
        carriers = [road.carrier for road in self._roads.values() if road.carrier is not None]
        for carrier in (*carriers, *self._retired):
            carrier.multiplex.close("the session has ended")
        self._roads, self._offer = {}, None

    async def close(self) -> None:
        """End every connection."""
        self._sweeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._sweeper
        carriers = [road.carrier for road in self._roads.values() if road.carrier is not None]
        carriers += self._retired
        self._roads, self._offer = {}, None
        await asyncio.gather(*(carrier.close() for carrier in carriers))


def _refusal(error: RefusedError, authority: str) -> NoWayError:
    said = error.text.rstrip(".")
    if error.status == 403:
        return NoWayError(Reason.FORBIDDEN, f"{authority}: {said or 'your user may not use this namespace'}")
    if error.status == 404:
        return NoWayError(
            Reason.UNKNOWN, f"{authority}: {said or 'there is no such service and port'}; see `byway list`"
        )
    return NoWayError(
        Reason.UNREACHABLE, f"{authority} does not accept connections (the gateway answered {error.status})"
    )
