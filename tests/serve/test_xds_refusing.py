"""A client that refuses everything costs one response per change: no loop, and nothing piles up."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.listener.v3 import Listener

from tests.serve.client import delta, sotw
from tests.serve.configs import opaque, resource, routes
from tests.serve.harness import Served, serve, until
from tests.serve.test_xds_real_envoy import VARIANTS, lab
from xds.serve import CLUSTER, LISTENER, ROUTE, Resource

TYPES = (CLUSTER, LISTENER, ROUTE)
CHANGES = 20


def sent(served: Served) -> Counter[str]:
    """Responses by type."""
    return Counter(type_url for type_url, _, _ in served.recorder.responses)


@pytest.mark.parametrize("connect", [delta, sotw])
async def test_a_client_that_refuses_everything_is_sent_one_response_per_change(connect: Any) -> None:
    async with serve() as served, connect(served.address) as client:
        served.put(*(opaque(url, "a") for url in TYPES))
        for url in TYPES:
            await client.request(url, ["a"])
            await client.nack(await client.response())
        for turn in range(1, CHANGES + 1):
            for url in TYPES:
                served.put(opaque(url, "a", f"changed {turn}"))
                response = await client.response()
                assert response.type_url == url
                await client.nack(response)
        await refusals(served, len(TYPES) * (CHANGES + 1))
        await client.expect_no_response()
        assert sent(served) == dict.fromkeys(TYPES, CHANGES + 1)


@pytest.mark.parametrize("connect", [delta, sotw])
async def test_changes_made_while_a_refusal_is_awaited_go_out_together(connect: Any) -> None:
    async with serve() as served, connect(served.address) as client:
        served.put(opaque(ROUTE, "a"))
        await client.request(ROUTE, ["a"])
        first = await client.response()
        for turn in range(CHANGES):
            served.put(opaque(ROUTE, "a", f"changed {turn}"))
        await client.expect_no_response()
        await client.nack(first)
        await client.nack(await client.response())
        await refusals(served, 2)
        await client.expect_no_response()
        assert sent(served) == {ROUTE: 2}


async def refusals(served: Served, many: int) -> None:
    await until(lambda: len(served.recorder.nacks) == many, f"{many} refusals")


def bad(turn: int) -> list[Resource]:
    """What no Envoy takes: a cluster without its source of endpoints, a listener without an address, a broken regex."""
    return [
        resource(Cluster(name="bad", type=ClusterDiscoveryType.EDS, alt_stat_name=f"t{turn}")),
        resource(Listener(name="bad", stat_prefix=f"t{turn}")),
        routes("r", "c0", regex=f"({turn} is unclosed"),
    ]


@pytest.mark.parametrize("api_type", VARIANTS)
async def test_an_envoy_that_refuses_everything_is_sent_one_response_per_change(tmp_path: Path, api_type: str) -> None:
    async with lab(tmp_path, api_type) as each:
        before, turns = sent(each.served), 5
        for turn in range(1, turns + 1):
            each.served.put(*bad(turn))
            await refusals(each.served, len(TYPES) * turn)
        assert await each.get() == (200, "a")
        # What is in order again is taken: whatever came in between would have been counted.
        each.served.drop(*bad(0)[:2])
        await each.synced(each.served.put(routes("r", "c0", regex="closed")))
        after = sent(each.served)
        assert after[ROUTE] - before[ROUTE] == turns + 1
        for url in (CLUSTER, LISTENER):
            assert turns <= after[url] - before[url] <= turns + 1, "one for each change, and one for the removal"
        assert len(each.served.recorder.nacks) == len(TYPES) * turns
