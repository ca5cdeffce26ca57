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
from tests.e2e.echo_service import BINARY, DETAILS, OPTIONS
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


async def test_a_services_name_is_a_path(stage: Stage) -> None:
    channel: Channel
    async with grpc.aio.insecure_channel(f"127.0.0.1:{stage.port('rpc')}") as channel:
        for service, who in ((RPC_PATH, b"laptop:"), ("/demo.Echos/", b"app:"), ("/other.Echo/", b"app:")):
            call = channel.unary_unary(service + "Unary")(b"", metadata=(("x-user", "alice"),), timeout=20)
            assert await call == who


async def test_a_refused_call_gets_a_status_that_names_the_intercept(stage: Stage) -> None:
    stage.alice.say(target := free_port(), TargetStateState.NOT_LISTENING)
    found = await stage.alice.intercept("fails", "rpc", target, when_down="fail", http_header=["x-user=fails"])
    channel: Channel
    async with grpc.aio.insecure_channel(f"127.0.0.1:{stage.port('rpc')}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/any.Service/Unary")(b"", metadata=(("x-user", "fails"),), timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert found.id in (caught.value.details() or "")
