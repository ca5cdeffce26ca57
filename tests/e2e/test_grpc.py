"""gRPC on each way that a call can take. A service's name is a path, metadata are headers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import xds.client.channel  # noqa: F401  first: it sets gRPC's environment

import grpc.aio  # isort: skip

from demo.world import free_port
from tests.e2e.echo_service import BINARY, DETAILS, OPTIONS, EchoService, start
from tests.e2e.protocol_stage import RPC_PATH, WAYS, Stage, Way, protocol_stage
from xds.api.byway.manager.v1 import TargetStateState

pytestmark = pytest.mark.asyncio(loop_scope="module")
Channel = Any
"""grpc.aio.Channel: its stubs can't tell the types of messages that nobody (de)serialises."""
EACH = pytest.mark.parametrize("way", WAYS, ids=str)
NOTICED = 5.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(short_path: Path) -> AsyncIterator[Stage]:
    async with protocol_stage(short_path / "grpc") as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["rpc", "any"])
async def channel(stage: Stage, request: pytest.FixtureRequest) -> AsyncIterator[Channel]:
    """To a port declared as gRPC, and to one of which nothing is declared."""
    target = f"127.0.0.1:{stage.port(request.param)}"
    async with grpc.aio.insecure_channel(target, options=[*OPTIONS, ("grpc.use_local_subchannel_pool", 1)]) as found:
        yield found


def metadata(way: Way) -> tuple[tuple[str, str | bytes], ...]:
    return (*way.headers.items(), ("x-data-bin", BINARY))


async def check(call: Any, way: Way) -> None:
    """Check who answered a call, and that its end came through."""
    way.check(list(await call.initial_metadata()))
    trailing = dict(await call.trailing_metadata())
    assert trailing["x-last"] == "1"
    assert trailing["x-sent-bin"] == BINARY
    assert await call.code() is grpc.StatusCode.OK


async def several(those: Iterable[bytes]) -> AsyncIterator[bytes]:
    for each in those:
        yield each


@EACH
async def test_unary(channel: Channel, way: Way) -> None:
    for request in (b"", b"hello", os.urandom(8 << 20)):
        call = channel.unary_unary(RPC_PATH + "Unary")(request, metadata=metadata(way), timeout=20)
        assert await call == way.who.encode() + b":" + request
        await check(call, way)


@EACH
async def test_client_streaming(channel: Channel, way: Way) -> None:
    sent = [b"%d" % number for number in range(1000)]
    call = channel.stream_unary(RPC_PATH + "Collect")(several(sent), metadata=metadata(way), timeout=20)
    assert await call == way.who.encode() + b":" + b"".join(sent)
    await check(call, way)


@EACH
async def test_server_streaming(channel: Channel, way: Way) -> None:
    call = channel.unary_stream(RPC_PATH + "Count")(b"1000", metadata=metadata(way), timeout=20)
    assert [each async for each in call] == [b"%b:%d" % (way.who.encode(), number) for number in range(1000)]
    await check(call, way)


@EACH
async def test_both_sides_streaming_turn_by_turn(channel: Channel, way: Way) -> None:
    call = channel.stream_stream(RPC_PATH + "Chat")(metadata=metadata(way), timeout=20)
    for number in range(100):
        await call.write(b"%d" % number)
        assert await call.read() == b"%b:%d" % (way.who.encode(), number)
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    await check(call, way)


@EACH
async def test_a_status_with_details_and_trailing_metadata(channel: Channel, way: Way) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(RPC_PATH + "Fail")(b"", metadata=metadata(way), timeout=20)
    error = caught.value
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, DETAILS)
    trailing = dict(error.trailing_metadata())
    assert (trailing["x-who"], trailing["x-why-bin"]) == (way.who, BINARY)


@EACH
async def test_a_method_that_does_not_exist_is_the_servers_to_refuse(channel: Channel, way: Way) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(RPC_PATH + "Nothing")(b"", metadata=metadata(way), timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@EACH
@pytest.mark.parametrize("how", ["cancelled", "deadline"])
async def test_a_call_that_is_given_up_is_noticed(stage: Stage, channel: Channel, way: Way, how: str) -> None:
    service = stage.services[way.who]
    service.waiting.clear()
    service.cancelled.clear()
    timeout = 0.3 if how == "deadline" else 20
    call = channel.unary_unary(RPC_PATH + "Hang")(b"", metadata=metadata(way), timeout=timeout)
    await asyncio.wait_for(service.waiting.wait(), NOTICED)
    if how == "cancelled":
        call.cancel()
    await asyncio.wait_for(service.cancelled.wait(), NOTICED)
    wanted = grpc.StatusCode.CANCELLED if how == "cancelled" else grpc.StatusCode.DEADLINE_EXCEEDED
    assert await call.code() is wanted


@EACH
async def test_a_stream_that_is_given_up_half_way_is_noticed(stage: Stage, channel: Channel, way: Way) -> None:
    over = stage.services[way.who].over[name := os.urandom(8).hex()]
    call = channel.stream_stream(RPC_PATH + "Chat")(metadata=(*metadata(way), ("x-call", name)), timeout=20)
    await call.write(b"1")
    assert await call.read() == way.who.encode() + b":1"
    assert not over.is_set()
    call.cancel()
    await asyncio.wait_for(over.wait(), NOTICED)


@EACH
async def test_a_hundred_megabytes_go_both_ways_in_one_call(stage: Stage, way: Way) -> None:
    piece = os.urandom(4 << 20)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{stage.port('rpc')}", options=OPTIONS) as made:
        channel: Channel = made
        call = channel.stream_stream(RPC_PATH + "Chat")(
            several([piece] * 25), metadata=metadata(way), timeout=NOTICED * 12
        )
        async with asyncio.timeout(NOTICED * 12):
            count = 0
            async for each in call:
                assert each == way.who.encode() + b":" + piece
                count += 1
        assert count == 25
        await check(call, way)


@EACH
async def test_a_services_name_is_a_path(stage: Stage, way: Way) -> None:
    channel: Channel
    async with grpc.aio.insecure_channel(f"127.0.0.1:{stage.port('rpc')}") as channel:
        for service, goes in ((RPC_PATH, way), ("/demo.Echos/", WAYS[0]), ("/other.Echo/", WAYS[0])):
            call = channel.unary_unary(service + "Unary")(b"", metadata=metadata(way), timeout=20)
            assert await call == goes.who.encode() + b":"
            await check(call, goes)


@pytest.mark.parametrize("away", [False, True], ids=["there", "away"])
async def test_metadata_are_conditions_of_every_kind(stage: Stage, away: bool) -> None:
    """Binary metadata are compared as they are on the wire: in base64 without padding."""
    laptop = EchoService("conditions")
    server, port, _ = await start(laptop)
    name = "gone" if away else "there"
    stage.alice.say(port, TargetStateState.NOT_LISTENING if away else TargetStateState.LISTENING)
    conditions = [f"x-kind={name}", "x-tenant^=acme-", "x-build~=^v[0-9]+$", "x-data-bin=AAEC", "x-there"]
    await stage.alice.intercept(f"conditions-{name}", "rpc", port, http_header=conditions)
    fits: dict[str, str | bytes] = {
        "x-kind": name,
        "x-tenant": "acme-eu",
        "x-build": "v12",
        "x-data-bin": b"\0\1\2",
        "x-there": "",
    }
    others: dict[str, str | bytes | None] = {
        "x-kind": "other",
        "x-tenant": "acm",
        "x-build": "v12b",
        "x-data-bin": b"\0\1\3",
        "x-there": None,
    }
    ways = {"": Way("taken", {}, "app" if away else "conditions", "cluster" if away else "laptop")}
    ways |= dict.fromkeys(others, Way("not taken", {}, "app"))
    channel: Channel
    async with grpc.aio.insecure_channel(f"127.0.0.1:{stage.port('rpc')}") as channel:
        for changed, way in ways.items():
            sent = {**fits, **({changed: others[changed]} if changed else {})}
            given = tuple((key, value) for key, value in sent.items() if value is not None)
            call = channel.unary_unary("/any.Service/Unary")(b"", metadata=given, timeout=20)
            assert await call == way.who.encode() + b":", changed
            way.check(list(await call.initial_metadata()))
    await server.stop(None)


async def test_a_refused_call_gets_a_status_that_names_the_intercept(stage: Stage) -> None:
    stage.alice.say(target := free_port(), TargetStateState.NOT_LISTENING)
    found = await stage.alice.intercept("fails", "rpc", target, when_down="fail", http_header=["x-user=fails"])
    channel: Channel
    async with grpc.aio.insecure_channel(f"127.0.0.1:{stage.port('rpc')}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/any.Service/Unary")(b"", metadata=(("x-user", "fails"),), timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert found.id in (caught.value.details() or "")
