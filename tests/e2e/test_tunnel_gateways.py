"""What becomes of requests when a gateway dies, or is restarted, or the path between it and the laptop falls silent.

A laptop with each kind of tunnel is there, so that what takes seconds happens to both at once.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from demo.world import Answer
from tests.e2e.http1 import Connection, CutError
from tests.e2e.stage import InFlight, RecordingWorld, Scene, seen, until, until_laptop, who
from tests.e2e.tunnel_stage import far_away, gateway_world, laptop_process
from tests.e2e.tunnelled_laptop import TunnelledLaptop
from tests.e2e.tunnels import TUNNELS
from tests.tunnel.forwarder import Forwarder

pytestmark = pytest.mark.asyncio(loop_scope="module")

SILENT = 5.0
"""Seconds within which a path that has fallen silent is noticed. What a slow machine adds comes on top."""
SLOW = 5.0
"""What a machine with other things to do may add."""

WORKERS = 4

Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def world(short_path: Path) -> Iterator[RecordingWorld]:
    yield from gateway_world(short_path / "gw", users=(*TUNNELS, *(f"{kind}-used" for kind in TUNNELS)))


@pytest.fixture(scope="module")
def target(world: RecordingWorld) -> int:
    return laptop_process(world)


@asynccontextmanager
async def every_kind(world: RecordingWorld, target: int) -> AsyncIterator[list[tuple[TunnelledLaptop, Scene]]]:
    """A laptop with each kind of tunnel."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(far_away(world, kind, target, user=kind)) for kind in TUNNELS]


@dataclass(slots=True)
class Load:
    """Requests that go on and on, and how they ended."""

    answers: Counter[tuple[int, str]] = field(default_factory=Counter)
    slowest: float = 0.0
    failed: list[tuple[float, Answer]] = field(default_factory=list)

    async def more(self, count: int) -> None:
        """Wait until so many more have been answered."""
        wanted = self.answers.total() + count

        async def enough() -> bool:
            return self.answers.total() >= wanted

        await until(enough, f"{count} more answers")

    async def work(self, scene: Scene, number: int) -> None:
        connection = await Connection.open(scene.port)
        while True:
            began = time.monotonic()
            try:
                answer = await connection.request(f"/_load/{number}", scene.header)
                self.answers[answer.status, who(answer)] += 1
                if answer.status != 200:
                    self.failed.append((time.monotonic(), answer))
            except (CutError, OSError) as error:
                self.answers[0, type(error).__name__] += 1
                connection = await Connection.open(scene.port)
            self.slowest = max(self.slowest, time.monotonic() - began)


@asynccontextmanager
async def loads(laptops: list[tuple[TunnelledLaptop, Scene]]) -> AsyncIterator[list[Load]]:
    """Requests to each of the laptops, all the time."""
    found = [Load() for _ in laptops]
    tasks = [
        asyncio.create_task(one.work(scene, number))
        for one, (_, scene) in zip(found, laptops, strict=True)
        for number in range(WORKERS)
    ]
    try:
        for one in found:
            await one.more(50)
        yield found
    finally:
        for task in tasks:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in done), done


async def restarted(world: RecordingWorld, number: int, end: Callable[[str], None]) -> None:
    """End a gateway and start it again; returns when it listens."""
    gateway = world.gateways[number]
    await asyncio.to_thread(end, gateway.process)
    world.start_gateway(gateway)
    await asyncio.to_thread(world.wait_for_gateway, gateway)


async def test_a_rolling_restart_of_the_gateways_fails_no_request(
    world: RecordingWorld, target: int, record_property: Record
) -> None:
    async with every_kind(world, target) as all_of_them, loads(all_of_them) as asked:
        for number in range(2):
            await restarted(world, number, world.processes.stop)
            back = time.monotonic()
            for far, _ in all_of_them:
                await until(far.up, "the tunnel is up again")
                record_property(f"{far.tunnel.kind}: up after", time.monotonic() - back)
            for one in asked:
                await one.more(50)
    for (far, _), one in zip(all_of_them, asked, strict=True):
        record_property(far.tunnel.kind, (dict(one.answers), one.slowest))
        assert one.answers.keys() == {(200, "laptop")}, one


async def test_a_killed_gateway_takes_nothing_but_what_was_in_flight_there(
    world: RecordingWorld, target: int, record_property: Record
) -> None:
    async with every_kind(world, target) as all_of_them:
        async with loads(all_of_them) as asked:
            await restarted(world, 0, world.processes.kill)
            for far, _ in all_of_them:
                await until(far.up, "the tunnel is up again")
            for one in asked:
                await one.more(50)
        for (far, _), one in zip(all_of_them, asked, strict=True):
            record_property(far.tunnel.kind, (dict(one.answers), one.slowest))
            assert len(one.failed) <= WORKERS, one
            assert set(one.answers) <= {(200, "laptop"), (503, "none")}, one


async def test_without_any_gateway_the_app_answers_until_one_is_back(
    world: RecordingWorld, target: int, record_property: Record
) -> None:
    async with every_kind(world, target) as all_of_them:
        for gateway in world.gateways:
            world.processes.kill(gateway.process)
        try:
            for _, scene in all_of_them:
                # What is sent in the very moment may still reach a gateway that dies.
                await leaves(scene, time.monotonic())
                before = await seen(scene.app)
                answers = [await scene.get("/nobody"), await scene.post("/nobody", body=bytes(200_000))]
                assert all(scene.fallen_back(one) for one in answers), answers
                assert not any("x-byway-away" in one.headers for one in answers)
                assert (await seen(scene.app) - before)["/nobody"] == 2
        finally:
            for gateway in world.gateways:
                world.start_gateway(gateway)
            await asyncio.to_thread(world.wait_for_gateway, world.gateways[0])
        since = time.monotonic()
        for far, scene in all_of_them:
            took = await until_laptop(scene, since=since, within=2 + SLOW)
            record_property(f"{far.tunnel.kind}: back after", took)
        await asyncio.to_thread(world.wait_for_gateway, world.gateways[1])


@asynccontextmanager
async def paths_to(world: RecordingWorld) -> AsyncIterator[dict[str, Forwarder]]:
    """Forwarders between laptops and the gateways."""
    async with AsyncExitStack() as stack:
        found = {}
        for gateway in world.gateways:
            one = found[gateway.name] = Forwarder(gateway.tunnel)
            await one.start()
            stack.push_async_callback(one.close)
        yield found


async def test_a_path_that_stands_still_is_noticed_and_used_again_when_it_goes_on(
    world: RecordingWorld, target: int, record_property: Record
) -> None:
    """With a tunnel on which nothing was ever asked, and with one on which requests are under way."""
    async with AsyncExitStack() as stack:
        paths = await stack.enter_async_context(paths_to(world))
        through = {name: one.port for name, one in paths.items()}
        laptops: list[tuple[str, TunnelledLaptop, Scene]] = []
        flights: dict[str, InFlight] = {}
        for kind in TUNNELS:
            for user, port in ((kind, target), (f"{kind}-used", laptop_process(world, f"{kind}-used"))):
                made = far_away(world, kind, port, user=user, through=through)
                laptops.append((user, *await stack.enter_async_context(made)))
                if user != kind:
                    stack.callback(world.processes.kill, user)
                    flight = flights[user] = InFlight(laptops[-1][2])
                    stack.push_async_callback(flight.cancel)
                    await flight.start()
        stopped = time.monotonic()
        for one in paths.values():
            one.stand_still()
        left = await asyncio.gather(*(leaves(scene, stopped) for _, _, scene in laptops))
        for (user, far, scene), took in zip(laptops, left, strict=True):
            record_property(f"{user}: left after", took)
            if user in flights:
                record_property(f"{user}: ended", await flights[user].check_ended(stopped, within=SILENT + SLOW))
            await until(partial(down, far), "the laptop has noticed", seconds=SILENT + SLOW)
            record_property(f"{user}: noticed at most after", time.monotonic() - stopped)
            assert scene.fallen_back(await scene.get("/gone"))
        for one in paths.values():
            one.go_on()
        since = time.monotonic()
        back = (until_laptop(scene, since=since, within=SILENT + SLOW) for _, _, scene in laptops)
        for (user, _, _), took in zip(laptops, await asyncio.gather(*back), strict=True):
            record_property(f"{user}: back after", took)


async def down(far: TunnelledLaptop) -> bool:
    return not far.tunnel.state.up


async def leaves(scene: Scene, since: float) -> float:
    """Ask until the app answers; nothing that is asked hangs for long. Returns seconds since then."""
    while True:
        answer = await asyncio.wait_for(scene.get("/leaving"), SILENT + SLOW)
        if scene.fallen_back(answer):
            return time.monotonic() - since
        # The gateway gave the request to a tunnel that it did not know to be dead.
        scene.check_refusal(answer)
        assert time.monotonic() - since < SILENT + SLOW
