"""A connection to a real gateway, and what it carries to services in the cluster."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
import pytest_asyncio

from tests.tunnel.credentials import Authority, Tokens
from tests.tunnel.static_gateway import StaticGateway
from xds.client.tunnel.bytestream import NotWantedError
from xds.client.tunnel.carrier import WINDOW, Carrier, CarrierError, RefusedError
from xds.client.tunnel.contract import HEARD_WITHIN
from xds.client.tunnel.framing import CONNECTION_WINDOW
from xds.client.tunnel.multiplex import ConnectionLostError, Stream, StreamResetError

PIECE = os.urandom(1 << 20)
PATIENCE = 30


class Service:
    """A TCP service: the first byte of a connection says what it does."""

    def __init__(self) -> None:
        self.port = 0
        self.cut = asyncio.Event()
        self.ended = asyncio.Event()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await {b"e": self._echo, b"d": self._digest, b"f": self._flood, b"h": self._hello, b"w": self._wait}[
                await reader.readexactly(1)
            ](reader, writer)
        except OSError:
            self.cut.set()
        finally:
            writer.close()

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 18):
            writer.write(data)
            await writer.drain()
        self.ended.set()
        writer.write(b"goodbye")

    async def _digest(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        digest = hashlib.sha256()
        while data := await reader.read(1 << 18):
            digest.update(data)
        writer.write(digest.digest())

    async def _flood(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(PIECE)
            await writer.drain()

    async def _hello(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Ends first, and goes on reading."""
        writer.write(b"hello")
        writer.write_eof()
        while await reader.read(1 << 18):
            pass

    async def _wait(self, reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 18):
            pass


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Service]:
    one = Service()
    await one.start()
    yield one
    one.close()


@pytest.fixture
def running(gateway: StaticGateway, service: Service) -> Iterator[StaticGateway]:
    gateway.services = {"shop.dev:80": service.port, "gone.dev:80": 1}
    with gateway.running():
        yield gateway


@pytest_asyncio.fixture
async def carrier(running: StaticGateway) -> AsyncIterator[Carrier]:
    one = await Carrier.dial(running.gateway, running.authority.pem)
    yield one
    await one.close()


async def shop(carrier: Carrier, gateway: StaticGateway, first: bytes) -> Stream:
    stream = await carrier.connect("shop.dev:80", gateway.tokens.token("s1.1"))
    stream.write(first)
    return stream


async def everything(stream: Stream) -> bytes:
    found = b""
    while data := await stream.read():
        found += data
    return found


async def test_bytes_go_both_ways_and_each_side_ends_by_itself(
    carrier: Carrier, running: StaticGateway, service: Service
) -> None:
    stream = await shop(carrier, running, b"e")
    stream.write(b"ping")
    assert await stream.read() == b"ping"
    stream.end()
    assert await everything(stream) == b"goodbye"
    assert carrier.multiplex.streams == 0


async def test_all_comes_of_a_service_that_ends_first(carrier: Carrier, running: StaticGateway) -> None:
    """What the laptop sends after that is not wanted: Envoy ends the connection as soon as the service's side ends."""
    stream = await shop(carrier, running, b"h")
    assert await everything(stream) == b"hello"

    async def go_on() -> None:
        async with asyncio.timeout(PATIENCE):
            while True:
                stream.write(b"more")
                await stream.drain()
                await asyncio.sleep(0.01)

    with pytest.raises(NotWantedError):
        await go_on()


async def test_a_hundred_mebibytes_arrive_unchanged(carrier: Carrier, running: StaticGateway) -> None:
    stream = await shop(carrier, running, b"d")
    digest = hashlib.sha256()
    for _ in range(100):
        digest.update(PIECE)
        stream.write(PIECE)
        await stream.drain()
    stream.end()
    assert await everything(stream) == digest.digest()


async def test_streams_that_nobody_reads_do_not_stall_another(carrier: Carrier, running: StaticGateway) -> None:
    # Together they take more than the connection's window.
    unread = [await shop(carrier, running, b"f") for _ in range(CONNECTION_WINDOW // WINDOW + 1)]
    async with asyncio.timeout(PATIENCE):
        while carrier.multiplex.framing._unread <= CONNECTION_WINDOW:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        for _ in range(5):
            stream = await shop(carrier, running, b"e")
            stream.write(b"ping")
            assert await stream.read() == b"ping"
            stream.abort()
    for each in unread:
        each.abort()


async def test_aborting_a_stream_cuts_the_connection_to_the_service(
    carrier: Carrier, running: StaticGateway, service: Service
) -> None:
    stream = await shop(carrier, running, b"f")
    await stream.read()
    stream.abort()
    async with asyncio.timeout(PATIENCE):
        await service.cut.wait()
    with pytest.raises(StreamResetError):
        await everything(stream)


@pytest.mark.parametrize(
    ("where", "claims", "status", "words"),
    [
        ("other.dev:80", {}, 404, "no such service"),
        ("shop.dev:80", {"namespaces": "prod devel"}, 403, "may not use the namespace dev"),
        ("shop.dev:80", {"seconds": -600}, 401, "Jwt is expired"),
        ("gone.dev:80", {}, 503, "connection failure"),
    ],
)
async def test_a_refusal_says_why(
    carrier: Carrier, running: StaticGateway, where: str, claims: dict[str, object], status: int, words: str
) -> None:
    with pytest.raises(RefusedError, match=words) as caught:
        await carrier.connect(where, running.tokens.token("s1.1", **claims))  # type: ignore[arg-type]
    assert caught.value.status == status
    assert carrier.multiplex.streams == 0


async def test_another_authority_is_not_trusted(running: StaticGateway) -> None:
    with pytest.raises(CarrierError, match="certificate is not valid"):
        await Carrier.dial(running.gateway, Authority().pem)


async def test_a_certificate_of_another_name_is_not_trusted(running: StaticGateway) -> None:
    with pytest.raises(CarrierError, match="certificate is not valid"):
        await Carrier.dial(replace(running.gateway, server_name="other.byway"), running.authority.pem)


async def test_a_gateway_that_is_not_there_is_an_error(running: StaticGateway) -> None:
    running.kill()
    with pytest.raises(CarrierError, match="connection refused"):
        await Carrier.dial(running.gateway, running.authority.pem)


async def test_a_gateway_that_dies_ends_every_stream(carrier: Carrier, running: StaticGateway) -> None:
    stream = await shop(carrier, running, b"w")
    running.kill()
    with pytest.raises(ConnectionLostError):
        await everything(stream)
    with pytest.raises(CarrierError):
        await carrier.connect("shop.dev:80", running.tokens.token("s1.1"))


async def test_a_gateway_that_falls_silent_is_noticed(carrier: Carrier, running: StaticGateway) -> None:
    stream = await shop(carrier, running, b"w")
    running.freeze()
    began = time.monotonic()
    with pytest.raises(ConnectionLostError, match="silent"):
        await everything(stream)
    assert time.monotonic() - began < HEARD_WITHIN
    running.thaw()


async def test_streams_go_on_while_the_gateway_drains(carrier: Carrier, running: StaticGateway, tokens: Tokens) -> None:
    stream = await shop(carrier, running, b"e")
    await running.admin("/drain_listeners?graceful", method="POST")
    async with asyncio.timeout(PATIENCE):
        while not carrier.full:
            # Envoy says so with its next answer.
            with contextlib.suppress(CarrierError):
                (await carrier.connect("shop.dev:80", tokens.token("s1.1"))).abort()
    stream.write(b"still here")
    assert await stream.read() == b"still here"
    with pytest.raises(CarrierError, match="takes no more streams"):
        await carrier.connect("shop.dev:80", tokens.token("s1.1"))
