"""The client library against the server library, over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from tests.serve.configs import eds_cluster, endpoints, listener, routes
from tests.serve.harness import GROUP, Served, serve, until
from xds.serve import CLUSTER, ENDPOINT, LISTENER, ROUTE, RUNTIME, VIRTUAL_HOST, Metadata, Node, Refused, Resource, View
from xds.serve.client import (
    Client,
    DeltaClient,
    Follower,
    SotwClient,
    Stream,
    StreamEndedError,
    node,
    open_stream,
    route_names,
)
from xds.serve.protobuf import encode_field

PATIENCE = 10.0
KINDS = pytest.mark.parametrize("kind", [DeltaClient, SotwClient])


def named(type_url: str, name: str, content: str = "1") -> Resource:
    """A resource with a name where every type has it, and a content in a field that none has."""
    return Resource.of(type_url, name, encode_field(1, name) + encode_field(100, content))


@asynccontextmanager
async def connected(served: Served, client: Client, **options: Any) -> AsyncIterator[Stream]:
    async with (
        asyncio.timeout(PATIENCE),
        grpc.aio.insecure_channel(served.address) as channel,
        open_stream(channel, client, **options) as stream,
    ):
        yield stream


async def take(stream: Stream, count: int = 1) -> None:
    for _ in range(count):
        await stream.answer(await stream.receive())


def bodies(client: Client, type_url: str) -> dict[str, bytes]:
    return {name: each.body for name, each in client.held(type_url).items()}


@KINDS
@pytest.mark.parametrize("alone", [True, False], ids=["per type", "aggregated"])
async def test_what_is_served_is_held_and_acknowledged(kind: Any, alone: bool) -> None:
    one, two = named(CLUSTER, "one"), named(CLUSTER, "two")
    async with serve() as served:
        served.put(one)
        client = kind(node(id="node-1", cluster=GROUP))
        async with connected(served, client, type_url=CLUSTER if alone else None) as stream:
            await stream.subscribe(CLUSTER)
            await take(stream)
            assert bodies(client, CLUSTER) == {"one": one.body}
            revision = served.put(two)
            await take(stream)
            assert bodies(client, CLUSTER) == {"one": one.body, "two": two.body}
            await until(lambda: not served.xds.lagging(GROUP, revision), "the acknowledgement")
            served.drop(one)
            await take(stream)
            assert bodies(client, CLUSTER) == {"two": two.body}


@KINDS
async def test_a_refusal_reaches_the_server_with_its_text(kind: Any) -> None:
    async with serve() as served:
        served.put(named(ROUTE, "r"))
        client = kind(node(id="node-1"))
        async with connected(served, client) as stream:
            await stream.subscribe(ROUTE, ["r"])
            await stream.refuse(await stream.receive(), "not for me")
            await until(lambda: served.recorder.nacks, "the refusal")
            assert served.recorder.nacks[0][1].text == "not for me"
            assert bodies(client, ROUTE) == {}


async def test_a_client_resumes_on_another_stream_and_is_sent_only_what_differs() -> None:
    async with serve() as served:
        served.put(named(CLUSTER, "kept"), named(CLUSTER, "changed"), named(CLUSTER, "gone"))
        client = DeltaClient(node(id="node-1"), keep_bodies=False)
        async with connected(served, client) as stream:
            await stream.subscribe(CLUSTER)
            await take(stream)
        served.put(named(CLUSTER, "changed", "2"))
        served.drop(named(CLUSTER, "gone"))
        async with connected(served, client) as stream:
            first = await stream.receive()
            await stream.answer(first)
            assert [each.name for each in first.resources] == ["changed"]
            # What is gone follows when the server may remove.
            if not first.removed:
                await take(stream)
            assert sorted(client.held(CLUSTER)) == ["changed", "kept"]


@KINDS
async def test_a_follower_fetches_all_that_an_envoy_would(kind: Any) -> None:
    async with serve() as served:
        served.put(eds_cluster("c", "c-endpoints"), endpoints("c-endpoints", 1), endpoints("other", 2))
        served.put(listener("l", 3, "r"), routes("r", "c"), routes("unused", "c"))
        client = kind(node(id="node-1"))
        follower = Follower(client)
        async with connected(served, client) as stream:
            await stream.send(*follower.begin())
            while not client.held(ROUTE) or not client.held(ENDPOINT):
                await stream.send(*follower.answer(await stream.receive()))
        found = {type_url: set(client.held(type_url)) for type_url in (CLUSTER, ENDPOINT, LISTENER, ROUTE)}
        assert found == {CLUSTER: {"c"}, ENDPOINT: {"c-endpoints"}, LISTENER: {"l"}, ROUTE: {"r"}}


def test_the_routes_of_a_listener_are_found_in_its_bytes() -> None:
    assert route_names(listener("l", 1, "dev/deployment/orders/8080").body) == ("dev/deployment/orders/8080",)


async def test_a_read_that_was_given_up_on_loses_nothing() -> None:
    async with serve() as served:
        client = DeltaClient(node(id="node-1"))
        async with connected(served, client) as stream:
            await stream.subscribe(CLUSTER, ["late"])
            await take(stream)
            assert await stream.receive_within(0.01) is None
            served.put(named(CLUSTER, "late"))
            response = await stream.receive_within(PATIENCE)
            assert response is not None
            assert [each.name for each in response.resources] == ["late"]


async def test_why_a_stream_ended_is_told_to_who_reads_and_who_writes() -> None:
    async def nobody(node: Node, metadata: Metadata) -> View:
        raise Refused(grpc.StatusCode.UNAUTHENTICATED, "who are you?")

    async with serve(authenticate=nobody) as served, connected(served, DeltaClient(node(id="node-1"))) as stream:
        await stream.subscribe(CLUSTER)
        with pytest.raises(StreamEndedError, match=r"UNAUTHENTICATED: who are you\?") as ended:
            await stream.receive()
        assert ended.value.code is grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(StreamEndedError, match="who are you"):
            await stream.subscribe(LISTENER)


async def test_a_type_without_a_service_of_its_own_is_refused_by_name() -> None:
    async with serve() as served:
        with pytest.raises(ValueError, match="no service speaks of .*VirtualHost alone"):
            async with connected(served, DeltaClient(node(id="node-1")), type_url=VIRTUAL_HOST):
                pass
        async with connected(served, DeltaClient(node(id="node-1")), type_url=RUNTIME) as stream:
            await stream.subscribe(RUNTIME)
            assert (await stream.receive()).type_url == RUNTIME


async def ask_for_ever(stream: Stream) -> None:
    while True:
        await stream.subscribe(CLUSTER, ["a"])


async def test_the_servers_words_are_told_even_when_a_request_crosses_them() -> None:
    async def nobody(node: Node, metadata: Metadata) -> View:
        raise Refused(grpc.StatusCode.PERMISSION_DENIED, "not you")

    async with serve(authenticate=nobody) as served:
        for _ in range(60):
            async with connected(served, DeltaClient(node(id="node-1"))) as stream:
                with pytest.raises(StreamEndedError, match="PERMISSION_DENIED: not you"):
                    await ask_for_ever(stream)
