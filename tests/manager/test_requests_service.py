"""Who may tell of requests, and who is shown them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.data.accesslog.v3 import (
    AccessLogCommon,
    HttpAccessLogEntry,
    HttpRequestProperties,
    HttpResponseProperties,
)
from envoy_data_plane.envoy.service.accesslog.v3 import (
    StreamAccessLogsMessage,
    StreamAccessLogsMessageHttpAccessLogEntries,
    StreamAccessLogsMessageIdentifier,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.manager.running import NODE, Laptop, Running, refused, running, until
from xds.api.byway.manager import v1
from xds.api.rpc import bearer
from xds.api.services import Manager as Methods
from xds.compile.encode import encode
from xds.manager.requests.records import Record
from xds.manager.requests.traffic import KEPT, Traffic
from xds.manager.service.access_log import PATH
from xds.manager.service.render import Renderer
from xds.manager.service.requests import WATCHERS, request_message, traffic_message

OTHER = """\
- name: cart
  namespace: dev
  ports: [{name: http, port: 8080, appProtocol: http}]
  instances: [{id: cart-1, listen: {http: "127.0.0.1:5"}, app: {http: "127.0.0.1:6"}}]
"""

GATEWAYS = """\
gateways:
- {name: gw-1, tunnel: "127.0.0.1:11", sidecars: "127.0.0.1:12"}
workloads:
"""


def entry(route: str, path: str = "/") -> HttpAccessLogEntry:
    return HttpAccessLogEntry(
        common_properties=AccessLogCommon(route_name=route),
        request=HttpRequestProperties(path=path),
        response=HttpResponseProperties(response_code=200),
    )


class Sidecar:
    """One that tells of requests."""

    def __init__(self, manager: Running, *, token: str | None = None, node: str = NODE) -> None:
        folder = manager.state.sidecar("dev/deployment/orders", "orders-1")
        proof = bearer((folder / "token").read_text().strip() if token is None else token)
        self._node = node
        self.call: Any = manager.channel.stream_unary(PATH)(metadata=tuple(proof))

    async def tell(self, *entries: HttpAccessLogEntry) -> None:
        identifier = StreamAccessLogsMessageIdentifier(node=Node(id=self._node), log_name="requests")
        logs = StreamAccessLogsMessageHttpAccessLogEntries(log_entry=list(entries))
        await self.call.write(bytes(StreamAccessLogsMessage(identifier=identifier, http_logs=logs)))

    async def raw(self, data: bytes) -> None:
        await self.call.write(data)

    async def end(self) -> None:
        await self.call.done_writing()
        await self.call


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as found:
        yield found


async def requests(laptop: Laptop, name: str = "orders") -> v1.RequestsReply:
    call = Methods.REQUESTS(laptop.channel, v1.RequestsRequest(intercept=name), metadata=laptop.proof)
    return [reply async for reply in call][-1]


def several(route: str, count: int) -> list[Record]:
    return [Record(route, (b"client", number), 0.0, 0.1, ended=True, status=200) for number in range(count)]


async def test_requests_are_counted_and_shown_to_the_owner(manager: Running) -> None:
    ann = await manager.connect(present=True)
    intercept = (await ann.create()).intercept
    assert intercept is not None
    sidecar = Sidecar(manager)
    await sidecar.tell(entry(intercept.id, "/a?token=x"))
    await sidecar.end()
    reply = await requests(ann)
    assert [(one.path, one.status, one.instance) for one in reply.requests] == [("/a", 200, "orders-1")]
    assert reply.traffic is not None
    assert (reply.traffic.total, reply.traffic.statuses, reply.missed) == (1, {200: 1}, 0)
    (listed,) = await ann.list()
    assert listed.traffic == reply.traffic
    session = manager.manager.state.session(ann.id)
    assert [one.traffic for one in Renderer(manager.manager).session(session).intercepts] == [None], "would be stale"
    assert (await requests(ann, intercept.id)).requests


async def test_another_users_intercept_is_not_found(manager: Running) -> None:
    ann, bob = await manager.connect(present=True), await manager.connect("bob", present=True)
    intercept = (await ann.create()).intercept
    assert intercept is not None
    for name in ("orders", intercept.id):
        with refused(grpc.StatusCode.NOT_FOUND, "you have no intercept"):
            await requests(bob, name)
    (seen,) = await bob.list(every=True)
    assert seen.traffic is None


async def test_an_intercept_that_ends_takes_its_requests_with_it(manager: Running) -> None:
    ann = await manager.connect(present=True)
    intercept = (await ann.create()).intercept
    assert intercept is not None
    sidecar = Sidecar(manager)
    await sidecar.tell(entry(intercept.id))
    await until(lambda: manager.manager.ledger.traffic(intercept.id).total == 1)
    follow: Any = Methods.REQUESTS(ann.channel, v1.RequestsRequest(intercept="orders", follow=True), metadata=ann.proof)
    replies = aiter(follow)
    await anext(replies)
    await ann.leave("orders")
    with refused(grpc.StatusCode.NOT_FOUND, "ann@lap", "left"):
        await anext(replies)
    await sidecar.tell(entry(intercept.id))
    await sidecar.end()
    assert manager.manager.ledger.traffic(intercept.id).total == 0


async def test_a_token_that_is_no_sidecars_is_refused(manager: Running) -> None:
    for token in ("", "wrong", manager.user_token("ann"), manager.admin_token):
        sidecar = Sidecar(manager, token=token)
        await sidecar.tell(entry("i-1"))
        with refused(grpc.StatusCode.UNAUTHENTICATED, "no sidecar or gateway has this token"):
            await sidecar.call


async def test_a_sidecar_may_not_call_itself_another(manager: Running) -> None:
    sidecar = Sidecar(manager, node="dev/deployment/cart/cart-1")
    await sidecar.tell(entry("i-1"))
    with refused(grpc.StatusCode.PERMISSION_DENIED, "not of dev/deployment/cart/cart-1"):
        await sidecar.call


async def test_a_gateway_tells_of_no_requests(manager: Running) -> None:
    manager.change(replace=("workloads:\n", GATEWAYS))
    manager.standalone.reload()
    token = (manager.state.gateway("gw-1") / "token").read_text().strip()
    gateway = Sidecar(manager, token=token, node="gateway/gw-1")
    await gateway.tell(entry("i-1"))
    with refused(grpc.StatusCode.PERMISSION_DENIED, "gateway/gw-1 is no sidecar"):
        await gateway.call


async def test_what_a_sidecar_says_of_another_workloads_intercept_is_dropped_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path) as manager:
        manager.file.write_text(manager.file.read_text() + OTHER)
        manager.standalone.reload()
        ann = await manager.connect(present=True)
        intercept = (await ann.create()).intercept
        assert intercept is not None
        token = (manager.state.sidecar("dev/deployment/cart", "cart-1") / "token").read_text().strip()
        sidecar = Sidecar(manager, token=token, node="dev/deployment/cart/cart-1")
        with caplog.at_level(logging.WARNING):
            await sidecar.tell(entry(intercept.id), entry(intercept.id))
            await sidecar.end()
        assert manager.manager.ledger.traffic(intercept.id).total == 0
        assert [intercept.id in one.getMessage() for one in caplog.records].count(True) == 1, "said once"


async def test_what_is_no_protobuf_message_ends_the_stream(manager: Running) -> None:
    sidecar = Sidecar(manager)
    await sidecar.tell(entry("i-1"))
    await sidecar.raw(b"\xff\xff")
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        await sidecar.call


async def test_records_of_unknown_routes_are_ignored(manager: Running) -> None:
    sidecar = Sidecar(manager)
    await sidecar.tell(entry("i-unknown"), entry(""))
    await sidecar.end()


async def test_a_slow_watcher_loses_the_oldest_and_is_told_how_many(manager: Running) -> None:
    ann = await manager.connect(present=True)
    intercept = (await ann.create()).intercept
    assert intercept is not None
    follow: Any = Methods.REQUESTS(ann.channel, v1.RequestsRequest(intercept="orders", follow=True), metadata=ann.proof)
    replies = aiter(follow)
    await anext(replies)
    ledger = manager.manager.ledger
    # All of it in one step of the loop, in which nobody can look.
    ledger.note(
        manager.manager.state.intercepts[intercept.id].spec.workload, NODE, several(intercept.id, 3 * KEPT), 0.0
    )
    reply = await anext(replies)
    assert [one.number for one in reply.requests] == list(range(2 * KEPT + 1, 3 * KEPT + 1))
    assert reply.missed == 2 * KEPT
    follow.cancel()
    await until(lambda: not ledger.traffic(intercept.id).watched)


async def test_only_so_many_may_watch_at_a_time(manager: Running) -> None:
    ann = await manager.connect(present=True)
    await ann.create()
    request = v1.RequestsRequest(intercept="orders", follow=True)
    calls: list[Any] = [Methods.REQUESTS(ann.channel, request, metadata=ann.proof) for _ in range(WATCHERS)]
    for call in calls:
        await anext(aiter(call))
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "already"):
        await requests(ann)
    calls.pop().cancel()
    async with asyncio.timeout(10):
        while True:
            try:
                await requests(ann)
                break
            except grpc.aio.AioRpcError:
                continue
    for call in calls:
        call.cancel()


@given(st.integers(-1, 16), st.text(), st.floats(0, 1e9), st.booleans())
def test_what_is_sent_is_what_the_library_would_send(status: int, path: str, seconds: float, ended: bool) -> None:
    path = "".join(each for each in path if not "\ud800" <= each <= "\udfff")
    record = Record("i", (b"", 1), seconds, seconds, ended=ended, path=path, grpc_status=status, served_by="laptop")
    traffic = Traffic()
    traffic.note(NODE, record, 0.0)
    found = [request_message(one, 1.0, query=True) for one in traffic.news(traffic.watch())[0]]
    reply = v1.RequestsReply(requests=found, traffic=traffic_message(traffic))
    assert encode(reply) == bytes(reply)
