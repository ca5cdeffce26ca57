"""Whole ports that carry no HTTP, to a laptop that is reached through a tunnel: the same tests as for one that is
reached directly.

What is not here: a connection that the laptop refuses is lost until the control plane knows. There is nothing like a
retry for connections, since what looks like a connection to the sidecar is a stream to the gateway.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from demo.world import Gateway, Instance, Workload, World
from tests.e2e.talker import Talker
from tests.e2e.test_tcp_ports import (  # noqa: F401  they run here, too
    DECLARED,
    apps,
    laptop,
    test_a_hundred_megabytes_both_ways,
    test_a_laptop_may_come_and_go_several_times_a_second,
    test_an_undeclared_port_takes_requests_by_route_and_other_bytes_by_endpoint,
    test_each_side_may_end_before_the_other_does,
    test_new_connections_go_to_the_laptop_and_open_ones_stay,
    test_no_connection_fails_while_intercepts_come_and_go,
    test_what_is_under_way_at_the_laptop_ends_with_the_intercept,
    test_what_is_under_way_ends_when_the_laptop_goes_away_and_new_connections_come_back_with_it,
)
from tests.e2e.tunnelled_laptop import TunnelledLaptop
from tests.e2e.tunnels import TUNNELS

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def world(short_path: Path, apps: dict[str, Talker]) -> Iterator[World]:  # noqa: F811  the other module's fixture
    workloads = [
        Workload(name, [Instance(f"{name}-1", app=apps[name].port)], protocol=protocol)
        for name, protocol in DECLARED.items()
    ]
    one = World(short_path / "tcp", workloads, users=("alice", "bob"), gateways=[Gateway("gw-1"), Gateway("gw-2")])
    try:
        one.write_file()
        one.start_manager()
        for gateway in one.gateways:
            one.start_gateway(gateway)
        for workload in workloads:
            one.start_sidecar(workload, workload.instances[0])
        for gateway in one.gateways:
            one.wait_for_gateway(gateway)
        for workload in workloads:
            one.wait_for_sidecar(workload.instances[0])
        yield one
    finally:
        one.stop()


@pytest_asyncio.fixture(loop_scope="module", params=TUNNELS)
async def alice(request: pytest.FixtureRequest, world: World) -> AsyncIterator[TunnelledLaptop]:
    async with TunnelledLaptop(world, "alice", TUNNELS[request.param]) as one:
        yield one
