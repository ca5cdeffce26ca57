"""Every protocol from a gateway through a tunnel to a process on the laptop, for every kind of tunnel."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession, TCPConnector, WSMsgType

import xds.client.channel  # noqa: F401  first: it sets gRPC's environment

import grpc.aio  # isort: skip

from demo.processes import Processes
from demo.world import free_port
from tests.e2e.echo_service import BINARY, DETAILS, OPTIONS, EchoService, start
from tests.e2e.h2c import Http2, Http2Server
from tests.e2e.pipe import Server, Stream
from tests.e2e.talker import Talker, banner, farewell
from tests.e2e.web_site import Site
from tests.tunnel.credentials import Authority, Tokens
from tests.tunnel.kinds import KINDS
from tests.tunnel.laptop_end import LaptopEnd, laptop_end, way
from tests.tunnel.raw import Raw
from tests.tunnel.static_gateway import StaticGateway
from xds.client.tunnel.contract import Target

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOTICED = 20.0
MEGABYTE = os.urandom(1 << 20)
HUNDRED = 100
NODE = "s-1.0a1b2c3d"


@dataclass
class Stage:
    """A gateway, a tunnel, and what listens on the laptop."""

    gateway: StaticGateway
    end: LaptopEnd
    site: Site
    two: Http2Server
    echo: EchoService
    rpc: int
    talker: Talker
    server: Server

    async def declare(self, *others: int, host: str = "localhost") -> None:
        """Serve what is always there, and these."""
        usual = (self.site.port, self.two.port, self.rpc, self.talker.port, self.server.port)
        always = {Target("localhost", port) for port in usual}
        await self.end.tunnel.declare(always | {Target(host, port) for port in others})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tunnel")


@pytest.fixture(scope="module")
def static_gateway(folder: Path, authority: Authority, tokens: Tokens) -> Iterator[StaticGateway]:
    logs = Processes(folder / "logs")
    one = StaticGateway(logs, folder / "gateway", authority, tokens, keepalive=30, half_close=True)
    with one.running() as gateway:
        yield gateway


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def stage(
    static_gateway: StaticGateway, short_folder: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Stage]:
    site, two, echo, server = Site("laptop"), Http2Server("laptop"), EchoService("laptop"), Server()
    await site.start()
    await two.start()
    rpc_server, rpc, _ = await start(echo)
    offer = static_gateway.offer(NODE)
    async with Talker("laptop") as talker, laptop_end(KINDS[request.param], short_folder / "t", offer) as end:
        await end.up(static_gateway.name)
        yield Stage(static_gateway, end, site, two, echo, rpc, talker, server)
    server.close()
    await rpc_server.stop(None)
    two.close()
    await site.close()


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def as_usual(stage: Stage) -> None:
    """What an earlier test did is no concern of the next."""
    await stage.end.up(stage.gateway.name)
    await stage.declare()


@pytest_asyncio.fixture(loop_scope="module")
async def web(stage: Stage) -> AsyncIterator[ClientSession]:
    """A client with HTTP/1.1 whose requests are for the laptop's web site."""
    base = f"http://127.0.0.1:{stage.gateway.port}"
    headers = way(stage.site.port)
    async with ClientSession(base, headers=headers, connector=TCPConnector(limit=0), read_bufsize=1 << 20) as session:
        yield session


@pytest_asyncio.fixture(loop_scope="module")
async def channel(stage: Stage) -> AsyncIterator[Any]:
    target = f"127.0.0.1:{stage.gateway.port}"
    async with grpc.aio.insecure_channel(target, options=[*OPTIONS, ("grpc.use_local_subchannel_pool", 1)]) as found:
        yield found


def metadata(stage: Stage) -> tuple[tuple[str, str | bytes], ...]:
    return (*way(stage.rpc, protocol="HTTP/2").items(), ("x-data-bin", BINARY))


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def pieces(data: bytes, times: int) -> AsyncIterator[bytes]:
    for _ in range(times):
        yield data


# HTTP/1.1


async def test_bodies_of_known_and_unknown_length(web: ClientSession) -> None:
    data = os.urandom(300_000)
    for body in (data, pieces(data[:100_000], 3)):
        async with web.put("/", data=body) as answer:
            assert answer.headers["x-who"] == "laptop"
            assert await answer.text() == digest_of(data if body is data else data[:100_000] * 3)


async def test_head(web: ClientSession) -> None:
    async with web.head("/") as answer:
        assert answer.headers["content-length"] == "64"
        assert await answer.read() == b""


async def test_a_hundred_megabytes_each_way(web: ClientSession) -> None:
    expected, found = hashlib.sha256(), hashlib.sha256()
    for _ in range(HUNDRED):
        expected.update(MEGABYTE)
    async with web.post("/echo", data=pieces(MEGABYTE, HUNDRED)) as answer:
        async for piece in answer.content.iter_any():
            found.update(piece)
    assert found.hexdigest() == expected.hexdigest()


async def test_the_process_sees_what_the_client_sent_and_nothing_of_ours(stage: Stage) -> None:
    seen: list[bytes] = []

    def serve(stream: Stream) -> None:
        seen.append(stream.message())
        stream.send(b"HTTP/1.1 201 Created\r\nServer: mine\r\nX-Byway-Away: lie\r\nContent-Length: 2\r\n\r\nok")

    stage.server.serve = serve
    sent = {**way(stage.server.port), "x-byway-of-the-future": "1", "X-Mine": "a b", "Accept": "x/y"}
    lines = ["DELETE /a//b/../c%2Fd?e=f HTTP/1.1", "Host: shop:1", *(f"{key}: {value}" for key, value in sent.items())]
    client = await asyncio.to_thread(Stream.to, stage.gateway.port)
    client.send("\r\n".join([*lines, "Content-Length: 3", "", "abc"]).encode())
    answer = (await asyncio.to_thread(client.message)).lower()
    client.socket.close()
    head, _, body = seen[0].partition(b"\r\n\r\n")
    first, *fields = head.split(b"\r\n")
    assert (first, body) == (b"DELETE /a//b/../c%2Fd?e=f HTTP/1.1", b"abc")
    found = dict(field.lower().split(b": ", 1) for field in fields)
    # The gateway, which is a test's, adds the scheme.
    found.pop(b"x-forwarded-proto", None)
    assert found == {b"host": b"shop:1", b"x-mine": b"a b", b"accept": b"x/y", b"content-length": b"3"}
    assert answer.startswith(b"http/1.1 201 ")
    assert b"x-byway" not in answer
    assert answer.endswith(b"ok")


async def test_trailers_both_ways(stage: Stage) -> None:
    seen: list[bytes] = []

    def serve(stream: Stream) -> None:
        seen.append(stream.message())
        head = b"HTTP/1.1 200 OK\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n"
        stream.send(head + b"2\r\nok\r\n0\r\nx-sum: 2\r\n\r\n")

    stage.server.serve = serve
    lines = ["POST / HTTP/1.1", "Host: shop", *(f"{key}: {value}" for key, value in way(stage.server.port).items())]
    client = await asyncio.to_thread(Stream.to, stage.gateway.port)
    client.send("\r\n".join([*lines, "Transfer-Encoding: chunked", "", "3", "abc", "0", "x-end: 1", "", ""]).encode())
    answer = await asyncio.to_thread(client.message)
    client.socket.close()
    assert b"x-end: 1" in seen[0].rpartition(b"abc")[2].lower()
    assert b"x-sum: 2" in answer.rpartition(b"ok")[2].lower()


async def test_a_body_that_waits_for_100_continue(stage: Stage) -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def serve(stream: Stream) -> None:
        head = stream.until(b"\r\n\r\n")
        assert b"100-continue" in head
        loop.call_soon_threadsafe(asked.set)
        stream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        stream.exactly(3)
        stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    stage.server.serve = serve
    lines = ["PUT / HTTP/1.1", "Host: shop", *(f"{key}: {value}" for key, value in way(stage.server.port).items())]
    client = await asyncio.to_thread(Stream.to, stage.gateway.port)
    client.send("\r\n".join([*lines, "Expect: 100-continue", "Content-Length: 3", "", ""]).encode())
    await asyncio.wait_for(asked.wait(), NOTICED)
    assert (await asyncio.to_thread(client.message)).startswith(b"HTTP/1.1 100 ")
    client.send(b"abc")
    assert (await asyncio.to_thread(client.message)).startswith(b"HTTP/1.1 200 ")
    client.socket.close()


async def test_server_sent_events_until_the_client_goes(stage: Stage, web: ClientSession) -> None:
    stage.site.gone.clear()
    async with web.get("/events") as answer:
        for number in range(5):
            assert await answer.content.readuntil(b"\n\n") == b"data: %d\n\n" % number
    await asyncio.wait_for(stage.site.gone.wait(), NOTICED)


async def test_a_client_that_gives_up_is_noticed(stage: Stage, web: ClientSession) -> None:
    stage.site.waiting.clear()
    stage.site.gone.clear()
    asking = asyncio.ensure_future(_get(web, "/hang"))
    await asyncio.wait_for(stage.site.waiting.wait(), NOTICED)
    asking.cancel()
    await asyncio.wait_for(stage.site.gone.wait(), NOTICED)


async def _get(web: ClientSession, path: str) -> str:
    async with web.get(path) as answer:
        return await answer.text()


async def test_web_socket(web: ClientSession) -> None:
    async with web.ws_connect("/ws", max_msg_size=0) as socket:
        for size in (0, 10, 4 << 20):
            data = os.urandom(size)
            await socket.send_bytes(data)
            assert await socket.receive_bytes() == data
        for number in range(50):
            await socket.send_str(f"turn {number}")
            assert await socket.receive_str() == f"turn {number}"
        await socket.send_str("bye")
        assert (await socket.receive()).type is WSMsgType.CLOSE
        assert socket.close_code == 4001


# HTTP/2 and gRPC


async def test_http2_with_trailers(stage: Stage) -> None:
    client = await Http2.to(stage.gateway.port)
    headers = way(stage.two.port, protocol="HTTP/2")
    answer = await client.ask("/", headers, method="POST", body=b"abc", trailers=[("x-end", "1")])
    assert answer.headers["x-who"] == "laptop"
    assert bytes(answer.body).decode() == digest_of(b"abc")
    assert answer.trailers == {"x-end": "1", "x-last": "1"}
    client.close()


async def test_a_hundred_megabytes_up_over_http2(stage: Stage) -> None:
    client = await Http2.to(stage.gateway.port)
    body = MEGABYTE * HUNDRED
    answer = await client.ask("/", way(stage.two.port, protocol="HTTP/2"), method="POST", body=body)
    assert bytes(answer.body).decode() == digest_of(body)
    client.close()


async def test_a_stream_that_is_reset_is_noticed(stage: Stage) -> None:
    client = await Http2.to(stage.gateway.port)
    stream = client.open("/hang", way(stage.two.port, protocol="HTTP/2"))
    hanging = await asyncio.wait_for(stage.two.hanging.get(), NOTICED)
    client.cancel(stream)
    await asyncio.wait_for(hanging.ended.wait(), NOTICED)
    assert hanging.reset
    client.close()


async def _each(those: list[bytes]) -> AsyncIterator[bytes]:
    for one in those:
        yield one


async def test_the_four_kinds_of_grpc_call(stage: Stage, channel: Any) -> None:
    sent = [b"%d" % number for number in range(1000)]
    large = os.urandom(4 << 20)
    unary = channel.unary_unary("/demo.Echo/Unary")(large, metadata=metadata(stage), timeout=NOTICED)
    assert await unary == b"laptop:" + large
    collect = channel.stream_unary("/demo.Echo/Collect")(_each(sent), metadata=metadata(stage), timeout=NOTICED)
    assert await collect == b"laptop:" + b"".join(sent)
    count = channel.unary_stream("/demo.Echo/Count")(b"1000", metadata=metadata(stage), timeout=NOTICED)
    assert [each async for each in count] == [b"laptop:" + each for each in sent]
    chat = channel.stream_stream("/demo.Echo/Chat")(metadata=metadata(stage), timeout=NOTICED)
    for each in sent[:100]:
        await chat.write(each)
        assert await chat.read() == b"laptop:" + each
    await chat.done_writing()
    assert await chat.read() is grpc.aio.EOF
    for call in (unary, collect, count, chat):
        trailing = dict(await call.trailing_metadata())
        assert (trailing["x-last"], trailing["x-sent-bin"]) == ("1", BINARY)
        assert await call.code() is grpc.StatusCode.OK


async def test_a_grpc_status_with_details_and_trailing_metadata(stage: Stage, channel: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary("/demo.Echo/Fail")(b"", metadata=metadata(stage), timeout=NOTICED)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.FAILED_PRECONDITION, DETAILS)
    assert dict(caught.value.trailing_metadata() or ())["x-why-bin"] == BINARY


async def test_a_grpc_call_that_is_cancelled_is_noticed(stage: Stage, channel: Any) -> None:
    stage.echo.waiting.clear()
    stage.echo.cancelled.clear()
    call = channel.unary_unary("/demo.Echo/Hang")(b"", metadata=metadata(stage))
    await asyncio.wait_for(stage.echo.waiting.wait(), NOTICED)
    call.cancel()
    await asyncio.wait_for(stage.echo.cancelled.wait(), NOTICED)


# Raw connections


async def test_a_raw_connection_in_which_the_server_speaks_first_and_each_side_ends_by_itself(stage: Stage) -> None:
    raw = await Raw.to(stage.gateway.port, way(stage.talker.port))
    assert raw.status == 200
    assert await raw.exactly(len(banner("laptop"))) == banner("laptop")
    sending = asyncio.create_task(raw.send(MEGABYTE * 10, end=True))
    assert await raw.exactly(10 << 20) == MEGABYTE * 10
    assert await raw.rest() == farewell("laptop", digest_of(MEGABYTE * 10))
    await sending
    raw.close()


async def test_all_that_a_server_said_before_it_ended_arrives_however_slowly_it_is_read(stage: Stage) -> None:
    def serve(stream: Stream) -> None:
        stream.exactly(1)
        for _ in range(20):
            stream.send(MEGABYTE)
        stream.socket.close()

    stage.server.serve = serve
    raw = await Raw.to(stage.gateway.port, way(stage.server.port))
    await raw.send(b"?")
    found = hashlib.sha256()
    while piece := await asyncio.wait_for(raw.read(1 << 16), NOTICED):
        found.update(piece)
        # Slower than it comes, so that it waits everywhere on its way.
        await asyncio.sleep(0.001)
    assert found.hexdigest() == digest_of(MEGABYTE * 20)
    raw.close()


async def test_a_server_that_has_nothing_more_to_say_listens_to_the_end(stage: Stage) -> None:
    stage.talker.heard = asyncio.get_running_loop().create_future()
    raw = await Raw.to(stage.gateway.port, way(stage.talker.port))
    assert await raw.exactly(len(banner("laptop"))) == banner("laptop")
    await raw.send(b"quit\n")
    assert await raw.rest() == b""
    await raw.send(b"and one more thing", end=True)
    assert await asyncio.wait_for(stage.talker.heard, NOTICED) == b"and one more thing"
    raw.close()


async def test_a_raw_connection_that_the_process_cuts_is_cut(stage: Stage) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        # Else closing it would be an ordinary end.
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    server = await asyncio.start_server(cut, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await stage.declare(port)
    raw = await Raw.to(stage.gateway.port, way(port))
    await raw.send(b"?")
    with pytest.raises(ConnectionResetError):
        await raw.rest()
    raw.close()
    server.close()


async def test_a_raw_connection_that_the_client_cuts_is_cut(stage: Stage) -> None:
    talker = stage.talker
    raw = await Raw.to(stage.gateway.port, way(talker.port))
    assert await raw.exactly(len(banner("laptop"))) == banner("laptop")
    assert len(talker.live) == 1
    raw.close()
    async with asyncio.timeout(NOTICED):
        while talker.live:  # noqa: ASYNC110  it is another process's doing
            await asyncio.sleep(0.01)


# Many, and slow


async def test_more_than_a_thousand_requests_at_once(stage: Stage, web: ClientSession) -> None:
    count = 1100
    all_there = asyncio.Event()
    waiting = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal waiting
        await reader.readuntil(b"\r\n\r\n")
        waiting += 1
        if waiting == count:
            all_there.set()
        await all_there.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=count)
    port = server.sockets[0].getsockname()[1]
    await stage.declare(port)
    client = await Http2.to(stage.gateway.port)
    answers = await asyncio.gather(*(client.ask("/", way(port)) for _ in range(count)))
    assert {(each.headers[":status"], bytes(each.body)) for each in answers} == {("200", b"ok")}
    client.close()
    server.close()


async def test_slow_readers_stall_nobody(web: ClientSession) -> None:
    slow = [await web.post("/echo", data=pieces(MEGABYTE, 20)) for _ in range(12)]
    try:
        for _ in range(20):
            assert await asyncio.wait_for(_get(web, "/"), NOTICED) == digest_of(b"")
    finally:
        for each in slow:
            each.close()


# Targets


async def _ask(stage: Stage, headers: dict[str, str]) -> tuple[int, dict[str, str], str]:
    async with (
        ClientSession(f"http://127.0.0.1:{stage.gateway.port}") as session,
        session.get("/", headers=headers) as answer,
    ):
        return answer.status, {key.lower(): value for key, value in answer.headers.items()}, await answer.text()


async def test_a_target_that_was_not_declared_is_refused_and_not_connected_to(stage: Stage) -> None:
    with_nobody: list[object] = []
    server = await asyncio.start_server(lambda *one: with_nobody.append(one), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for protocol in ("HTTP/1.1", "HTTP/2"):
        status, headers, _ = await _ask(stage, way(port, protocol=protocol))
        assert (status, "x-byway-away" in headers) == (403, False)
    raw = await Raw.to(stage.gateway.port, way(port))
    raw.close()
    assert raw.status == 403
    # As it is declared, and not another name of the same place.
    assert (await _ask(stage, way(stage.site.port, host="127.0.0.1")))[0] == 403
    assert not with_nobody
    server.close()


async def test_a_target_is_served_as_soon_as_it_is_declared_and_no_longer_than_that(stage: Stage) -> None:
    site = Site("other")
    await site.start()
    for _ in range(5):
        await stage.declare(site.port)
        status, headers, _ = await _ask(stage, way(site.port))
        assert (status, headers["x-who"]) == (200, "other")
        await stage.declare()
        assert (await _ask(stage, way(site.port)))[0] == 403
    await site.close()


async def test_a_process_that_does_not_listen_is_told_apart(stage: Stage) -> None:
    nobody = free_port()
    await stage.declare(nobody)
    for protocol in ("HTTP/1.1", "HTTP/2"):
        status, headers, text = await _ask(stage, way(nobody, protocol=protocol))
        assert (status, headers["x-byway-away"]) == (503, "target")
        assert "json" in headers["content-type"]
        body = json.loads(text)
        facts = {"intercept": "i-7", "name": "orders", "owner": "alice@laptop", "target": f"localhost:{nobody}"}
        assert body["error"]
        assert {key: body[key] for key in facts} == facts
    raw = await Raw.to(stage.gateway.port, way(nobody))
    raw.close()
    assert raw.status == 503


async def test_a_process_that_hangs_up_instead_of_answering_may_have_begun(stage: Stage) -> None:
    def serve(stream: Stream) -> None:
        stream.message()
        stream.socket.close()

    stage.server.serve = serve
    status, headers, text = await _ask(stage, way(stage.server.port))
    assert 500 <= status < 600
    assert "x-byway-away" not in headers
    assert json.loads(text)["intercept"] == "i-7"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_localhost_is_either_loopback_address(stage: Stage, address: str) -> None:
    site = Site("either")
    try:
        server = await asyncio.start_server(_who, address, 0)
    except OSError:
        pytest.skip(f"this machine has no {address}")
    port = server.sockets[0].getsockname()[1]
    await stage.declare(port)
    assert (await _ask(stage, way(port)))[1]["x-who"] == "either"
    server.close()
    await site.close()


async def _who(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nx-who: either\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


async def test_an_ipv6_target_is_written_in_brackets(stage: Stage) -> None:
    assert Target("::1", 80).authority == "[::1]:80"
    nobody = free_port()
    await stage.declare(nobody, host="::1")
    status, headers, _ = await _ask(stage, way(nobody, host="::1"))
    assert (status, headers["x-byway-away"]) == (503, "target")
