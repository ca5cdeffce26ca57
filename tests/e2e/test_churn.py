"""Traffic goes on, whatever comes and goes: intercepts, two hundred times; the manager, killed, ended or frozen."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from demo.world import Answer, World, free_port
from tests.e2e.api_laptop import ApiLaptop
from tests.e2e.http1 import Connection, ask
from tests.e2e.stage import (
    RETURNS_WITHIN,
    SHOP,
    InFlight,
    RecordingWorld,
    Scene,
    admin_stats,
    connected,
    continue_process,
    in_sync,
    start_recorder,
    stop_process,
    until,
    until_laptop,
    who,
)
from xds.api.byway.manager.v1 import TargetStateState

Stage = Callable[..., Scene]
REQUESTS = 10_000
CREATIONS = 200
CONNECTIONS = 6


@dataclass(slots=True)
class Slot:
    """A kind of request, and an intercept for it that comes and goes.

    `at` is who has to answer: None while it is changing hands. `turn` counts the changes.
    """

    name: str
    owner: str
    flags: dict[str, Any]
    path: str = "/"
    headers: dict[str, str] = field(default_factory=dict)
    at: str | None = "app"
    turn: int = 0

    def becomes(self, at: str | None) -> None:
        self.at = at
        self.turn += 1

    def check(self, answer: Answer, at: str | None, turn: int) -> str:
        """What is wrong with an answer to a request that was sent at that turn; empty if nothing is."""
        if answer.status != 200:
            return f"{self.name}: {answer}"
        by = json.loads(answer.body)["who"]
        place = "app" if by.startswith("shop-") else by
        steady = at is not None and self.turn == turn
        if place != at if steady else place not in {"app", self.owner}:
            return f"{self.name}: answered by {by}, has to be by {at}"
        said = who(answer)
        # While it is coming the intercept may have its routes and not yet the rest of its way.
        if said not in (("laptop",) if place != "app" else ("",) if steady else ("", "cluster")):
            return f"{self.name}: answered by {by}, but the header says {said!r}"
        return ""


@dataclass(slots=True)
class Churn:
    """What was done and what went wrong."""

    stage: RecordingWorld
    slots: list[Slot]
    running: bool = True
    sent: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    to_laptop: list[float] = field(default_factory=list)
    to_cluster: list[float] = field(default_factory=list)

    async def traffic(self, number: int) -> None:
        """Requests of every kind, one after the other, on one connection, which has to last."""
        connection = await Connection.open(self.stage.port(SHOP, number % 2))
        kinds = itertools.islice(itertools.cycle(self.slots), number, None)
        while self.running or self.sent.total() < REQUESTS:
            slot = next(kinds)
            at, turn = slot.at, slot.turn
            answer = await connection.request(slot.path, slot.headers)
            self.sent[slot.name] += 1
            if problem := slot.check(answer, at, turn):
                self.wrong.append(problem)
        connection.close()

    async def come_and_go(self, laptop: ApiLaptop, target: int, slots: list[Slot]) -> None:
        """Create and leave in turn; the next request at either sidecar has to know of it."""
        for number in range(CREATIONS // 2):
            slot = slots[number % len(slots)]
            slot.becomes(None)
            began = time.monotonic()
            await laptop.intercept(slot.name, SHOP, target, **slot.flags)
            slot.becomes(slot.owner)
            await self.next_request(slot)
            self.to_laptop.append(time.monotonic() - began)
            slot.becomes(None)
            began = time.monotonic()
            await laptop.leave(slot.name)
            slot.becomes("app")
            await self.next_request(slot)
            self.to_cluster.append(time.monotonic() - began)

    async def next_request(self, slot: Slot) -> None:
        """The very next request, at each sidecar, on a connection of its own."""
        for number in (0, 1):
            answer = await ask(self.stage.port(SHOP, number), slot.path, slot.headers)
            if problem := slot.check(answer, slot.at, slot.turn):
                self.wrong.append(f"the next request: {problem}")


async def test_ten_thousand_requests_go_where_they_should_while_intercepts_come_and_go(
    stage: RecordingWorld, record_property: Callable[[str, object], None]
) -> None:
    targets = {"carol": free_port(), "dave": free_port()}
    for user, port in targets.items():
        start_recorder(stage.processes, user, port)
    async with ApiLaptop(stage, "carol") as carol, ApiLaptop(stage, "dave") as dave:
        for laptop, port in ((carol, targets["carol"]), (dave, targets["dave"])):
            laptop.say(port, TargetStateState.LISTENING)
        of_carol = [
            Slot("auto-carol", "carol", {"http_header": ["auto"]}, headers=carol.header),
            Slot("team", "carol", {"http_header": ["x-team=blue"]}, headers={"x-team": "blue"}),
        ]
        of_dave = [
            Slot("auto-dave", "dave", {"http_header": ["auto"]}, headers=dave.header),
            Slot("path-dave", "dave", {"http_header": ["all"], "http_path_prefix": "/dave/"}, path="/dave/cart"),
        ]
        churn = Churn(stage, [Slot("ordinary", "", {}), *of_carol, *of_dave])
        async with asyncio.timeout(90), asyncio.TaskGroup() as tasks:
            for number in range(CONNECTIONS):
                tasks.create_task(churn.traffic(number))
            async with asyncio.TaskGroup() as churners:
                churners.create_task(churn.come_and_go(carol, targets["carol"], of_carol))
                churners.create_task(churn.come_and_go(dave, targets["dave"], of_dave))
            churn.running = False
    for user in targets:
        stage.processes.kill(user)
    assert not churn.wrong, churn.wrong[:10]
    assert len(churn.to_laptop) == CREATIONS
    assert churn.sent.total() >= REQUESTS
    record_property("requests", dict(churn.sent))
    record_property("from the call until the laptop answered, ms", _spread(churn.to_laptop))
    record_property("from the call until the app answered, ms", _spread(churn.to_cluster))


async def test_an_intercept_is_live_within_a_blink(
    stage: RecordingWorld, record_property: Callable[[str, object], None]
) -> None:
    """With nothing else going on: from the call to the first request that the laptop answered."""
    port = free_port()
    start_recorder(stage.processes, "carol", port)
    took = []
    async with ApiLaptop(stage, "carol") as carol:
        carol.say(port, TargetStateState.LISTENING)
        connection = await Connection.open(stage.port(SHOP))
        for number in range(100):
            began = time.monotonic()
            await carol.intercept(f"blink-{number}", SHOP, port, http_header=["auto"])
            answer = await connection.request("/", carol.header)
            took.append(time.monotonic() - began)
            assert who(answer) == "laptop"
            await carol.leave(f"blink-{number}")
            assert not who(await connection.request("/", carol.header))
        connection.close()
    stage.processes.kill("carol")
    record_property("from the call until the laptop answered, ms", _spread(took))
    assert statistics.median(took) < 0.5


def _spread(seconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100)
    return {name: round(cuts[at] * 1000, 1) for name, at in {"p50": 49, "p90": 89, "p99": 98}.items()}


class TestTheManager:
    """Alice's intercept, Bob's, their open streams and ordinary traffic, while the manager has its troubles."""

    async def test_killed_and_started_anew_nobody_notices(
        self, scene: Stage, record_property: Callable[[str, object], None]
    ) -> None:
        this = scene()
        flight = InFlight(this)
        await flight.start()
        # A generation that is not the first one: it has to be the same after the restart.
        this.world.processes.kill(this.process)
        await flight.check_ended(time.monotonic(), within=1)
        start_recorder(this.world.processes, this.process, this.target)
        await until_laptop(this, since=time.monotonic())
        flight = InFlight(this)
        await flight.start()
        before = await pushed(this)
        this.world.processes.kill("manager")
        for _ in range(20):
            assert who(await this.get("/without")) == "laptop"
        await until(lambda: daemons(this.world, connected_now=False), "the daemons miss the manager")
        back = await self._started_anew(this)
        assert await pushed(this) == before
        assert flight.pending == {"request", "upload", "stream"}
        assert who(await this.get("/with")) == "laptop"
        await self._still_of_use(this)
        await flight.cancel()
        record_property("sidecars and daemons back after", back)

    async def test_ended_and_started_anew_nobody_notices(self, scene: Stage) -> None:
        this = scene()
        flight = InFlight(this)
        await flight.start()
        before = await pushed(this)
        this.world.processes.stop("manager")
        assert who(await this.get("/without")) == "laptop"
        await self._started_anew(this)
        assert await pushed(this) == before
        assert flight.pending == {"request", "upload", "stream"}
        assert who(await this.get("/with")) == "laptop"
        await flight.cancel()

    async def test_frozen_for_a_while_it_does_not_take_its_sleep_for_that_of_the_laptops(self, scene: Stage) -> None:
        this = scene()
        flight = InFlight(this)
        await flight.start()
        before = await pushed(this)
        manager = this.world.processes.children["manager"].pid
        stopped = stop_process(manager)
        try:
            while time.monotonic() - stopped < 2.5:
                assert who(await this.get("/frozen")) == "laptop"
                await asyncio.sleep(0.05)
        finally:
            continued = continue_process(manager)
        while time.monotonic() - continued < 2.5:
            assert who(await this.get("/thawed")) == "laptop"
            await asyncio.sleep(0.05)
        assert await pushed(this) == before
        assert flight.pending == {"request", "upload", "stream"}
        await flight.cancel()

    async def test_without_it_a_process_that_dies_still_gives_its_requests_to_the_cluster(self, scene: Stage) -> None:
        this = scene()
        assert who(await this.get("/before")) == "laptop"
        this.world.processes.kill("manager")
        this.world.processes.kill(this.process)
        assert this.fallen_back(await this.get("/gone"))
        assert this.fallen_back(await this.post("/gone"))
        start_recorder(this.world.processes, this.process, this.target)
        assert await until_laptop(this, since=time.monotonic()) < RETURNS_WITHIN
        await self._started_anew(this)
        assert who(await this.get("/with")) == "laptop"

    async def _started_anew(self, scene: Scene) -> float:
        """Start the manager; returns when sidecars and daemons are with it again."""
        began = time.monotonic()
        scene.world.start_manager()
        await until(lambda: daemons(scene.world, connected_now=True), "the daemons are back")
        await until(lambda: in_sync(scene.world), "the sidecars are back and have what they are meant to have")
        return time.monotonic() - began

    async def _still_of_use(self, scene: Scene) -> None:
        flags = ("--name", "second", "--port", str(scene.target), "--http-header", "x-second=1")
        scene.laptop.byway("intercept", SHOP, *flags)
        assert who(await ask(scene.port, "/second", {"x-second": "1"})) == "laptop"
        scene.laptop.byway("leave", "second")
        assert not who(await ask(scene.port, "/second", {"x-second": "1"}))


async def daemons(world: World, *, connected_now: bool) -> bool:
    """Whether all daemons are connected, or none."""
    return {await connected(laptop) for laptop in world.laptops.values()} == {connected_now}


async def pushed(scene: Scene) -> list[dict[str, int]]:
    """How often each sidecar was given something new, by what; once what an earlier test left behind is gone."""
    words = (
        *("cluster_added", "cluster_modified", "cluster_removed", "update_success"),
        *("listener_added", "listener_modified", "listener_removed", "config_reload"),
    )
    async with asyncio.timeout(10):
        while True:
            found = [await admin_stats(scene.world, number) for number in (0, 1)]
            if all(len(set(re.findall("/intercept/(i-[0-9a-f]+)", "\n".join(one)))) == 2 for one in found):
                return [{name: value for name, value in one.items() if name.endswith(words)} for one in found]
            await asyncio.sleep(0.1)
