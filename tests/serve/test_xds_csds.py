"""CSDS, asked as another tool would: with grpc and the library's messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from envoy_data_plane.envoy.admin.v3 import ClientResourceStatus
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.service.status.v3 import (
    ClientConfig,
    ClientConfigGenericXdsConfig,
    ClientStatusRequest,
    ClientStatusResponse,
    ConfigStatus,
)
from envoy_data_plane.envoy.type.matcher.v3 import NodeMatcher, RegexMatcher, StringMatcher, StructMatcher
from hypothesis import given
from hypothesis import strategies as st

from tests.serve.client import DeltaClient, delta, sotw
from tests.serve.configs import opaque
from tests.serve.harness import GROUP, NODE, Served, any_node, until
from xds.serve import CLUSTER, ROUTE, SECRET, SERVER_OPTIONS, Metadata, Refused, Store, SyncState, XdsServer, csds
from xds.serve.csds import ClientStatusService, read_query

PATH = "/envoy.service.status.v3.ClientStatusDiscoveryService/{}ClientStatus"
ACKED = (ConfigStatus.SYNCED, ClientResourceStatus.ACKED)


async def only_friends(metadata: Metadata) -> None:
    if ("who", "friend") not in metadata:
        raise Refused(grpc.StatusCode.PERMISSION_DENIED, "not you")


@asynccontextmanager
async def serve_status() -> AsyncIterator[Served]:
    store = Store()
    store.complete()
    xds = XdsServer(store, authenticate=any_node, identifier="tests")
    server = grpc.aio.server(options=SERVER_OPTIONS)
    service = ClientStatusService(xds, authorize=only_friends)
    server.add_generic_rpc_handlers((*xds.handlers(), service.handlers()))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield Served(xds, port, None)  # type: ignore[arg-type]
    finally:
        await server.stop(0)


async def fetch(served: Served, request: ClientStatusRequest | None = None, who: str = "friend") -> list[ClientConfig]:
    async with grpc.aio.insecure_channel(served.address) as channel:
        call: Any = channel.unary_unary(PATH.format("Fetch"))
        data = await call(bytes(request or ClientStatusRequest()), metadata=(("who", who),))
        return list(ClientStatusResponse.parse(data).config)


async def resources(served: Served, **query: Any) -> dict[str, ClientConfigGenericXdsConfig]:
    (config,) = await fetch(served, ClientStatusRequest(**query))
    return {one.name: one for one in config.generic_xds_configs}


def states(found: dict[str, ClientConfigGenericXdsConfig]) -> dict[str, tuple[ConfigStatus, ClientResourceStatus]]:
    return {name: (one.config_status, one.client_status) for name, one in found.items()}


def settled(served: Served, *wanted: SyncState) -> Callable[[], bool]:
    return lambda: [one.state for client in served.xds.clients() for one in client.types.values()] == list(wanted)


async def test_of_each_resource_it_is_told_what_the_client_runs_with() -> None:
    async with serve_status() as served, delta(served.address) as client:
        one, two = opaque(ROUTE, "one"), opaque(ROUTE, "two")
        served.put(one, two, opaque(ROUTE, "not asked for"))
        await client.request_ack(ROUTE, ["one", "two", "none"])
        await until(settled(served, SyncState.SYNCED))
        (config,) = await fetch(served)
        assert config.node == Node(id=NODE, user_agent_name="", user_agent_version="")
        found = {each.name: each for each in config.generic_xds_configs}
        assert states(found) == {
            "none": (ConfigStatus.NOT_SENT, ClientResourceStatus.DOES_NOT_EXIST),
            "one": ACKED,
            "two": ACKED,
        }
        assert found["one"].type_url == ROUTE
        assert found["one"].version_info == one.version
        assert found["one"].xds_config is not None
        assert (found["one"].xds_config.type_url, found["one"].xds_config.value) == (ROUTE, one.body)
        assert found["one"].last_updated is not None
        assert found["one"].last_updated.timestamp() == pytest.approx(
            served.xds.clients()[0].types[ROUTE].last_sent.at  # type: ignore[union-attr]
        )
        assert found["one"].error_state is None


async def test_a_refused_resource_is_shown_beside_the_one_that_is_in_use() -> None:
    async with serve_status() as served, sotw(served.address) as client:
        good, bad = opaque(CLUSTER, "c", "good"), opaque(CLUSTER, "c", "bad")
        served.put(good)
        await client.request_ack(CLUSTER)
        await until(settled(served, SyncState.SYNCED))
        served.put(bad)
        await client.nack(await client.response(), "too bad")
        await until(settled(served, SyncState.NACKED))
        found = (await resources(served))["c"]
        assert (found.config_status, found.client_status) == (ConfigStatus.ERROR, ClientResourceStatus.NACKED)
        assert found.version_info == good.version
        assert found.xds_config is not None
        assert found.xds_config.value == good.body
        error = found.error_state
        assert error is not None
        assert (error.details, error.version_info) == ("too bad", bad.version)
        assert error.failed_configuration is not None
        assert error.failed_configuration.value == bad.body
        assert error.last_update_attempt is not None


async def test_what_is_not_acknowledged_yet_is_stale() -> None:
    async with serve_status() as served, delta(served.address) as client:
        old, new = opaque(ROUTE, "r", "old"), opaque(ROUTE, "r", "new")
        served.put(old)
        await client.request(ROUTE, ["r"])
        first = await client.response()
        assert states(await resources(served)) == {"r": (ConfigStatus.STALE, ClientResourceStatus.REQUESTED)}
        assert (await resources(served))["r"].version_info == ""
        await client.ack(first)
        await until(settled(served, SyncState.SYNCED))
        served.put(new)
        await client.response()
        found = (await resources(served))["r"]
        assert (found.config_status, found.client_status) == (ConfigStatus.STALE, ClientResourceStatus.ACKED)
        assert found.version_info == old.version
        assert found.xds_config is not None
        assert found.xds_config.value == old.body


async def test_contents_are_left_out_where_nobody_wants_them() -> None:
    async with serve_status() as served, delta(served.address) as client:
        served.put(opaque(ROUTE, "r"))
        await client.request_nack(ROUTE, ["r"])
        await until(settled(served, SyncState.NACKED))
        found = (await resources(served, exclude_resource_contents=True))["r"]
        assert found.xds_config is None
        assert found.error_state is not None
        assert found.error_state.failed_configuration is None
        assert found.error_state.details == "refused"


async def test_of_a_secret_nothing_is_shown_unless_the_caller_says_how() -> None:
    async with serve_status() as served, delta(served.address) as client:
        served.put(opaque(SECRET, "s", "private"))
        await client.request_ack(SECRET, ["s"])
        await until(settled(served, SyncState.SYNCED))
        found = (await resources(served))["s"]
        assert found.xds_config is not None
        assert (found.xds_config.value, found.client_status) == (b"", ClientResourceStatus.ACKED)


def by_id(**how: Any) -> NodeMatcher:
    return NodeMatcher(node_id=StringMatcher(**how))


@pytest.mark.parametrize(
    ("matchers", "expected"),
    [
        ([], ["node-1", "node-2"]),
        ([NodeMatcher()], ["node-1", "node-2"]),
        ([by_id(exact="node-1")], ["node-1"]),
        ([by_id(exact="node")], []),
        ([by_id(prefix="node-")], ["node-1", "node-2"]),
        ([by_id(suffix="2")], ["node-2"]),
        ([by_id(contains="de-1")], ["node-1"]),
        ([by_id(exact="NODE-1")], []),
        ([by_id(exact="NODE-1", ignore_case=True)], ["node-1"]),
        ([by_id(safe_regex=RegexMatcher(regex="node-[23]"))], ["node-2"]),
        ([by_id(safe_regex=RegexMatcher(regex="node"))], []),
        ([by_id(exact="node-1"), by_id(exact="node-2")], ["node-1", "node-2"]),
    ],
    ids=str,
)
async def test_nodes_are_matched_by_any_of_the_matchers(matchers: list[NodeMatcher], expected: list[str]) -> None:
    async with serve_status() as served, delta(served.address) as one, delta(served.address, node_id="node-2") as two:
        for client in (one, two):
            await client.request_ack(ROUTE, ["*"])
        found = await fetch(served, ClientStatusRequest(node_matchers=matchers))
        assert [config.node.id for config in found if config.node] == expected


@pytest.mark.parametrize(
    ("matcher", "words"),
    [
        (NodeMatcher(node_metadatas=[StructMatcher()]), "node_metadatas is not supported"),
        (by_id(safe_regex=RegexMatcher(regex="(")), "node_id.safe_regex: missing )"),
        (by_id(ignore_case=True), "says nothing to match"),
    ],
)
async def test_what_can_not_be_matched_is_refused(matcher: NodeMatcher, words: str) -> None:
    async with serve_status() as served:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await fetch(served, ClientStatusRequest(node_matchers=[matcher]))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert words in (refused.value.details() or "")


async def test_the_stream_answers_each_request() -> None:
    async with serve_status() as served, grpc.aio.insecure_channel(served.address) as channel:
        call: Any = channel.stream_stream(PATH.format("Stream"))(metadata=(("who", "friend"),))
        for nodes in range(3):
            async with delta(served.address) as client:
                await client.request_ack(ROUTE, ["*"])
                request = ClientStatusRequest(node_matchers=[by_id(exact=NODE if nodes else "nobody")])
                await call.write(bytes(request))
                assert len(ClientStatusResponse.parse(await call.read()).config) == min(nodes, 1)
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_only_who_may_is_told() -> None:
    async with serve_status() as served:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await fetch(served, who="stranger")
        assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.PERMISSION_DENIED, "not you")
        async with grpc.aio.insecure_channel(served.address) as channel:
            call: Any = channel.stream_stream(PATH.format("Stream"))(metadata=())
            assert await call.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_an_answer_that_is_too_large_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csds, "MOST_BYTES", 1000)
    async with serve_status() as served, delta(served.address) as client:
        served.put(opaque(ROUTE, "r", "x" * 2000))
        await client.request_ack(ROUTE, ["r"])
        await until(settled(served, SyncState.SYNCED))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await fetch(served)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "narrow node_matchers" in (refused.value.details() or "")
        assert len(await resources(served, exclude_resource_contents=True)) == 1


async def test_a_node_with_several_streams_is_listed_once() -> None:
    async with serve_status() as served, delta(served.address) as old, delta(served.address) as new:
        served.put(opaque(ROUTE, "r"), opaque(CLUSTER, "c"))
        for client, type_url in ((old, CLUSTER), (new, ROUTE)):
            assert isinstance(client, DeltaClient)
            await client.request_ack(type_url, ["*"])
        await until(settled(served, SyncState.SYNCED, SyncState.SYNCED))
        assert states(await resources(served)) == {"c": ACKED, "r": ACKED}
        assert {one.stream.view.group for one in served.xds.clients()} == {GROUP}


@given(st.binary(max_size=60))
def test_whatever_comes_is_read_or_refused(data: bytes) -> None:
    try:
        query = read_query(data)
    except ValueError:
        return
    assert query.wanted("node-1") in {True, False}
