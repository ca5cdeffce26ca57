"""What a developer is shown of the requests that an intercept took, as real sidecars tell of them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession

import xds.client.channel  # noqa: F401  first: it sets gRPC's environment

import grpc.aio  # isort: skip

from tests.e2e.api_laptop import ApiLaptop
from tests.e2e.h2c import Http2
from tests.e2e.http1 import Connection
from tests.e2e.protocol_stage import RPC_PATH, WAYS, Stage, Way, protocol_stage
from tests.e2e.stage import until
from xds.api.byway.manager import v1
from xds.api.services import Manager
from xds.manager.sidecar import Sidecar
from xds.paths import StateDir
from xds.registry.workload import WorkloadId

pytestmark = pytest.mark.asyncio(loop_scope="module")
SOON = 10.0
ORDINARY, MATCHED, AWAY, *TUNNELLED = WAYS


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(short_path: Path) -> AsyncIterator[Stage]:
    async with protocol_stage(short_path / "requests") as found:
        yield found


class Watched:
    """The requests of an intercept, by number, as they were told of last."""

    def __init__(self, laptop: ApiLaptop, intercept: str, **more: Any) -> None:
        self.requests: dict[int, v1.InterceptedRequest] = {}
        self.changes: list[v1.InterceptedRequest] = []
        self.traffic = v1.Traffic()
        self.replies = 0
        request = v1.RequestsRequest(intercept=intercept, follow=True, **more)
        self.call: Any = Manager.REQUESTS(laptop.channel, request, metadata=laptop.proof)
        self._replies = aiter(self.call)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(SOON):
            while not condition():
                reply = await anext(self._replies)
                self.changes += reply.requests
                self.requests |= {one.number: one for one in reply.requests}
                self.traffic = reply.traffic if reply.traffic is not None else self.traffic
                self.replies += 1

    async def ended(self, path: str, count: int = 1) -> v1.InterceptedRequest:
        """The last of so many requests for a path, once they have ended."""

        def those() -> list[v1.InterceptedRequest]:
            return [one for one in self.requests.values() if one.path == path and not one.open]

        await self.until(lambda: len(those()) >= count)
        assert len(those()) == count
        return those()[-1]


@asynccontextmanager
async def watching(laptop: ApiLaptop, intercept: str, **more: Any) -> AsyncIterator[Watched]:
    """Watch an intercept's requests during the block."""
    found = Watched(laptop, intercept, **more)
    try:
        await found.until(lambda: found.replies > 0)
        yield found
    finally:
        found.call.cancel()


def name_of(way: Way, workload: str) -> str:
    return workload if way is MATCHED else f"{workload}-gone"


async def get(stage: Stage, path: str, way: Way) -> int:
    async with ClientSession(f"http://127.0.0.1:{stage.port('web')}") as web, web.get(path, headers=way.headers) as got:
        await got.read()
        return got.status


@pytest.mark.parametrize("way", [MATCHED, AWAY], ids=str)
async def test_a_request_is_shown_with_who_answered_it(stage: Stage, way: Way) -> None:
    async with watching(stage.alice, name_of(way, "web")) as watched:
        assert await get(stage, "/shown?secret=1", way) == 200
        found = await watched.ended("/shown")
    assert (found.method, found.status, found.grpc_status, found.protocol) == ("GET", 200, -1, "HTTP/1.1")
    assert (found.served_by, found.instance) == (way.served_by, "web-1")
    assert 0 < found.duration_seconds < SOON
    assert not any("secret" in str(one) for one in watched.changes)


@pytest.mark.parametrize("method", ["HEAD", "PROPFIND"])
async def test_every_method_is_shown_by_its_name(stage: Stage, method: str) -> None:
    url = f"http://127.0.0.1:{stage.port('web')}/{method}"
    async with watching(stage.alice, "web") as watched:
        async with ClientSession() as web, web.request(method, url, headers=MATCHED.headers) as got:
            await got.read()
        found = await watched.ended(f"/{method}")
    assert found.method == method


@pytest.mark.parametrize("way", TUNNELLED, ids=str)
async def test_a_request_through_a_tunnel_is_told_of_once(stage: Stage, way: Way) -> None:
    async with watching(stage.far[way.name.removeprefix("tunnel-")], "web") as watched:
        before = watched.traffic.total
        assert await get(stage, "/tunnelled", way) == 200
        found = await watched.ended("/tunnelled")
        assert (found.status, found.served_by, found.instance) == (200, "laptop", "web-1")
        assert watched.traffic.total == before + 1


async def test_a_query_is_shown_to_whom_asks_for_it(stage: Stage) -> None:
    async with watching(stage.alice, "web", query=True) as watched:
        await get(stage, "/with?query=1", MATCHED)
        await watched.ended("/with?query=1")


async def test_ordinary_requests_and_those_of_an_explanation_are_not_told_of(stage: Stage) -> None:
    async with watching(stage.alice, "web") as watched:
        await get(stage, "/ordinary", ORDINARY)
        request = v1.ExplainRequest(workload="web", request_line="GET /explained", headers=["x-user: alice"], live=True)
        explaining: Any = Manager.EXPLAIN(stage.alice.channel, request, metadata=stage.alice.proof)
        live = (await anext(aiter(explaining))).live
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port("web"))
        writer.write(live.head)
        assert b"x-byway-explain" in await reader.read()
        writer.close()
        explaining.cancel()
        await get(stage, "/after", MATCHED)
        await watched.ended("/after")
        assert not {"/ordinary", "/explained"} & {one.path for one in watched.changes}


async def test_each_request_is_told_of_once_however_many_there_are(stage: Stage) -> None:
    async with watching(stage.alice, "web") as watched:
        before = watched.traffic.total
        async with ClientSession(f"http://127.0.0.1:{stage.port('web')}") as web:

            async def several() -> None:
                for _ in range(10):
                    async with web.get("/many", headers=MATCHED.headers) as got:
                        await got.read()

            await asyncio.gather(*(several() for _ in range(10)))
        await watched.ended("/many", 100)
        assert watched.traffic.total == before + 100
        assert watched.traffic.served_by["laptop"] >= 100
        assert 0 < watched.traffic.p50_seconds <= watched.traffic.p99_seconds


@pytest.mark.parametrize("way", [MATCHED, AWAY], ids=str)
async def test_http_2(stage: Stage, way: Way) -> None:
    async with watching(stage.alice, name_of(way, "two")) as watched:
        client = await Http2.to(stage.port("two"))
        await asyncio.gather(*(client.ask("/h2", way.headers) for _ in range(5)))
        client.close()
        found = await watched.ended("/h2", 5)
    assert (found.status, found.protocol, found.served_by) == (200, "HTTP/2", way.served_by)


async def test_grpc_calls_have_their_status(stage: Stage) -> None:
    channel: Any
    async with (
        watching(stage.alice, "rpc") as watched,
        grpc.aio.insecure_channel(f"127.0.0.1:{stage.port('rpc')}") as channel,
    ):
        metadata = tuple(MATCHED.headers.items())
        await channel.unary_unary(RPC_PATH + "Unary")(b"", metadata=metadata, timeout=SOON)
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary(RPC_PATH + "Fail")(b"", metadata=metadata, timeout=SOON)
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary(RPC_PATH + "Nothing")(b"", metadata=metadata, timeout=SOON)
        assert (await watched.ended(RPC_PATH + "Unary")).grpc_status == grpc.StatusCode.OK.value[0]
        failed = await watched.ended(RPC_PATH + "Fail")
        assert failed.grpc_status == grpc.StatusCode.FAILED_PRECONDITION.value[0]
        refused = await watched.ended(RPC_PATH + "Nothing")
        assert refused.grpc_status == grpc.StatusCode.UNIMPLEMENTED.value[0]
        assert refused.served_by == "laptop"


async def test_a_web_socket_is_shown_when_it_opens_and_counts_once(stage: Stage) -> None:
    async with watching(stage.alice, "web") as watched:
        before = watched.traffic.total
        async with (
            ClientSession(f"http://127.0.0.1:{stage.port('web')}") as web,
            web.ws_connect("/ws", headers=MATCHED.headers) as socket,
        ):
            await watched.until(lambda: any(one.path == "/ws" for one in watched.changes))
            (found,) = [one for one in watched.requests.values() if one.path == "/ws"]
            assert (found.open, found.status, found.served_by) == (True, 101, "laptop")
            await socket.send_str("bye")
            await socket.receive()
        ended = await watched.ended("/ws")
        assert (ended.number, watched.traffic.total) == (found.number, before + 1)


async def test_server_sent_events_are_shown_while_they_come(stage: Stage) -> None:
    async with watching(stage.alice, "web") as watched, ClientSession(f"http://127.0.0.1:{stage.port('web')}") as web:
        async with web.get("/events", headers=MATCHED.headers) as events:
            await events.content.readuntil(b"\n\n")
            await watched.until(lambda: any(one.path == "/events" for one in watched.changes))
            (found,) = [one for one in watched.requests.values() if one.path == "/events"]
            assert (found.open, found.status, found.served_by) == (True, 200, "laptop")
        assert (await watched.ended("/events")).number == found.number


async def test_a_request_at_a_breakpoint_is_shown_and_one_whose_client_goes_has_no_status(stage: Stage) -> None:
    async with watching(stage.alice, "web") as watched:
        asking = asyncio.create_task(get(stage, "/hang", MATCHED))
        await watched.until(lambda: any(one.path == "/hang" for one in watched.changes))
        assert watched.changes[-1].open
        asking.cancel()
        ended = await watched.ended("/hang")
        assert (ended.status, ended.served_by) == (0, "")


async def test_a_request_that_nobody_could_answer(stage: Stage) -> None:
    from demo.world import free_port

    found = await stage.alice.intercept("fails", "web", free_port(), when_down="fail", http_header=["x-user=fails"])
    async with watching(stage.alice, found.id) as watched:
        assert await get(stage, "/refused", Way("fails", {"x-user": "fails"}, "")) == 503
        refused = await watched.ended("/refused")
        assert (refused.status, refused.served_by) == (503, "none")
        await stage.alice.leave("fails")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await watched.until(lambda: False)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert "left" in (caught.value.details() or "")


async def test_nobody_else_sees_them(stage: Stage) -> None:
    (own,) = [one for one in await intercepts(stage.alice) if one.mine and one.name == "web"]
    assert own.traffic is not None
    async with ApiLaptop(stage.world, "bob") as bob:
        for name in (own.id, "web"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async with watching(bob, name):
                    pass
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert all(one.traffic is None for one in await intercepts(bob))


async def test_a_manager_that_does_not_read_costs_the_sidecar_little_and_requests_nothing(stage: Stage) -> None:
    """Beyond a bound the sidecar drops records, and every request is answered as ever."""
    manager = stage.world.processes.children["manager"].pid
    os.kill(manager, signal.SIGSTOP)
    try:
        async with ClientSession(f"http://127.0.0.1:{stage.port('web')}") as web:
            for _ in range(60):
                for _ in range(50):
                    async with web.get(f"/{'long' * 2000}", headers=MATCHED.headers) as answer:
                        MATCHED.check(answer.headers)
                if dropped := await logs_dropped(stage):
                    break
    finally:
        os.kill(manager, signal.SIGCONT)
    assert dropped

    async def again() -> bool:
        await get(stage, "/again", MATCHED)
        async with watching(stage.alice, "web") as watched:
            return any(one.path == "/again" for one in watched.requests.values())

    await until(again, "what is kept goes out, and then there is room for new records")


async def logs_dropped(stage: Stage) -> int:
    sidecar = Sidecar.of(StateDir(stage.world.state), WorkloadId.parse("dev/deployment/web"), "web-1")
    connection = Connection(*await asyncio.open_unix_connection(sidecar.admin_socket))
    answer = await connection.request("/stats?filter=logs_dropped", {"connection": "close"})
    connection.close()
    return int(answer.body.decode().rpartition(": ")[2])


async def intercepts(laptop: ApiLaptop) -> list[v1.Intercept]:
    reply = await Manager.LIST_INTERCEPTS(
        laptop.channel, v1.ListInterceptsRequest(all=True), metadata=laptop.proof, timeout=5
    )
    return list(reply.intercepts)
