"""The server against a real Envoy: what the protocol is for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.serve.configs import eds_cluster, endpoints, listener, routes
from tests.serve.harness import GROUP, NODE, Served, serve, until
from tests.serve.real_envoy import Envoy, backend, envoy, free_port
from xds.serve import CLUSTER, ENDPOINT, LISTENER, ROUTE, SyncState

ALL = (CLUSTER, ENDPOINT, LISTENER, ROUTE)
VARIANTS = ["DELTA_GRPC", "GRPC"]


class Lab:
    """An Envoy with one listener, whose route goes to the EDS cluster `c0`, whose endpoint is backend `a`."""

    def __init__(self, served: Served, envoy: Envoy, ports: tuple[int, int], url: str) -> None:
        self.served, self.envoy, self.ports, self.url = served, envoy, ports, url

    async def synced(self, revision: int) -> None:
        await until(lambda: not self.served.xds.lagging(GROUP, revision, ALL), f"revision {revision} in force")

    async def get(self) -> tuple[int, str]:
        async with self.envoy.session.get(self.url) as answer:
            return answer.status, await answer.text()


@asynccontextmanager
async def lab(folder: Path, api_type: str) -> AsyncIterator[Lab]:
    async with AsyncExitStack() as stack:
        ports = (await stack.enter_async_context(backend("a")), await stack.enter_async_context(backend("b")))
        served = await stack.enter_async_context(serve())
        port = free_port()
        served.put(eds_cluster("c0", "s0"), listener("in", port, "r"), routes("r", "c0"))
        revision = served.put_own(endpoints("s0", ports[0]))
        started = await stack.enter_async_context(envoy(folder, served.port, api_type))
        made = Lab(served, started, ports, f"http://127.0.0.1:{port}/")
        await until(served.xds.clients, "Envoy connected")
        await made.synced(revision)
        yield made


@pytest.mark.parametrize("api_type", VARIANTS)
async def test_envoy_gets_listener_route_cluster_and_endpoints(tmp_path: Path, api_type: str) -> None:
    async with lab(tmp_path, api_type) as each:
        assert await each.get() == (200, "a")
        (client,) = each.served.xds.clients()
        assert client.stream.user_agent == "envoy/1.40.0"
        assert {type_url: status.state for type_url, status in client.types.items()} == dict.fromkeys(
            ALL, SyncState.SYNCED
        )
        assert client.types[CLUSTER].wildcard
        assert client.types[ENDPOINT].names == {"s0"}
        stats = await each.envoy.stats("control_plane.identifier")
        assert "tests" in str(stats)


@pytest.mark.parametrize("api_type", VARIANTS)
async def test_no_request_fails_while_routes_move_to_new_clusters(tmp_path: Path, api_type: str) -> None:
    async with lab(tmp_path, api_type) as each:
        done, answers = asyncio.Event(), []

        async def ask() -> None:
            while not done.is_set():
                answers.append(await each.get())

        asking = [asyncio.create_task(ask()) for _ in range(4)]
        for turn in range(1, 51):
            old, new, own = f"c{turn - 1}", f"c{turn}", f"s{turn}"
            each.served.store.update(
                group={
                    GROUP: {
                        (CLUSTER, new): eds_cluster(new, own),
                        (CLUSTER, old): None,
                        (ROUTE, "r"): routes("r", new),
                    }
                },
                nodes={NODE: {(ENDPOINT, own): endpoints(own, each.ports[turn % 2]), (ENDPOINT, f"s{turn - 1}"): None}},
            )
            await each.synced(each.served.store.revision)
            assert await each.get() == (200, "ab"[turn % 2])
        done.set()
        await asyncio.gather(*asking)
        assert {status for status, _ in answers} == {200}
        assert len(answers) > 100
        stats = await each.envoy.stats("cluster_manager.(active|warming)_clusters|update_rejected")
        assert stats["cluster_manager.active_clusters"] == 2
        assert stats["cluster_manager.warming_clusters"] == 0
        assert not each.served.recorder.nacks
        assert sum(value for name, value in stats.items() if name.endswith("update_rejected")) == 0


@pytest.mark.parametrize("api_type", VARIANTS)
async def test_an_edited_cluster_does_not_wait_for_its_endpoints(tmp_path: Path, api_type: str) -> None:
    async with lab(tmp_path, api_type) as each:
        started = asyncio.get_running_loop().time()
        for turn in range(3):
            each.served.store.update(
                nodes={NODE: {(ENDPOINT, f"t{turn}"): endpoints(f"t{turn}", each.ports[turn % 2])}}
            )
            await each.synced(each.served.put(eds_cluster("c0", f"t{turn}")))
            await each.synced(each.served.put(eds_cluster("c0", f"t{turn}"), eds_cluster("other", f"t{turn}")))
        stats = await each.envoy.stats("warming_clusters")
        assert stats["cluster_manager.warming_clusters"] == 0
        assert asyncio.get_running_loop().time() - started < 5, "Envoy waited 15 s for endpoints"


@pytest.mark.parametrize("api_type", VARIANTS)
async def test_a_refused_route_is_reported_and_its_repair_is_sent(tmp_path: Path, api_type: str) -> None:
    async with lab(tmp_path, api_type) as each:
        revision = each.served.put(routes("r", "c0", regex="(unclosed"))
        await until(lambda: each.served.recorder.nacks, "a NACK")
        ((type_url, nack),) = each.served.recorder.nacks
        assert type_url == ROUTE
        assert "missing ): (unclosed" in nack.text
        (lag,) = each.served.xds.lagging(GROUP, revision)
        assert (lag.type_url, lag.state) == (ROUTE, SyncState.NACKED)
        assert await each.get() == (200, "a")
        await each.synced(each.served.put(routes("r", "c0", regex="closed")))
        assert len(each.served.recorder.nacks) == 1


async def test_reconnecting_to_another_replica_sends_nothing_when_nothing_changed(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        backend_port = await stack.enter_async_context(backend("a"))
        content = [eds_cluster("c0"), listener("in", free_port(), "r"), routes("r", "c0")]
        own = endpoints("c0", backend_port)
        async with serve() as first:
            first.put(*content)
            first.put_own(own)
            await stack.enter_async_context(envoy(tmp_path, first.port, "DELTA_GRPC"))
            await until(first.xds.clients, "Envoy connected")
            await until(lambda: not first.xds.lagging(GROUP, first.store.revision, ALL), "Envoy synced")
            port = first.port
        async with serve(port=port) as second:
            second.put(*content)
            second.put_own(own)
            await until(second.xds.clients, "Envoy reconnected")
            await until(lambda: len(second.xds.clients()[0].types) == 4, "all types asked for")
            await until(lambda: not second.xds.lagging(GROUP, second.store.revision, ALL), "Envoy synced")
            (client,) = second.xds.clients()
            assert [status.last_sent for status in client.types.values()] == [None] * 4
            assert {status.state for status in client.types.values()} == {SyncState.SYNCED}
            assert client.types[ROUTE].acked == {"r": content[2].version}


@pytest.mark.parametrize("api_type", VARIANTS)
async def test_nothing_is_said_when_nothing_happens(tmp_path: Path, api_type: str) -> None:
    async with lab(tmp_path, api_type) as each:
        before = each.served.xds.clients()
        # Nothing signals that nothing happens: a loop of requests and answers would turn many times in this time.
        await asyncio.sleep(0.3)
        assert each.served.xds.clients() == before
