"""The tunnel held by Python, behind a real gateway: every protocol, and what goes wrong."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession, TCPConnector, WSMsgType

import xds.client.channel  # noqa: F401  first: it sets gRPC's environment

import grpc.aio  # isort: skip

from demo.processes import wait_for
from demo.world import free_port, listening
from tests.e2e import echo_service
from tests.e2e.h2c import Http2, Http2Server
from tests.e2e.http1 import CutError, ask
from tests.e2e.stage import RECORDER
from tests.e2e.web_site import Site
from tests.tunnel.process import Process, answering, head_of
from tests.tunnel.static_gateway import StaticGateway
from xds.client.tunnel.bytestream import TcpStream
from xds.client.tunnel.contract import AWAY, Target
from xds.client.tunnel.multiplex import Multiplex
from xds.client.tunnel.mux import PythonTunnel

PATIENCE = 30
NODE = "s1.0a1b2c3d"
MEGABYTE = os.urandom(1 << 20)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Laptop:
    """A tunnel to a gateway, and the processes behind it."""

    def __init__(self, gateway: StaticGateway) -> None:
        self.gateway = gateway
        self.changed = asyncio.Event()
        self.tunnel = PythonTunnel(self.changed.set)
        self.targets: set[Target] = set()
        self._closing: list[Callable[[], Awaitable[None]]] = []

    async def start(self) -> None:
        await self.tunnel.start(self.gateway.offer(NODE))
        await self.until(lambda: bool(self.tunnel.state.up))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def serve(self, port: int) -> None:
        self.targets.add(Target("127.0.0.1", port))
        await self.tunnel.declare(self.targets)

    async def process(self, play: Any) -> Process:
        one = Process(play)
        await one.start()
        self._closing.append(one.close)
        await self.serve(one.port)
        return one

    def headers(self, port: int, protocol: str = "HTTP/1.1") -> dict[str, str]:
        return {
            "x-byway-node": NODE,
            "x-byway-to": "i-1/8080",
            "x-byway-name": "orders",
            "x-byway-owner": "alice@laptop",
            "x-byway-target": f"127.0.0.1:{port}",
            "x-byway-protocol": protocol,
        }

    async def raw(self, port: int, request: bytes, *, until_closed: bool = False) -> bytes:
        """Send a request, with our headers after its first line, and read the answer with its connection's end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.gateway.port, limit=32 << 20)
        line, _, rest = request.partition(b"\r\n")
        ours = "".join(f"{name}: {value}\r\n" for name, value in self.headers(port).items())
        writer.write(line + b"\r\n" + ours.encode() + b"connection: close\r\n" + rest)
        try:
            async with asyncio.timeout(PATIENCE):
                return await reader.read()
        finally:
            writer.close()

    async def close(self) -> None:
        await self.tunnel.stop()
        for close in self._closing:
            await close()


@pytest.fixture
def running(gateway: StaticGateway) -> Iterator[StaticGateway]:
    with gateway.running():
        yield gateway


@pytest_asyncio.fixture
async def laptop(running: StaticGateway) -> AsyncIterator[Laptop]:
    one = Laptop(running)
    await one.start()
    yield one
    await one.close()


@pytest_asyncio.fixture
async def site(laptop: Laptop) -> AsyncIterator[Site]:
    one = Site("laptop")
    await one.start()
    await laptop.serve(one.port)
    yield one
    await one.close()


@pytest_asyncio.fixture
async def web(laptop: Laptop, site: Site) -> AsyncIterator[ClientSession]:
    base = f"http://127.0.0.1:{laptop.gateway.port}"
    async with ClientSession(
        base, headers=laptop.headers(site.port), connector=TCPConnector(limit=0), read_bufsize=1 << 20
    ) as session:
        yield session


# HTTP/1.1


async def test_a_request_reaches_the_process_without_our_headers(laptop: Laptop) -> None:
    seen: list[bytes] = []
    process = await laptop.process(answering(OK, seen))
    fields_sent = b"Host: shop:80\r\nX-One: 1\r\nX-One: again\r\nX-Two:  two  \r\nCookie: a=1; b=2\r\n\r\n"
    await laptop.raw(process.port, b"GET /path?x=1 HTTP/1.1\r\n" + fields_sent)
    line, *fields = seen[0].decode().split("\r\n")
    assert line == "GET /path?x=1 HTTP/1.1"
    assert fields[0] == "Host: shop:80"
    assert {"x-one: 1", "x-one: again", "x-two: two", "cookie: a=1; b=2"} <= set(fields)
    assert fields.index("x-one: 1") < fields.index("x-one: again")
    assert "x-byway" not in seen[0].decode().lower()


async def test_an_answer_comes_back_without_the_mark_that_only_we_may_set(laptop: Laptop) -> None:
    answer = b"HTTP/1.1 418 Teapot\r\nX-Byway-Away: forged\r\nX-Kept: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n"
    process = await laptop.process(answering(answer + b"Connection: x-hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nno"))
    got = await laptop.raw(process.port, b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
    head, _, body = got.partition(b"\r\n\r\n")
    assert body == b"no"
    assert b"418" in head.split(b"\r\n")[0]
    assert b"x-byway-away" not in head.lower()
    assert b"x-hop" not in head.lower()
    assert b"x-kept: 1" in head
    assert head.count(b"set-cookie: ") == 2


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_hundred_mebibytes_up(laptop: Laptop, site: Site, chunked: bool) -> None:
    body = MEGABYTE * 100
    answer = await ask(laptop.gateway.port, "/up", laptop.headers(site.port), method="POST", body=body, chunked=chunked)
    assert answer.body.decode() == hashlib.sha256(body).hexdigest()


async def test_a_hundred_mebibytes_up_and_down_at_once(web: ClientSession) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield MEGABYTE

    expected, digest = hashlib.sha256(), hashlib.sha256()
    for _ in range(100):
        expected.update(MEGABYTE)
    async with web.post("/echo", data=pieces()) as response:
        async for piece in response.content.iter_any():
            digest.update(piece)
    assert digest.digest() == expected.digest()


async def test_events_come_one_by_one_and_end_with_the_client(web: ClientSession, site: Site) -> None:
    async with web.get("/events") as response:
        assert await response.content.readline() == b"data: 0\n"
    async with asyncio.timeout(PATIENCE):
        await site.gone.wait()


async def test_a_client_that_gives_up_is_heard_of(laptop: Laptop, site: Site) -> None:
    asking = asyncio.create_task(ask(laptop.gateway.port, "/hang", laptop.headers(site.port)))
    async with asyncio.timeout(PATIENCE):
        await site.waiting.wait()
        asking.cancel()
        await site.gone.wait()


async def test_head_and_answers_without_body(laptop: Laptop) -> None:
    for answer in (b"204 No Content\r\n\r\n", b"304 Not Modified\r\nContent-Length: 99\r\n\r\n"):
        process = await laptop.process(answering(b"HTTP/1.1 " + answer))
        got = await laptop.raw(process.port, b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
        assert got.split(b" ")[1] == answer[:3]
        assert got.endswith(b"\r\n\r\n")
    process = await laptop.process(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"))
    got = await laptop.raw(process.port, b"HEAD / HTTP/1.1\r\nHost: shop\r\n\r\n")
    assert b"content-length: 1234" in got
    assert got.endswith(b"\r\n\r\n")


async def test_trailers_both_ways(laptop: Laptop) -> None:
    reached: list[bytes] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        reached.append(await reader.readuntil(b"x-up: 1\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Down: 1\r\n\r\n")

    process = await laptop.process(play)
    got = await laptop.raw(
        process.port,
        b"POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Up: 1\r\n\r\n",
    )
    assert b"abc" in reached[0]
    assert got.endswith(b"0\r\nx-down: 1\r\n\r\n")


async def test_a_process_that_wants_to_be_asked_first_is(laptop: Laptop) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"expect: 100-continue" in (await head_of(reader)).lower()
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(5)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + body)

    process = await laptop.process(play)
    reader, writer = await asyncio.open_connection("127.0.0.1", laptop.gateway.port)
    ours = "".join(f"{name}: {value}\r\n" for name, value in laptop.headers(process.port).items())
    writer.write(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n" + ours.encode() + b"\r\n"
    )
    async with asyncio.timeout(PATIENCE):
        assert b" 100 " in await head_of(reader)
        writer.write(b"hello")
        assert b" 200 " in await reader.readline()
        assert (await reader.readuntil(b"hello")).endswith(b"hello")
    writer.close()


async def test_an_answer_may_come_before_the_request_is_complete(laptop: Laptop) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge")
        await reader.read()

    process = await laptop.process(play)
    answer = await ask(laptop.gateway.port, "/", laptop.headers(process.port), method="POST", body=MEGABYTE * 20)
    assert (answer.status, answer.body) == (413, b"large")


async def test_an_answer_that_ends_with_its_connection(laptop: Laptop) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + MEGABYTE)
        await writer.drain()

    process = await laptop.process(play)
    answer = await ask(laptop.gateway.port, "/", laptop.headers(process.port))
    assert answer.body == MEGABYTE


async def test_connections_are_used_again_but_not_after_a_word_out_of_turn(laptop: Laptop) -> None:
    process = await laptop.process(answering(OK))
    for _ in range(5):
        assert (await ask(laptop.gateway.port, "/", laptop.headers(process.port))).body == b"ok"
    assert process.connections == 1

    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(OK + b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nlate")
        await reader.read()

    process.play = rude
    before = process.connections
    other = await laptop.process(rude)
    for _ in range(5):
        assert (await ask(laptop.gateway.port, "/", laptop.headers(other.port))).body == b"ok"
    assert other.connections == 5
    assert process.connections == before


async def test_large_headers_pass(laptop: Laptop) -> None:
    large = "x" * 500_000
    process = await laptop.process(
        answering(b"HTTP/1.1 200 OK\r\nX-Large: " + b"y" * 50_000 + b"\r\nContent-Length: 0\r\n\r\n")
    )
    answer = await ask(laptop.gateway.port, "/", {**laptop.headers(process.port), "x-large": large})
    assert answer.status == 200
    assert len(answer.headers["x-large"]) == 50_000


async def test_web_sockets(web: ClientSession) -> None:
    async with web.ws_connect("/ws", max_msg_size=0) as socket:
        for message in (b"", b"hello", MEGABYTE * 4):
            await socket.send_bytes(message)
            assert (await socket.receive()).data == message
        await socket.send_str("bye")
        end = await socket.receive()
        assert (end.type, end.data) == (WSMsgType.CLOSE, 4001)


async def test_an_upgrade_that_is_refused(laptop: Laptop) -> None:
    process = await laptop.process(answering(b"HTTP/1.1 426 No\r\nContent-Length: 2\r\n\r\nno"))
    got = await laptop.raw(
        process.port, b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    assert got.split(b" ")[1] == b"426"


# HTTP/2 and gRPC


@pytest_asyncio.fixture
async def grpc_channel(laptop: Laptop) -> AsyncIterator[tuple[Any, Any, echo_service.EchoService]]:
    service = echo_service.EchoService("laptop")
    server, port, _ = await echo_service.start(service)
    await laptop.serve(port)
    target = f"127.0.0.1:{laptop.gateway.port}"
    async with grpc.aio.insecure_channel(
        target, options=[*echo_service.OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        yield channel, tuple(laptop.headers(port, "HTTP/2").items()), service
    await server.stop(None)


async def _several() -> AsyncIterator[bytes]:
    for number in range(1000):
        yield b"%d" % number


async def test_grpc_of_all_four_kinds(grpc_channel: tuple[Any, Any, Any]) -> None:
    channel, metadata, _ = grpc_channel
    options = {"metadata": metadata, "timeout": PATIENCE}
    sent = os.urandom(8 << 20)
    call = channel.unary_unary("/pkg.Echo/Unary")(sent, **options)
    assert await call == b"laptop:" + sent
    assert dict(await call.trailing_metadata())["x-last"] == "1"
    numbers = [b"%d" % number for number in range(1000)]
    assert await channel.stream_unary("/pkg.Echo/Collect")(_several(), **options) == b"laptop:" + b"".join(numbers)
    counted = [each async for each in channel.unary_stream("/pkg.Echo/Count")(b"1000", **options)]
    assert counted == [b"laptop:" + number for number in numbers]
    chat = channel.stream_stream("/pkg.Echo/Chat")(**options)
    for number in range(10):
        await chat.write(b"%d" % number)
        assert await chat.read() == b"laptop:%d" % number
    await chat.done_writing()
    assert await chat.read() is grpc.aio.EOF


async def test_grpc_errors_and_cancellation(grpc_channel: tuple[Any, Any, echo_service.EchoService]) -> None:
    channel, metadata, service = grpc_channel
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary("/pkg.Echo/Fail")(b"", metadata=metadata, timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.details() == echo_service.DETAILS
    assert dict(caught.value.trailing_metadata() or ())["x-why-bin"] == echo_service.BINARY
    call = channel.unary_unary("/pkg.Echo/Hang")(b"", metadata=metadata)
    waiting = asyncio.ensure_future(call)
    async with asyncio.timeout(PATIENCE):
        await service.waiting.wait()
        call.cancel()
        await service.cancelled.wait()
    assert waiting.cancelled() or call.cancelled()


async def test_http2_requests_with_trailers_both_ways(laptop: Laptop) -> None:
    server = Http2Server("laptop")
    await server.start()
    await laptop.serve(server.port)
    client = await Http2.to(laptop.gateway.port)
    body = MEGABYTE * 5
    message = await client.ask(
        "/", laptop.headers(server.port, "HTTP/2"), method="POST", body=body, trailers=[("x-up", "1")]
    )
    assert message.body.decode() == hashlib.sha256(body).hexdigest()
    assert message.trailers == {"x-up": "1", "x-last": "1"}
    message = await client.ask("/", laptop.headers(server.port, "HTTP/2"), method="HEAD")
    assert (message.headers[":status"], message.headers["content-length"]) == ("200", "64")
    client.close()
    server.close()


async def test_a_cancelled_http2_request_is_cancelled_at_the_process(laptop: Laptop) -> None:
    server = Http2Server("laptop")
    await server.start()
    await laptop.serve(server.port)
    client = await Http2.to(laptop.gateway.port)
    stream = client.open("/hang", laptop.headers(server.port, "HTTP/2"))
    async with asyncio.timeout(PATIENCE):
        message = await server.hanging.get()
        client.cancel(stream)
        await message.ended.wait()
    assert message.reset
    client.close()
    server.close()


# TCP


async def _connect(laptop: Laptop, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", laptop.gateway.port)
    ours = "".join(f"{name}: {value}\r\n" for name, value in laptop.headers(port).items())
    writer.write(b"CONNECT tcp.byway:1 HTTP/1.1\r\nHost: tcp.byway:1\r\n" + ours.encode() + b"\r\n")
    assert b" 200 " in await head_of(reader)
    return reader, writer


async def test_tcp_carries_bytes_and_the_client_ends_first(laptop: Laptop) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\xffserver first")
        digest = hashlib.sha256(await reader.read())
        writer.write(digest.digest())

    process = await laptop.process(play)
    client = await Http2.to(laptop.gateway.port)
    stream, message = client.begin()
    pseudo = [(":method", "CONNECT"), (":authority", "tcp.byway:1")]
    await client.send(stream, [*pseudo, *laptop.headers(process.port).items()], MEGABYTE)
    await message.ended.wait()
    assert message.body == b"\x00\xffserver first" + hashlib.sha256(MEGABYTE).digest()
    client.close()


async def test_a_tcp_connection_that_the_process_cuts_is_cut(laptop: Laptop) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.transport.abort()

    process = await laptop.process(play)
    client = await Http2.to(laptop.gateway.port)
    stream, message = client.begin()
    pseudo = [(":method", "CONNECT"), (":authority", "tcp.byway:1")]
    client._state.send_headers(stream, [*pseudo, *laptop.headers(process.port).items()])
    client._state.send_data(stream, b"x")
    client._flush()
    async with asyncio.timeout(PATIENCE):
        await message.ended.wait()
    assert message.reset
    client.close()


# What goes wrong


async def test_a_process_that_does_not_accept_is_away(laptop: Laptop) -> None:
    process = await laptop.process(answering(OK))
    await process.close()
    for protocol in ("HTTP/1.1", "HTTP/2"):
        answer = await ask(laptop.gateway.port, "/", laptop.headers(process.port, protocol))
        assert answer.status == 503
        assert answer.headers["x-byway-away"] == "target"
        assert answer.headers["content-type"] == "application/json"
        assert json.loads(answer.body) == {
            "error": AWAY,
            "intercept": "i-1",
            "name": "orders",
            "owner": "alice@laptop",
            "target": f"127.0.0.1:{process.port}",
        }


async def test_what_was_not_declared_is_not_connected_to(laptop: Laptop) -> None:
    other = Process(answering(OK))
    await other.start()
    for protocol in ("HTTP/1.1", "HTTP/2"):
        answer = await ask(laptop.gateway.port, "/", laptop.headers(other.port, protocol))
        assert answer.status == 403
        assert "x-byway-away" not in answer.headers
    assert other.connections == 0
    await laptop.serve(other.port)
    assert (await ask(laptop.gateway.port, "/", laptop.headers(other.port))).status == 200
    await laptop.tunnel.declare(set())
    assert (await ask(laptop.gateway.port, "/", laptop.headers(other.port))).status == 403
    await other.close()


async def test_what_is_under_way_at_a_target_that_is_no_longer_served_ends(laptop: Laptop, site: Site) -> None:
    asking = asyncio.create_task(ask(laptop.gateway.port, "/hang", laptop.headers(site.port)))
    async with asyncio.timeout(PATIENCE):
        await site.waiting.wait()
        await laptop.tunnel.declare(set())
        await site.gone.wait()
        assert (await asking).status == 503


@pytest.mark.parametrize(
    ("answer", "status"),
    [(b"", 503), (b"HTTP/1.1 200 OK\r\nContent-Le", 503), (b"SSH-2.0-OpenSSH\r\n\r\n", 502)],
)
async def test_no_answer_or_none_that_is_http(laptop: Laptop, answer: bytes, status: int) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(answer)

    process = await laptop.process(play)
    got = await ask(laptop.gateway.port, "/", laptop.headers(process.port))
    assert got.status == status
    # The process may have begun to work on it.
    assert "x-byway-away" not in got.headers
    assert json.loads(got.body)["intercept"] == "i-1"


async def test_an_answer_that_breaks_off_is_cut(laptop: Laptop) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    process = await laptop.process(play)
    with pytest.raises((CutError, OSError)):
        await ask(laptop.gateway.port, "/", laptop.headers(process.port))


async def test_more_than_a_thousand_requests_at_once(laptop: Laptop) -> None:
    port = free_port()
    processes = laptop.gateway.processes
    processes.start("process", [sys.executable, RECORDER, "--name", "laptop", "--port", str(port)])
    await asyncio.to_thread(wait_for, lambda: listening(port), "the process listens")
    await laptop.serve(port)
    io = TcpStream(*await asyncio.open_connection("127.0.0.1", laptop.gateway.port))
    client = Multiplex(io, client=True)
    pseudo = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"shop"), (b":path", b"/_sleep?seconds=3")]
    ours = [(name.encode(), value.encode()) for name, value in laptop.headers(port).items()]

    async def one() -> bytes:
        stream = client.open(pseudo + ours, end=True)
        head = dict(await stream.head())
        body = b""
        while data := await stream.read():
            body += data
        return b"" if head[b":status"] == b"200" else body

    # The process answers after a while, so all of them wait at once.
    asking: list[asyncio.Task[bytes]] = []
    for _ in range(15):
        asking += [asyncio.create_task(one()) for _ in range(100)]
        await asyncio.sleep(0)
    assert set(await asyncio.gather(*asking)) == {b""}
    client.close()


async def test_answers_that_nobody_reads_do_not_stall_others(laptop: Laptop, site: Site) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(MEGABYTE)
            await writer.drain()

    process = await laptop.process(flood)
    client = await Http2.to(laptop.gateway.port)
    unread = [client.open("/", laptop.headers(process.port)) for _ in range(40)]
    client._state.acknowledge_received_data = lambda *_: None  # type: ignore[method-assign]
    async with asyncio.timeout(PATIENCE):
        for each in unread:
            await client.messages[each].begun.wait()
        for _ in range(20):
            assert (await ask(laptop.gateway.port, "/", laptop.headers(site.port))).status == 200
    client.close()


async def test_uploads_that_nobody_reads_do_not_stall_others(laptop: Laptop, site: Site) -> None:
    arrived = asyncio.Semaphore(0)

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        arrived.release()
        await asyncio.Event().wait()

    process = await laptop.process(deaf)
    uploads = [
        asyncio.create_task(
            ask(laptop.gateway.port, "/", laptop.headers(process.port), method="POST", body=MEGABYTE * 20)
        )
        for _ in range(20)
    ]
    async with asyncio.timeout(PATIENCE):
        for _ in uploads:
            await arrived.acquire()
        for _ in range(20):
            assert (await ask(laptop.gateway.port, "/", laptop.headers(site.port))).status == 200
    for upload in uploads:
        upload.cancel()
    await asyncio.gather(*uploads, return_exceptions=True)
