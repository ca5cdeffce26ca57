"""Every protocol on each way that a request can take: to the app, to the laptop, and to the app because the laptop is
away. What `test_transparency.py` shows byte for byte of HTTP/1 isn't shown again.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import ClientSession, TCPConnector, WSMsgType

from tests.e2e.h2c import Http2
from tests.e2e.protocol_stage import WAYS, Stage, Way, protocol_stage

pytestmark = pytest.mark.asyncio(loop_scope="module")
EACH = pytest.mark.parametrize("way", WAYS, ids=str)
NOTICED = 5.0
MEGABYTE = os.urandom(1 << 20)
HUNDRED = 100


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(short_path: Path) -> AsyncIterator[Stage]:
    async with protocol_stage(short_path / "protocols") as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def web(stage: Stage) -> AsyncIterator[ClientSession]:
    """A client of the HTTP/1 workload, with a single connection that is kept alive."""
    base = f"http://127.0.0.1:{stage.port('web')}"
    async with ClientSession(base, connector=TCPConnector(limit=1), read_bufsize=1 << 20) as session:
        yield session


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def pieces(data: bytes, *, times: int = 1) -> AsyncIterator[bytes]:
    for _ in range(times):
        yield data


# HTTP/1


@EACH
async def test_http_1_0(stage: Stage, way: Way) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port("web"))
    lines = ["GET / HTTP/1.0", *(f"{name}: {value}" for name, value in way.headers.items()), "", ""]
    writer.write("\r\n".join(lines).encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    status, *fields = head.split("\r\n")
    assert status == "HTTP/1.0 200 OK"
    way.check(dict(line.split(": ", 1) for line in fields))
    assert body == digest_of(b"")
    writer.close()


async def test_each_request_on_a_connection_goes_its_own_way(web: ClientSession) -> None:
    for _ in range(5):
        for way in WAYS:
            async with web.get("/", headers=way.headers) as answer:
                way.check(answer.headers)


@EACH
async def test_bodies_of_known_and_unknown_length(web: ClientSession, way: Way) -> None:
    data = os.urandom(300_000)
    for body in (data, pieces(data[:100_000], times=3)):
        async with web.put("/", headers=way.headers, data=body) as answer:
            way.check(answer.headers)
            assert await answer.text() == digest_of(data if body is data else data[:100_000] * 3)


@EACH
async def test_a_body_that_waits_for_100_continue(web: ClientSession, way: Way) -> None:
    async with web.put("/", headers=way.headers, data=b"abc", expect100=True) as answer:
        way.check(answer.headers)
        assert await answer.text() == digest_of(b"abc")


@EACH
async def test_head(web: ClientSession, way: Way) -> None:
    async with web.head("/", headers=way.headers) as answer:
        way.check(answer.headers)
        assert answer.headers["content-length"] == "64"
        assert await answer.read() == b""


@EACH
async def test_server_sent_events_until_the_client_goes(stage: Stage, web: ClientSession, way: Way) -> None:
    stage.sites[way.who].gone.clear()
    async with web.get("/events", headers=way.headers) as answer:
        way.check(answer.headers)
        for number in range(5):
            assert await answer.content.readuntil(b"\n\n") == b"data: %d\n\n" % number
    await asyncio.wait_for(stage.sites[way.who].gone.wait(), NOTICED)


@EACH
async def test_a_client_that_gives_up_is_noticed(stage: Stage, web: ClientSession, way: Way) -> None:
    site = stage.sites[way.who]
    site.waiting.clear()
    site.gone.clear()
    asking = asyncio.create_task(_hang(web, way))
    await asyncio.wait_for(site.waiting.wait(), NOTICED)
    asking.cancel()
    await asyncio.wait_for(site.gone.wait(), NOTICED)


async def _hang(web: ClientSession, way: Way) -> None:
    async with web.get("/hang", headers=way.headers):
        raise AssertionError("/hang has answered")


@EACH
async def test_a_hundred_megabytes_go_both_ways_at_once_through_little_memory(
    stage: Stage, web: ClientSession, way: Way
) -> None:
    before = memory(stage)
    sent, back = hashlib.sha256(), hashlib.sha256()
    for _ in range(HUNDRED):
        sent.update(MEGABYTE)
    async with web.post("/echo", headers=way.headers, data=pieces(MEGABYTE, times=HUNDRED)) as answer:
        way.check(answer.headers)
        async for piece in answer.content.iter_any():
            back.update(piece)
    assert back.digest() == sent.digest()
    assert memory(stage) - before < 50 << 20


def memory(stage: Stage) -> int:
    """The most that the sidecar's Envoy has used so far, in bytes."""
    pid = stage.world.processes.children["web-1-sidecar"].pid
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    assert "envoy" in lines[0]
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


@EACH
async def test_web_sockets_with_large_messages(web: ClientSession, way: Way) -> None:
    large = os.urandom(5_000_000)
    async with web.ws_connect("/ws", headers=way.headers, max_msg_size=0, compress=15, autoping=False) as socket:
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello"
        await socket.send_bytes(large)
        assert await socket.receive_bytes() == large
        await socket.ping(b"there?")
        pong = await socket.receive()
        assert (pong.type, pong.data) == (WSMsgType.PONG, b"there?")
        await socket.send_str("bye")
        assert (await socket.receive()).type is WSMsgType.CLOSE
        assert socket.close_code == 4001
        way.check(socket._response.headers)


async def test_an_upgrade_goes_its_own_way_on_a_connection_that_carried_other_requests(
    stage: Stage, web: ClientSession
) -> None:
    for way in (WAYS[1], WAYS[0], WAYS[2]):
        others = [each for each in WAYS if each is not way]
        for each in others:
            async with web.get("/", headers=each.headers) as answer:
                each.check(answer.headers)
        async with web.ws_connect("/ws", headers=way.headers) as socket:
            way.check(socket._response.headers)
    assert stage.sites["laptop"].asked


# HTTP/2 by prior knowledge


@EACH
async def test_http_2_with_body_and_trailers(stage: Stage, way: Way) -> None:
    client = await Http2.to(stage.port("two"))
    data = os.urandom(1_000_000)
    trailers = [("x-sum", "42")]
    answer = await asyncio.wait_for(client.ask("/", way.headers, method="POST", body=data, trailers=trailers), NOTICED)
    way.check(answer.headers)
    assert answer.body.decode() == digest_of(data)
    assert answer.trailers == {"x-sum": "42", "x-last": "1"}
    head = await client.ask("/", way.headers, method="HEAD")
    assert (head.headers["content-length"], len(head.body)) == ("64", 0)
    client.close()


async def test_streams_of_one_http_2_connection_go_their_own_ways(stage: Stage) -> None:
    client = await Http2.to(stage.port("two"))
    ways = WAYS * 20
    answers = await asyncio.gather(*(client.ask("/", way.headers) for way in ways))
    for way, answer in zip(ways, answers, strict=True):
        way.check(answer.headers)
    client.close()


@EACH
async def test_a_reset_of_an_http_2_stream_is_passed_on_and_the_connection_lives(stage: Stage, way: Way) -> None:
    client = await Http2.to(stage.port("two"))
    stream = client.open("/hang", way.headers)
    hanging = await asyncio.wait_for(stage.servers[way.who].hanging.get(), NOTICED)
    client.cancel(stream)
    await asyncio.wait_for(hanging.ended.wait(), NOTICED)
    assert hanging.reset
    way.check((await client.ask("/", way.headers)).headers)
    client.close()
