"""What becomes of matched requests when the tunnel, or the process behind it, is not there: before the manager knows,
and after.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from demo.world import Answer, free_port
from tests.e2e.stage import (
    ENDS_WITHIN,
    LEAVES_WITHIN,
    SHOP,
    InFlight,
    RecordingWorld,
    Scene,
    seen,
    until,
    until_laptop,
    who,
)
from tests.e2e.tunnel_stage import far_away, gateway_world, laptop_process
from tests.e2e.tunnelled_laptop import TunnelledLaptop
from tests.e2e.tunnels import TUNNELS
from xds.api.byway.manager.v1 import Stage, StageState, TargetStateState, TunnelState, WhyRequest
from xds.api.services import Manager
from xds.manager.flapping import FREE

pytestmark = pytest.mark.asyncio(loop_scope="module")

KIND = pytest.mark.parametrize("kind", TUNNELS)
WHEN_DOWN = pytest.mark.parametrize("when_down", ["cluster", "fail"])
BODIES = {"small": os.urandom(200_000), "large": os.urandom(3_000_000)}
AT_ONCE = 1.0
"""Seconds within which what is answered at once has to be answered on a machine with other things to do."""


@pytest.fixture(scope="module")
def world(short_path: Path) -> Iterator[RecordingWorld]:
    yield from gateway_world(short_path / "away")


@pytest.fixture(scope="module")
def target(world: RecordingWorld) -> Iterator[int]:
    yield laptop_process(world)
    # Some requests still hang there.
    world.processes.kill("laptop")


async def asked_once_each(scene: Scene, *, why: str) -> list[Answer]:
    """Requests with and without bodies, each of which is answered at once as --when-down promises, and reaches the app
    once or not at all.
    """
    before = await seen(scene.app)
    answers = {f"/{why}/get": (await timed(scene.get(f"/{why}/get")), 0)}
    for name, body in BODIES.items():
        for chunked in (False, True):
            path = f"/{why}/{name}/{'chunked' if chunked else 'sized'}"
            answers[path] = (await timed(scene.post(path, chunked=chunked, body=body)), len(body))
    after = await seen(scene.app) - before
    for path, (answer, size) in answers.items():
        assert scene.fallen_back(answer), (path, answer)
        assert "x-byway-away" not in answer.headers
        assert after[path] == (scene.when_down == "cluster"), path
        if scene.when_down == "fail":
            scene.check_refusal(answer)
        else:
            assert json.loads(answer.body)["size"] == size
    return [answer for answer, _ in answers.values()]


async def timed(asking: object) -> Answer:
    began = time.monotonic()
    answer: Answer = await asking  # type: ignore[misc]
    assert time.monotonic() - began < AT_ONCE, answer
    return answer


async def known(scene: Scene) -> bool:
    """Whether the sidecar has heard that the laptop is away."""
    answer = await scene.get("/known")
    assert scene.fallen_back(answer), answer
    return scene.when_down == "cluster" or scene.check_refusal(answer)["since"] != "just now"


@KIND
@WHEN_DOWN
async def test_without_a_tunnel_the_very_next_request_is_answered(
    world: RecordingWorld, target: int, kind: str, when_down: str
) -> None:
    async with far_away(world, kind, target, when_down=when_down) as (far, scene):
        assert who(await scene.get("/there")) == "laptop"
        far.says = TunnelState(kind=kind, up=["gw-1", "gw-2"])
        await far.tunnel.stop()
        await asked_once_each(scene, why="unknown")
        far.says = None
        far.say(target, TargetStateState.LISTENING)
        if when_down == "fail":
            # The sidecar's own refusal says since when, as soon as it has heard of it.
            await until(lambda: known(scene), "the sidecar knows", seconds=LEAVES_WITHIN + 5)
            for answer in await asked_once_each(scene, why="known"):
                datetime.fromisoformat(scene.check_refusal(answer)["since"])
        else:
            await asked_once_each(scene, why="known")
        await far.tunnel.start(far.offer)
        await until_laptop(scene, since=time.monotonic(), within=10)


@KIND
@WHEN_DOWN
async def test_a_port_that_refuses_is_answered_for_from_the_first_request_on(
    world: RecordingWorld, kind: str, when_down: str
) -> None:
    async with far_away(world, kind, free_port(), when_down=when_down) as (_, scene):
        await asked_once_each(scene, why="refused")


@KIND
@WHEN_DOWN
async def test_a_killed_tunnel_ends_what_is_in_flight_and_gives_the_rest_to_the_cluster(
    world: RecordingWorld, target: int, kind: str, when_down: str
) -> None:
    async with far_away(world, kind, target, when_down=when_down) as (far, scene):
        flight = InFlight(scene)
        await flight.start()
        app_before = await seen(scene.app)
        killed = time.monotonic()
        await far.kill()
        await asked_once_each(scene, why="killed")
        await flight.check_ended(killed, within=ENDS_WITHIN)
        assert not {"/hang", "/stall", "/stream"} & (await seen(scene.app) - app_before).keys()
        await far.tunnel.start(far.offer)
        await until_laptop(scene, since=time.monotonic(), within=10)


@KIND
async def test_a_process_can_not_have_its_requests_given_to_the_app(world: RecordingWorld, kind: str) -> None:
    """It may answer with the header by which others say that nobody has seen anything of a request."""
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head)
        writer.write(b"HTTP/1.1 503 No\r\nx-byway-away: target\r\nx-own: 1\r\ncontent-length: 4\r\n\r\nmine")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, far_away(world, kind, port) as (_, scene):
        before = await seen(scene.app)
        got = await scene.get("/mine")
        assert (got.status, got.body, got.headers["x-own"]) == (503, b"mine", "1")
        assert who(got) == "laptop"
        assert "x-byway-away" not in got.headers
        assert await seen(scene.app) == before
    assert len(asked) == 1
    assert "x-byway" not in asked[0].lower()


@KIND
async def test_headers_of_a_client_change_nothing_and_reach_no_process(world: RecordingWorld, kind: str) -> None:
    """Neither what sidecars tell gateways, nor what gateways tell laptops."""
    heads: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, far_away(world, kind, port) as (_, scene):
        forged = {
            "x-byway-to": "somebody/1",
            "x-byway-node": "somebody.else",
            "x-byway-target": "127.0.0.1:22",
            "x-byway-peer": "spiffe://byway/dev/deployment/other",
            "x-byway-protocol": "HTTP/2",
            "x-byway-name": "other",
            "x-byway-owner": "other",
            "x-byway-away": "target",
            "x-byway-other": "1",
        }
        scene.header.update(forged)
        assert who(await scene.get("/forged")) == "laptop"
    assert len(heads) == 1
    assert "x-byway" not in heads[0].lower()


async def why(far: TunnelledLaptop) -> Stage:
    """What `byway why` says of the laptop."""
    reply = await Manager.WHY(far.channel, WhyRequest(intercept=SHOP), metadata=far.proof, timeout=5)
    return next(one for one in reply.stages if one.name == "laptop")


async def test_a_tunnel_that_comes_and_goes_has_to_hold_before_it_is_used_again(
    world: RecordingWorld, target: int
) -> None:
    async with far_away(world, "python", target) as (far, scene):
        there = await why(far)
        assert there.state == StageState.DONE
        assert "a tunnel to gw-1, gw-2 (python)" in there.text

        async def missed() -> bool:
            return far.session is not None and far.session.tunnel is not None and not far.session.tunnel.up

        async def noticed() -> bool:
            """Used again, or put off."""
            told = far.session.tunnel if far.session is not None else None
            return told is not None and bool(told.up or told.detail)

        losses = 0
        while not await put_off(far):
            losses += 1
            assert losses <= FREE + 2
            await far.tunnel.stop()
            await until(missed, "the manager misses the tunnel")
            await far.tunnel.start(far.offer)
            await until(far.up, "the tunnel is up")
            await until(noticed, "the manager has heard of it")
        assert losses == FREE + 1
        assert scene.fallen_back(await scene.get("/flapping"))
        held_back = await why(far)
        assert held_back.state == StageState.MISSING
        assert f"it was lost {losses} times of late" in held_back.text
        # It holds now.
        await until_laptop(scene, since=time.monotonic(), within=30)
        assert (await why(far)).state == StageState.DONE


async def put_off(far: TunnelledLaptop) -> bool:
    return far.session is not None and far.session.tunnel is not None and bool(far.session.tunnel.detail)
