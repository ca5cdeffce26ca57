"""Many requests through one tunnel, large ones beside small ones, and readers that don't read.

Those who ask and those who answer have an event loop of their own: on that of the laptop they would keep it from
speaking to the manager, which would take it for gone.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import pytest_asyncio
from aiohttp import web

from tests.e2e.h2c import Http2, Http2Server, Message, request
from tests.e2e.http1 import Connection
from tests.e2e.stage import RecordingWorld, Scene, until, who
from tests.e2e.tunnel_stage import far_away, gateway_world
from tests.e2e.tunnels import TUNNELS

pytestmark = pytest.mark.asyncio(loop_scope="module")

KIND = pytest.mark.parametrize("kind", TUNNELS)
CLIENTS, EACH = 4, 275
"""Together more than the 1,024 requests that Envoy allows unless it is told otherwise, at several places."""
SLOW_READERS = 30
LARGE = 32 << 20
STALLED = 15.0
"""Seconds; a small request that is held up by others would wait for ever."""


T = TypeVar("T")


class Process:
    """Stands for a process on the laptop: its answers are small or large."""

    def __init__(self) -> None:
        self.port = 0

    async def large(self, asked: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-length": str(LARGE)})
        await response.prepare(asked)
        piece = bytes(1 << 20)
        for _ in range(LARGE >> 20):
            await response.write(piece)
        return response

    async def small(self, _: web.Request) -> web.Response:
        return web.Response(text="small")

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/large", self.large)
        app.router.add_get("/small", self.small)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        await self._runner.cleanup()


@pytest.fixture(scope="module")
def world(short_path: Path) -> Iterator[RecordingWorld]:
    yield from gateway_world(short_path / "load")


class Elsewhere:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do that there."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    one = Elsewhere()
    yield one
    one.close()


@pytest_asyncio.fixture(loop_scope="module")
async def process(elsewhere: Elsewhere) -> AsyncIterator[Process]:
    one = Process()
    await elsewhere.run(one.start())
    yield one
    await elsewhere.run(one.close())


async def small(scene: Scene, count: int) -> float:
    """Small requests, one after the other; how long the slowest took, seconds."""
    slowest = 0.0
    for _ in range(count):
        began = time.monotonic()
        answer = await asyncio.wait_for(scene.get("/small"), 60)
        assert (answer.status, who(answer), answer.body) == (200, "laptop", b"small")
        slowest = max(slowest, time.monotonic() - began)
    return slowest


@KIND
async def test_more_requests_at_once_than_envoys_defaults_allow(
    world: RecordingWorld, elsewhere: Elsewhere, kind: str
) -> None:
    laptop = Http2Server("laptop")
    await elsewhere.run(laptop.start())
    async with far_away(world, kind, laptop.port) as (_, scene):
        await elsewhere.run(crowd(laptop, scene))


async def crowd(laptop: Http2Server, scene: Scene) -> None:
    clients = [await Http2.to(scene.port) for _ in range(CLIENTS)]
    held = await many(clients, scene, "/hang")
    await until(partial(holds, laptop, held), "all of them are at the laptop", seconds=60)
    # A few hundred more than those that wait there.
    answered = await many(clients[:1], scene, "/answer")
    async with asyncio.timeout(60):
        for message in answered:
            await message.ended.wait()
    assert {(one.headers.get(":status"), one.headers.get("x-who")) for one in answered} == {("200", "laptop")}
    assert not any(one.ended.is_set() for one in held)
    for one in clients:
        one.close()
    laptop.close()
    await asyncio.gather(*(one.reading for one in clients if one.reading is not None))


async def holds(laptop: Http2Server, held: list[Message]) -> bool:
    ended = [one for one in held if one.ended.is_set()]
    assert not ended, ended[0]
    return laptop.hanging.qsize() == len(held)


async def many(clients: list[Http2], scene: Scene, path: str) -> list[Message]:
    """Many requests on each of the connections, all at once."""
    begun = []
    for one in clients:
        for _ in range(EACH):
            stream, message = one.begin()
            await one.send(stream, request(path, scene.header))
            begun.append(message)
            await asyncio.sleep(0)
    return begun


@KIND
async def test_readers_that_do_not_read_hold_up_nobody_else(
    world: RecordingWorld, process: Process, elsewhere: Elsewhere, kind: str
) -> None:
    async with far_away(world, kind, process.port) as (_, scene):
        await elsewhere.run(slow_readers(scene))


async def slow_readers(scene: Scene) -> None:
    writers = []
    for _ in range(SLOW_READERS):
        reader, writer = await asyncio.open_connection("127.0.0.1", scene.port)
        writers.append(writer)
        fields = "".join(f"{name}: {value}\r\n" for name, value in scene.header.items())
        writer.write(f"GET /large HTTP/1.1\r\nhost: shop\r\n{fields}\r\n".encode())
        # Its beginning has come, so the rest is on its way; nobody reads it.
        await asyncio.wait_for(reader.readexactly(1000), 20)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
    assert await small(scene, 20) < STALLED
    for writer in writers:
        writer.transport.abort()


@KIND
async def test_small_requests_pass_beside_large_answers(
    world: RecordingWorld, process: Process, elsewhere: Elsewhere, kind: str
) -> None:
    async with far_away(world, kind, process.port) as (_, scene):
        await elsewhere.run(large_ones(scene))


async def large_ones(scene: Scene) -> None:
    loads = [asyncio.create_task(download(scene)) for _ in range(2)]
    count = 0
    while not all(one.done() for one in loads):
        assert await small(scene, 1) < STALLED
        count += 1
    assert [await one for one in loads] == [LARGE, LARGE]
    assert count > 1


async def download(scene: Scene) -> int:
    connection = await Connection.open(scene.port)
    answer = await connection.request("/large", scene.header)
    connection.close()
    return len(answer.body)
