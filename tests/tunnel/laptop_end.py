"""A tunnel between a gateway and what listens on this machine, and the headers by which a request finds its way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.tunnel.kinds import Make
from tests.tunnel.static_gateway import StaticGateway
from xds.client.tunnel.contract import Offer, Target, Tunnel, TunnelState

NODE = "s-1.0a1b2c3d"
PATIENCE = 20.0
"""Seconds; nothing here takes so long on a machine that has time."""


@dataclass
class LaptopEnd:
    """A tunnel, with what it said of itself."""

    tunnel: Tunnel
    states: list[TunnelState]
    _news: asyncio.Event

    async def until(self, condition: Callable[[TunnelState], Any], seconds: float = PATIENCE) -> None:
        """Wait until its state satisfies this."""
        async with asyncio.timeout(seconds):
            while not condition(self.tunnel.state):
                self._news.clear()
                await self._news.wait()

    async def up(self, *names: str) -> None:
        """Wait until exactly these gateways have a tunnel."""
        await self.until(lambda state: sorted(state.up) == sorted(names))

    async def declare(self, *ports: int, host: str = "localhost") -> None:
        await self.tunnel.declare({Target(host, port) for port in ports})


@asynccontextmanager
async def laptop_end(make: Make, folder: Path, offer: Offer) -> AsyncIterator[LaptopEnd]:
    """A started tunnel, which is stopped at the end."""
    states: list[TunnelState] = []
    news = asyncio.Event()

    def changed() -> None:
        states.append(tunnel.state)
        news.set()

    tunnel = make(changed, folder)
    try:
        await tunnel.start(offer)
        yield LaptopEnd(tunnel, states, news)
    finally:
        await tunnel.stop()


def offer_of(gateways: Iterable[StaticGateway], node: str = NODE, **claims: Any) -> Offer:
    """What the manager would offer: all of these."""
    first, *others = gateways
    offer = first.offer(node, **claims)
    return replace(offer, gateways=(*offer.gateways, *(each.gateway for each in others)))


def way(port: int, *, host: str = "localhost", protocol: str = "HTTP/1.1", node: str = NODE) -> dict[str, str]:
    """What a sidecar and a gateway put on a request to this target."""
    return {
        "x-byway-node": node,
        "x-byway-to": "i-7/8080",
        "x-byway-target": Target(host, port).authority,
        "x-byway-protocol": protocol,
        "x-byway-name": "orders",
        "x-byway-owner": "alice@laptop",
        "x-byway-peer": "spiffe://byway/dev/deployment/orders",
    }
