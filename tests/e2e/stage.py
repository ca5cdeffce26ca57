"""A stage for the tests: a small world whose services remember what reached them, and how to ask for things on it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import xds.client.channel  # noqa: F401  first: it sets gRPC's environment

import grpc.aio  # isort: skip

from demo.processes import Processes, wait_for
from demo.world import Answer, Instance, Laptop, Workload, World, listening
from tests.e2e.http1 import Connection, CutError, ask
from xds.api.byway.daemon.v1 import GetStatusRequest
from xds.api.byway.manager.v1 import ListSidecarsRequest
from xds.api.rpc import bearer
from xds.api.services import Daemon, Debug
from xds.client.channel import socket_channel
from xds.client.files import LaptopFiles
from xds.manager.sidecar import Sidecar
from xds.paths import StateDir
from xds.registry.workload import WorkloadId

RECORDER = str(Path(__file__).with_name("recorder.py"))
SHOP = "shop"
BODY = os.urandom(10_000_000)
DIGEST = hashlib.sha256(BODY).hexdigest()

LEAVES_WITHIN = 2.0
"""Seconds in which traffic leaves a laptop that is away."""
ENDS_WITHIN = 5.0
"""Seconds in which what is in flight at such a laptop ends."""
RETURNS_WITHIN = 1.0
"""Seconds in which a laptop that is back answers again."""


@dataclass(slots=True)
class RecordingWorld(World):
    """A world whose services are recorders."""

    def start_service(self, instance: str, service: str, port: int, calls: str | None = None) -> None:
        start_recorder(self.processes, instance, port)


def start_recorder(processes: Processes, name: str, port: int) -> None:
    """Start a recorder and wait until it listens."""
    processes.start(name, [sys.executable, RECORDER, "--name", name, "--port", str(port)])

    def ready() -> bool:
        processes.check(name)
        return listening(port)

    wait_for(ready, f"{name} listens")


def shop_world(root: Path) -> RecordingWorld:
    """One workload with two instances."""
    return RecordingWorld(
        root, [Workload(SHOP, [Instance("shop-1"), Instance("shop-2")])], users=("alice", "bob", "carol", "dave")
    )


async def seen(port: int) -> Counter[str]:
    """How often each path was asked of a recorder."""
    return Counter(json.loads((await ask(port, "/_seen")).body))


async def admin_stats(world: World, number: int) -> dict[str, int]:
    """The counters of a sidecar's Envoy."""
    workload = world.workload(SHOP)
    sidecar = Sidecar.of(StateDir(world.state), WorkloadId.parse(workload.id), workload.instances[number].id)
    connection = Connection(*await asyncio.open_unix_connection(sidecar.admin_socket))
    answer = await connection.request("/stats?type=Counters", {"connection": "close"})
    connection.close()
    lines = (line.rpartition(": ") for line in answer.body.decode().splitlines())
    return {name: int(value) for name, _, value in lines if value.isdigit()}


def header_of(laptop: Laptop) -> dict[str, str]:
    """The header that `--http-header auto` means for a laptop's user."""
    key = laptop.json("status")["key"]
    return {key["name"]: key["value"]}


async def in_sync(world: World) -> bool:
    """Whether every sidecar is connected and has acknowledged all that there is for it."""
    metadata = bearer(world.admin_token.read_text().strip())
    async with grpc.aio.insecure_channel((world.state / "manager" / "address").read_text().strip()) as channel:
        reply = await Debug.LIST_SIDECARS(channel, ListSidecarsRequest(), metadata=metadata, timeout=5)
    return not reply.absent and all(each.state == "SYNCED" for one in reply.sidecars for each in one.types)


async def connected(laptop: Laptop) -> bool:
    """Whether the laptop's daemon has a session with the manager right now."""
    async with socket_channel(LaptopFiles.of(StateDir(laptop.state)).socket_address()) as channel:
        return (await Daemon.GET_STATUS(channel, GetStatusRequest(), timeout=5)).state == "connected"


async def until(condition: Callable[[], Awaitable[bool]], what: str, *, seconds: float = 20.0) -> None:
    """Return as soon as the condition holds."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        await asyncio.sleep(0.02)


def who(answer: Answer) -> str:
    """Who answered, by the header of intercepted answers: laptop, cluster or none; empty for an ordinary answer."""
    return answer.headers.get("x-byway-intercept", "").partition("served-by=")[2]


@dataclass(slots=True)
class Scene:
    """One intercept of one developer, with the process on the laptop that answers for it."""

    world: World
    laptop: Laptop
    header: dict[str, str]
    when_down: str
    id: str
    process: str
    target: int
    asked: Counter[str] = field(default_factory=Counter)

    @property
    def port(self) -> int:
        """The sidecar's port."""
        return self.world.port(SHOP)

    @property
    def app(self) -> int:
        """The app's own port."""
        return self.world.workload(SHOP).instances[0].app

    @property
    def pid(self) -> int:
        """The process on the laptop."""
        return self.world.processes.children[self.process].pid

    async def get(self, path: str) -> Answer:
        """A matched request on a connection of its own."""
        return await ask(self.port, path, self.header)

    async def post(self, path: str, *, chunked: bool = False, body: bytes = BODY) -> Answer:
        """A matched request with a body."""
        return await ask(self.port, path, self.header, method="POST", body=body, chunked=chunked)

    def fallen_back(self, answer: Answer) -> bool:
        """Whether an answer is what --when-down promises while the laptop is away."""
        if self.when_down == "fail":
            return answer.status == 503 and who(answer) == "none"
        return answer.status == 200 and who(answer) == "cluster" and json.loads(answer.body)["who"] == "shop-1"

    def check_refusal(self, answer: Answer) -> dict[str, str]:
        """Check that an answer is a 503 in JSON that names the intercept and its owner; returns what it says."""
        assert (answer.status, who(answer)) == (503, "none"), answer
        assert answer.headers["content-type"] == "application/json"
        said: dict[str, str] = json.loads(answer.body)
        assert (said["intercept"], said["owner"]) == (self.id, f"{self.laptop.user}@{self.laptop.user}-laptop")
        return said


@dataclass(slots=True)
class Ended:
    """How something in flight ended: with an answer, or cut; and when."""

    at: float
    answer: Answer | None


class InFlight:
    """What is under way at a laptop when something happens to it: a request, an upload, an open stream."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.events = 0
        self._tasks: dict[str, asyncio.Task[Ended]] = {}

    async def start(self) -> None:
        """Begin, and return when all of it has reached the laptop."""
        before = await seen(self._scene.target)
        for name, work in {"request": self._hang, "upload": self._stall, "stream": self._stream}.items():
            self._tasks[name] = asyncio.create_task(_ended(work))
        while True:
            if self.events and {"/hang", "/stall"} <= (await seen(self._scene.target) - before).keys():
                return
            await asyncio.sleep(0.01)

    async def _hang(self) -> Answer:
        return await self._scene.get("/hang")

    async def _stall(self) -> Answer:
        return await self._scene.post("/stall")

    async def _stream(self) -> Answer:
        connection = await Connection.open(self._scene.port)
        try:
            answer, chunks = await connection.stream("/stream", self._scene.header)
            assert who(answer) == "laptop", answer
            async for _ in chunks:
                self.events += 1
        finally:
            connection.close()
        return answer

    @property
    def pending(self) -> set[str]:
        """What has not ended."""
        return {name for name, task in self._tasks.items() if not task.done()}

    async def check_ended(self, since: float, *, within: float) -> dict[str, float]:
        """Wait for the end of everything and check how it ended. Returns seconds since then, by name."""
        async with asyncio.timeout(within + 10):
            ended = {name: await task for name, task in self._tasks.items()}
        took = {name: one.at - since for name, one in ended.items()}
        for name in ("request", "upload"):
            answer = ended[name].answer
            assert answer is not None, f"{name} was cut without an answer"
            assert "had begun to answer" in self._scene.check_refusal(answer)["error"]
        assert ended["stream"].answer is None, "the stream ended as if it were complete"
        assert max(took.values()) < within, took
        return took

    async def cancel(self) -> None:
        """Give up on what is left."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


async def _ended(work: Callable[[], Awaitable[Answer]]) -> Ended:
    try:
        answer: Answer | None = await work()
    except (CutError, OSError):
        answer = None
    return Ended(time.monotonic(), answer)


async def until_laptop(scene: Scene, *, since: float, within: float = RETURNS_WITHIN) -> float:
    """Ask until the laptop answers; every answer before that is as --when-down promises. Returns seconds since then."""
    number = 0
    while True:
        path = f"/back/{number}"
        answer = await scene.get(path)
        if who(answer) == "laptop":
            assert answer.status == 200
            break
        assert scene.fallen_back(answer), answer
        number += 1
        assert time.monotonic() - since < within + 10, "the laptop did not come back"
        await asyncio.sleep(0.01)
    took = time.monotonic() - since
    assert took < within, took
    return took


def stop_process(pid: int) -> float:
    """SIGSTOP, and when."""
    os.kill(pid, signal.SIGSTOP)
    return time.monotonic()


def continue_process(pid: int) -> float:
    """SIGCONT, and when."""
    os.kill(pid, signal.SIGCONT)
    return time.monotonic()
