"""A gateway in front of services that a test plays, and the proxy on the laptop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest_asyncio

from tests.tunnel.conftest import authority, gateway, tokens
from tests.tunnel.process import Play, Process
from tests.tunnel.static_gateway import StaticGateway
from xds.client.egress.gateways import Gateways
from xds.client.egress.proxy import Proxy

__all__ = ["authority", "gateway", "tokens"]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 18):
        writer.write(data)
        await writer.drain()
    writer.write(b"goodbye")


@dataclass
class Egress:
    """The proxy, and the service `shop.dev:80` behind the gateway."""

    gateway: StaticGateway
    service: Process
    gateways: Gateways
    proxy: Proxy
    touched: list[int] = field(default_factory=list)

    async def play(self, play: Play) -> None:
        self.service.play = play

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.proxy.port, limit=1 << 20)

    async def ask(self, data: bytes) -> bytes:
        """Send this and read to the end."""
        reader, writer = await self.connect()
        writer.write(data)
        async with asyncio.timeout(30):
            found = await reader.read()
        writer.close()
        return found


@pytest_asyncio.fixture
async def egress(gateway: StaticGateway) -> AsyncIterator[Egress]:
    service = Process(echo)
    await service.start()
    gateway.services = {"shop.dev:80": service.port, "gone.dev:80": 1}
    gateways = Gateways()
    touched: list[int] = []
    proxy = Proxy(gateways, touch=lambda: touched.append(1))
    await proxy.start()
    with gateway.running():
        gateways.offer(gateway.offer("s1.1", namespaces="dev"))
        yield Egress(gateway, service, gateways, proxy, touched)
        await proxy.close()
        await gateways.close()
    await service.close()
