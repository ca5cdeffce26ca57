"""Whole ports that carry no HTTP: declared TCP or TLS, or undeclared. New connections go to the laptop or to the app;
those that are there stay where they are.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp.web import BaseRequest, Response, Server, ServerRunner, TCPSite

from demo.world import Instance, Workload, World, free_port
from tests.e2e.api_laptop import ApiLaptop
from tests.e2e.http1 import ask
from tests.e2e.stage import ENDS_WITHIN, LEAVES_WITHIN, RETURNS_WITHIN
from tests.e2e.talker import QUIT, Line, Talker, asks, farewell
from tests.e2e.test_laptop_death import black_hole
from xds.api.byway.manager.v1 import TargetStateState

pytestmark = pytest.mark.asyncio(loop_scope="module")

DECLARED = {"redis": "tcp", "vault": "tls", "odd": ""}
UP, AWAY, UNKNOWN = TargetStateState.LISTENING, TargetStateState.NOT_LISTENING, TargetStateState.UNKNOWN
PROMPT = 0.5
"""Seconds within which something is done on a machine with other things to do, where nobody waits for a time limit."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def apps() -> AsyncIterator[dict[str, Talker]]:
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(Talker("app")) for name in DECLARED}


@pytest.fixture(scope="module")
def world(short_path: Path, apps: dict[str, Talker]) -> Iterator[World]:
    workloads = [
        Workload(name, [Instance(f"{name}-1", app=apps[name].port)], protocol=protocol)
        for name, protocol in DECLARED.items()
    ]
    one = World(short_path / "tcp", workloads, users=("alice", "bob"))
    try:
        one.write_file()
        one.start_manager()
        for workload in workloads:
            one.start_sidecar(workload, workload.instances[0])
        for workload in workloads:
            one.wait_for_sidecar(workload.instances[0])
        yield one
    finally:
        one.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def alice(world: World) -> AsyncIterator[ApiLaptop]:
    async with ApiLaptop(world, "alice") as one:
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def laptop() -> AsyncIterator[Talker]:
    async with Talker("laptop") as one:
        yield one


async def until(port: int, who: str, *, instead_of: str, within: float) -> float:
    """Connect again and again until that one answers. Returns the seconds that it took."""
    began = time.monotonic()
    while (found := await asks(port)) != who:
        assert found == instead_of
        assert time.monotonic() - began < within + 5, f"{who!r} does not answer"
        await asyncio.sleep(0.01)
    took = time.monotonic() - began
    assert took < within
    return took


async def take(alice: ApiLaptop, workload: str, target: int, state: TargetStateState = UP, **wishes: Any) -> None:
    """Alice's global intercept, which ends with her session."""
    alice.say(target, state)
    made = await alice.intercept(workload, workload, target, **wishes)
    assert bool(made.curl_args) == (DECLARED[workload] == ""), "an example request, where there may be requests"


@pytest.mark.parametrize("name", DECLARED)
async def test_new_connections_go_to_the_laptop_and_open_ones_stay(
    world: World, alice: ApiLaptop, laptop: Talker, name: str
) -> None:
    port = world.port(name)
    before = await Line.to(port)
    await take(alice, name, laptop.port)
    during = await Line.to(port)
    assert (before.who, during.who) == ("app", "laptop"), "the server speaks first"
    assert await before.says()
    assert await during.says()
    await alice.leave(name)
    after = await Line.to(port)
    assert after.who == "app"
    assert await before.says()
    assert await after.says()
    for line in (before, during, after):
        line.close()


async def test_what_is_under_way_at_the_laptop_ends_with_the_intercept(
    world: World, alice: ApiLaptop, laptop: Talker
) -> None:
    await take(alice, "redis", laptop.port)
    line = await Line.to(world.port("redis"))
    await alice.leave("redis")
    async with asyncio.timeout(2 * ENDS_WITHIN):
        assert await line.ends() == "reset"


@pytest.mark.parametrize("who", ["app", "laptop", "away"])
async def test_each_side_may_end_before_the_other_does(
    world: World, alice: ApiLaptop, laptop: Talker, apps: dict[str, Talker], who: str
) -> None:
    if who != "app":
        await take(alice, "redis", laptop.port, AWAY if who == "away" else UP)
    line = await Line.to(world.port("redis"))
    sent, back, last = await asyncio.wait_for(line.exchange([b"one\n", b"two\n"]), 5)
    assert sent == back
    assert line.who == ("laptop" if who == "laptop" else "app")
    assert last == farewell(line.who, sent)
    line = await Line.to(world.port("redis"))
    line.writer.write(QUIT)
    assert await line.ends() == "complete"
    line.writer.write(b"and another thing")
    line.writer.write_eof()
    server = laptop if who == "laptop" else apps["redis"]
    assert await asyncio.wait_for(server.heard, 5) == b"and another thing"
    server.heard = asyncio.Future()


@pytest.mark.parametrize("who", ["app", "laptop"])
async def test_a_reset_is_passed_on_either_way(
    world: World, alice: ApiLaptop, laptop: Talker, apps: dict[str, Talker], who: str
) -> None:
    """To a protocol that ends a message with its connection, a clean end would look like a complete message."""
    if who == "laptop":
        await take(alice, "redis", laptop.port)
    server = laptop if who == "laptop" else apps["redis"]
    line = await Line.to(world.port("redis"))
    reset(server.live[-1])
    assert await asyncio.wait_for(line.ends(), 5) == "reset"
    line = await Line.to(world.port("redis"))
    writer = server.live[-1]
    reset(line.writer)
    with suppress(ConnectionResetError):
        await asyncio.wait_for(writer.wait_closed(), 5)


def reset(writer: asyncio.StreamWriter) -> None:
    """Break a connection off, so that the other side is told."""
    at_once = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
    writer.transport.abort()


@pytest.mark.parametrize("who", ["app", "laptop"])
async def test_a_hundred_megabytes_both_ways(world: World, alice: ApiLaptop, laptop: Talker, who: str) -> None:
    if who == "laptop":
        await take(alice, "redis", laptop.port)
    piece = os.urandom(1 << 20)
    line = await Line.to(world.port("redis"))
    sent, back, last = await asyncio.wait_for(line.exchange(piece for _ in range(100)), 60)
    assert (line.who, last) == (who, farewell(who, sent))
    assert sent == back


async def test_no_connection_fails_while_intercepts_come_and_go(
    world: World, alice: ApiLaptop, laptop: Talker, record_property: Callable[[str, object], None]
) -> None:
    """The endpoints that lead to a hop arrive before the hop."""
    answered: Counter[str] = Counter()
    done = asyncio.Event()

    async def keep_connecting() -> None:
        while not done.is_set():
            answered[await asks(world.port("redis"))] += 1

    asking = [asyncio.create_task(keep_connecting()) for _ in range(4)]
    for _ in range(10):
        await take(alice, "redis", laptop.port)
        assert await asks(world.port("redis")) == "laptop", "as soon as it is active"
        await alice.leave("redis")
    done.set()
    await asyncio.gather(*asking)
    record_property("answered", dict(answered))
    assert set(answered) == {"app", "laptop"}


@pytest.mark.parametrize("name", ["redis", "odd"])
async def test_a_connection_that_the_laptop_refuses_goes_to_the_app(
    world: World, alice: ApiLaptop, name: str, record_property: Callable[[str, object], None]
) -> None:
    """Before anybody can know that nobody listens there, and however long that takes."""
    await take(alice, name, free_port(), UNKNOWN)
    began = time.monotonic()
    assert await asks(world.port(name)) == "app"
    record_property("first answered after", time.monotonic() - began)
    assert Counter(await asyncio.gather(*(asks(world.port(name)) for _ in range(50)))) == {"app": 50}
    while time.monotonic() < began + 2.5:
        assert await asks(world.port(name)) == "app"
    async with Talker("laptop") as late:
        await alice.leave(name)
        await take(alice, name, late.port, UNKNOWN)
        await until(world.port(name), "laptop", instead_of="app", within=RETURNS_WITHIN)


async def test_a_sidecar_that_starts_anew_takes_the_intercept_in(
    world: World, alice: ApiLaptop, laptop: Talker
) -> None:
    workload = world.workload("vault")
    await take(alice, "vault", laptop.port)
    world.processes.kill("vault-1-sidecar")
    world.start_sidecar(workload, workload.instances[0])
    world.wait_for_sidecar(workload.instances[0])
    assert await asks(world.port("vault")) == "laptop"


async def test_a_laptop_that_neither_accepts_nor_refuses_is_given_up(world: World, alice: ApiLaptop) -> None:
    with black_hole() as target:
        await take(alice, "redis", target, UNKNOWN)
        async with asyncio.timeout(ENDS_WITHIN):
            assert await asks(world.port("redis")) == "app"


async def test_nobody_answers_while_the_laptop_does_not_where_its_owner_wants_it_so(
    world: World, alice: ApiLaptop
) -> None:
    await take(alice, "redis", target := free_port(), UNKNOWN, when_down="fail")
    assert await asks(world.port("redis")) == ""
    alice.say(target, AWAY)
    began = time.monotonic()
    assert await asks(world.port("redis")) == ""
    assert time.monotonic() - began < PROMPT


@pytest.mark.parametrize("when_down", ["cluster", "fail"])
@pytest.mark.parametrize("name", ["redis", "odd"])
async def test_what_is_under_way_ends_when_the_laptop_goes_away_and_new_connections_come_back_with_it(
    world: World,
    alice: ApiLaptop,
    laptop: Talker,
    name: str,
    when_down: str,
    record_property: Callable[[str, object], None],
) -> None:
    """As if its machine were frozen: the connections themselves stay open."""
    port = world.port(name)
    before = await Line.to(port)
    await take(alice, name, laptop.port, when_down=when_down)
    during = await Line.to(port)
    assert (before.who, during.who) == ("app", "laptop")
    alice.say(laptop.port, AWAY)
    instead = "app" if when_down == "cluster" else ""
    record_property("left after", await until(port, instead, instead_of="laptop", within=LEAVES_WITHIN))
    began = time.monotonic()
    async with asyncio.timeout(ENDS_WITHIN):
        assert await during.ends() == "reset"
    record_property("in flight ended after", time.monotonic() - began)
    alice.say(laptop.port, UP)
    record_property("back after", await until(port, "laptop", instead_of=instead, within=RETURNS_WITHIN))
    assert await before.says(), "others do not notice"
    before.close()


async def test_a_laptop_may_come_and_go_several_times_a_second(world: World, alice: ApiLaptop, laptop: Talker) -> None:
    port = world.port("redis")
    await take(alice, "redis", laptop.port)
    for _ in range(4):
        alice.say(laptop.port, AWAY)
        await until(port, "app", instead_of="laptop", within=PROMPT)
        alice.say(laptop.port, UP)
        await until(port, "laptop", instead_of="app", within=PROMPT)


async def test_an_undeclared_port_takes_requests_by_route_and_other_bytes_by_endpoint(
    world: World, alice: ApiLaptop, laptop: Talker
) -> None:
    port = world.port("odd")
    async with web("alice") as personal, web("shared") as shared, ApiLaptop(world, "bob") as bob:
        await take(alice, "odd", personal, http_header=["x-user=alice"])
        assert (await ask(port, "/", {"x-user": "alice"})).body == b"alice"
        assert await asks(port) == "app", "a personal intercept takes no connection"
        bob.say(laptop.port, UP)
        await bob.intercept("bytes", "odd", laptop.port, shared=True)
        assert await asks(port) == "laptop"
        assert (await ask(port, "/", {"x-user": "alice"})).body == b"alice", "what is claimed is left alone"
        await bob.leave("bytes")
        assert await asks(port) == "app"
        bob.say(shared, UP)
        await bob.intercept("requests", "odd", shared, shared=True)
        assert (await ask(port, "/", {"x-user": "alice"})).body == b"alice"
        assert (await ask(port, "/")).body == b"shared"


@asynccontextmanager
async def web(name: str) -> AsyncIterator[int]:
    """An HTTP server that says its name."""

    async def handle(request: BaseRequest) -> Response:
        return Response(text=name)

    runner = ServerRunner(Server(handle))
    await runner.setup()
    site = TCPSite(runner, "127.0.0.1", port := free_port())
    await site.start()
    yield port
    await runner.cleanup()
