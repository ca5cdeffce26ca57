"""What becomes of matched requests when the process on the laptop, or the daemon beside it, dies or freezes.

During all of it ordinary requests and another developer's intercept go on, see the fixture `bystanders`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime

import pytest

from demo.processes import wait_for
from demo.world import free_port
from tests.e2e.api_laptop import ApiLaptop
from tests.e2e.http1 import ask
from tests.e2e.stage import (
    BODY,
    DIGEST,
    ENDS_WITHIN,
    LEAVES_WITHIN,
    SHOP,
    InFlight,
    RecordingWorld,
    Scene,
    continue_process,
    seen,
    start_recorder,
    stop_process,
    until_laptop,
    who,
)
from xds.api.byway.manager.v1 import TargetStateState

Stage = Callable[..., Scene]
WHEN_DOWN = pytest.mark.parametrize("when_down", ["cluster", "fail"])
AT_ONCE = 0.5
"""Seconds within which what “ends at once” has to end on a machine with other things to do."""


async def check_fallback(scene: Scene) -> None:
    """Every request is answered as --when-down promises; the app sees each once, or none of them."""
    before = await seen(scene.app)
    answers = {
        "/gone/get": await scene.get("/gone/get"),
        "/gone/post": await scene.post("/gone/post"),
        "/gone/chunked": await scene.post("/gone/chunked", chunked=True),
        "/gone/again": await scene.get("/gone/again"),
    }
    after = await seen(scene.app) - before
    for path, answer in answers.items():
        assert scene.fallen_back(answer), (path, answer)
        assert after[path] == (scene.when_down == "cluster"), path
        if scene.when_down == "fail":
            datetime.fromisoformat(scene.check_refusal(answer)["since"])
        elif "get" not in path and "again" not in path:
            said = json.loads(answer.body)
            assert (said["size"], said["digest"]) == (len(BODY), DIGEST)
    assert not {"/hang", "/stall", "/stream"} & (await seen(scene.app)).keys() - before.keys()


async def leaves(scene: Scene, since: float) -> float:
    """Ask anew all the time, until traffic has left the laptop. Returns seconds until the first request that had.

    Whatever was asked before ends as well, in a refusal or in the app's answer, and nothing is lost.
    """
    started: list[tuple[float, asyncio.Task[tuple[float, object]]]] = []

    async def one(number: int) -> tuple[float, object]:
        answer = await scene.get(f"/leaving/{number}")
        if who(answer) == "none":
            scene.check_refusal(answer)
        else:
            assert scene.fallen_back(answer), answer
        return time.monotonic() - since, answer

    while (at := time.monotonic() - since) < LEAVES_WITHIN + 0.5:
        started.append((at, asyncio.create_task(one(len(started)))))
        await asyncio.sleep(0.025)
    ended = [(at, *(await task)) for at, task in started]
    assert max(end for _, end, _ in ended) < ENDS_WITHIN, "a request hung"
    slow = [at for at, end, _ in ended if end - at > AT_ONCE]
    left = max(slow, default=0.0)
    assert left < LEAVES_WITHIN, f"a request of {left:.2f} s later still went to the laptop"
    return left


@WHEN_DOWN
async def test_a_killed_process_gives_its_requests_to_the_cluster_from_the_next_one_on(
    scene: Stage, when_down: str, record_property: Callable[[str, object], None]
) -> None:
    this = scene(when_down)
    flight = InFlight(this)
    await flight.start()
    app_before = await seen(this.app)
    killed = time.monotonic()
    this.world.processes.kill(this.process)
    await check_fallback_after_kill(this)
    took = await flight.check_ended(killed, within=AT_ONCE)
    record_property("in flight ended after", took)
    assert not {"/hang", "/stall", "/stream"} & (await seen(this.app) - app_before).keys()
    await check_fallback(this)
    start_recorder(this.world.processes, this.process, this.target)
    back = await until_laptop(this, since=time.monotonic())
    record_property("back after", back)


async def check_fallback_after_kill(scene: Scene) -> None:
    """The very next request, before anybody can have told the manager; a body is replayed on the app."""
    if scene.when_down == "cluster":
        await check_fallback(scene)
        return
    before = await seen(scene.app)
    for answer in (await scene.get("/gone/get"), await scene.post("/gone/post")):
        scene.check_refusal(answer)
    assert await seen(scene.app) == before
    # The reason is told as soon as the manager has heard it.
    async with asyncio.timeout(LEAVES_WITHIN):
        while scene.check_refusal(await scene.get("/gone/get"))["since"] == "just now":
            pass


@WHEN_DOWN
@pytest.mark.parametrize("what", ["process", "daemon"])
async def test_a_frozen_laptop_loses_its_traffic_and_gets_it_back_when_it_thaws(
    scene: Stage, what: str, when_down: str, record_property: Callable[[str, object], None]
) -> None:
    this = scene(when_down)
    pid = this.pid if what == "process" else this.laptop.daemon_pid
    flight = InFlight(this)
    await flight.start()
    app_before = await seen(this.app)
    stopped = stop_process(pid)
    try:
        left = await leaves(this, stopped) if what == "process" else await daemon_leaves(this, stopped)
        took = await flight.check_ended(stopped, within=ENDS_WITHIN)
        await check_fallback(this)
        assert not {"/hang", "/stall", "/stream"} & (await seen(this.app) - app_before).keys()
    finally:
        continued = continue_process(pid)
    back = await until_laptop(this, since=continued)
    record_property("left after", left)
    record_property("in flight ended after", took)
    record_property("back after", back)


async def daemon_leaves(scene: Scene, since: float) -> float:
    """The process is healthy and answers until the manager notices; no request fails meanwhile."""
    while who(answer := await scene.get("/leaving")) == "laptop":
        assert answer.status == 200
        await asyncio.sleep(0.01)
    left = time.monotonic() - since
    assert scene.fallen_back(answer), answer
    assert left < LEAVES_WITHIN
    return left


async def test_a_killed_daemon_is_missed_at_once_and_the_next_one_resumes_its_session(
    scene: Stage, record_property: Callable[[str, object], None]
) -> None:
    this = scene()
    before = this.laptop.json("status")
    pid = this.laptop.daemon_pid
    flight = InFlight(this)
    await flight.start()
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    left = await daemon_leaves(this, killed)
    assert left < AT_ONCE
    took = await flight.check_ended(killed, within=ENDS_WITHIN)
    this.laptop.connect()
    back = await until_laptop(this, since=time.monotonic())
    after = this.laptop.json("status")
    assert after["session"]["id"] == before["session"]["id"]
    assert after["session"]["epoch"] > before["session"]["epoch"]
    assert [one["id"] for one in after["intercepts"]] == [this.id]
    record_property("left after", left)
    record_property("in flight ended after", took)
    record_property("back after", back)


LARGE = bytes(24 << 20)


async def test_a_large_body_reaches_the_app_whole_where_the_port_refuses_before_anybody_knows(
    stage: RecordingWorld, bystanders: Callable[[], None]
) -> None:
    app = stage.workload(SHOP).instances[0].app
    async with ApiLaptop(stage, "carol") as carol:
        carol.say(port := free_port(), TargetStateState.UNKNOWN)
        await carol.intercept("large", SHOP, port, http_header=["auto"])
        before = await seen(app)
        for chunked in (False, True):
            sent = ask(stage.port(SHOP), "/large", carol.header, method="POST", body=LARGE, chunked=chunked)
            answer = await asyncio.wait_for(sent, ENDS_WITHIN)
            assert (answer.status, who(answer)) == (200, "cluster")
            assert json.loads(answer.body)["size"] == len(LARGE)
        assert await seen(app) - before == {"/large": 2}
    bystanders()


async def test_a_body_too_large_to_be_replayed_is_refused_in_plain_words(
    stage: RecordingWorld, bystanders: Callable[[], None]
) -> None:
    """Where the port neither accepts nor refuses, more of the body comes meanwhile than is kept."""
    app = stage.workload(SHOP).instances[0].app
    with black_hole() as port:
        async with ApiLaptop(stage, "carol") as carol:
            carol.say(port, TargetStateState.UNKNOWN)
            intercept = await carol.intercept("large", SHOP, port, http_header=["auto"])
            before = await seen(app)
            for chunked in (False, True):
                sent = ask(stage.port(SHOP), "/large", carol.header, method="POST", body=LARGE, chunked=chunked)
                answer = await asyncio.wait_for(sent, ENDS_WITHIN)
                assert (answer.status, who(answer)) == (503, "none"), answer
                said = json.loads(answer.body)
                assert said["intercept"] == intercept.id
                assert "too large to be replayed" in said["error"]
            assert await seen(app) == before
            small = await asyncio.wait_for(ask(stage.port(SHOP), "/small", carol.header), ENDS_WITHIN)
            assert (small.status, who(small)) == (200, "cluster")
            # Known to be away it takes none of the body, and any size is fine.
            carol.say(port, TargetStateState.NOT_LISTENING)
            async with asyncio.timeout(LEAVES_WITHIN):
                while who(answer) != "cluster":
                    answer = await ask(stage.port(SHOP), "/large", carol.header, method="POST", body=LARGE)
            assert json.loads(answer.body)["size"] == len(LARGE)
    bystanders()


@contextmanager
def black_hole() -> Iterator[int]:
    """A port that neither accepts connections nor refuses them: its queue is full, and the kernel drops what comes."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        while True:
            one = stack.enter_context(socket.socket())
            one.settimeout(0.2)
            try:
                one.connect(("127.0.0.1", port))
            except TimeoutError:
                break
        yield port


def test_a_process_at_a_breakpoint_keeps_its_request(stage: RecordingWorld, bystanders: Callable[[], None]) -> None:
    """Bob's does, whatever becomes of Alice's laptop. It runs last, so as not to wait for what is under way anyway."""
    wait_for(lambda: "answered after 8 seconds" in stage.processes.log("bystander"), "the late answer comes")
    bystanders()
