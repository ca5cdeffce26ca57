"""What the tests of protocols share: a workload for each protocol, and three ways that a request can take.

ordinary   no header                      the app
matched    the header of an intercept     the laptop
away       the header of an intercept whose laptop is not there: the app
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.world import Gateway, Instance, Workload, World, free_port
from tests.e2e.api_laptop import ApiLaptop
from tests.e2e.echo_service import EchoService, start
from tests.e2e.h2c import Http2Server
from tests.e2e.tunnelled_laptop import TunnelledLaptop
from tests.e2e.tunnels import TUNNELS
from tests.e2e.web_site import Site
from xds.api.byway.manager.v1 import TargetStateState

HEADER = "x-user"
RPC_PATH = "/demo.Echo/"
"""The gRPC intercepts are for this service alone."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way of a request: the headers that send it there, who answers, and what `x-byway-intercept` says of that."""

    name: str
    headers: dict[str, str]
    who: str
    served_by: str = ""

    def __str__(self) -> str:
        return self.name

    def check(self, headers: object) -> None:
        """Check who answered by the headers of an answer."""
        found = {str(name).lower(): str(value) for name, value in dict(headers).items()}  # type: ignore[call-overload]
        assert found.get("x-who") == self.who
        assert found.get("x-byway-intercept", "").partition("served-by=")[2] == self.served_by


WAYS = [
    Way("ordinary", {}, "app"),
    Way("matched", {HEADER: "alice"}, "laptop", "laptop"),
    Way("away", {HEADER: "gone"}, "app", "cluster"),
    *(Way(f"tunnel-{kind}", {HEADER: kind}, "laptop", "laptop") for kind in TUNNELS),
]


@dataclass(slots=True)
class Stage:
    """Who answers on each side, and the sidecars' ports by workload: `web`, `two`, `rpc`, and undeclared `any`."""

    world: World
    alice: ApiLaptop
    sites: dict[str, Site]
    servers: dict[str, Http2Server]
    services: dict[str, EchoService]
    far: dict[str, TunnelledLaptop]
    """Laptops that can only call out, by the kind of their tunnel."""

    def port(self, workload: str) -> int:
        """The sidecar's port."""
        return self.world.port(workload)


@asynccontextmanager
async def protocol_stage(root: Path) -> AsyncIterator[Stage]:
    """The world, with both sides up and the intercepts made."""
    async with AsyncExitStack() as stack:
        sites, servers, services = {}, {}, {}
        ports: dict[str, dict[str, int]] = {}
        for who in ("app", "laptop"):
            sites[who], servers[who], services[who] = Site(who), Http2Server(who), EchoService(who)
            await sites[who].start()
            stack.push_async_callback(sites[who].close)
            await servers[who].start()
            stack.callback(servers[who].close)
            grpc_server, rpc, undeclared = await start(services[who])
            stack.push_async_callback(grpc_server.stop, None)
            ports[who] = {"web": sites[who].port, "two": servers[who].port, "rpc": rpc, "any": undeclared}
        world = _world(root, ports["app"])
        stack.callback(world.stop)
        _start(world)
        alice = await stack.enter_async_context(ApiLaptop(world, "alice"))
        for workload, port in ports["laptop"].items():
            path: dict[str, Any] = {"http_path_prefix": RPC_PATH} if workload == "rpc" else {}
            alice.say(port, TargetStateState.LISTENING)
            await alice.intercept(workload, workload, port, http_header=[f"{HEADER}=alice"], **path)
            alice.say(nothing := free_port(), TargetStateState.NOT_LISTENING)
            await alice.intercept(f"{workload}-gone", workload, nothing, http_header=[f"{HEADER}=gone"], **path)
        distant: dict[str, TunnelledLaptop] = {}
        for kind, make in TUNNELS.items():
            distant[kind] = far = await stack.enter_async_context(TunnelledLaptop(world, kind, make))
            for workload, port in ports["laptop"].items():
                path = {"http_path_prefix": RPC_PATH} if workload == "rpc" else {}
                far.say(port, TargetStateState.LISTENING)
                await far.intercept(workload, workload, port, http_header=[f"{HEADER}={kind}"], **path)
        yield Stage(world, alice, sites, servers, services, distant)


def _world(root: Path, apps: dict[str, int]) -> World:
    declared = {"web": "http", "two": "http2", "rpc": "grpc", "any": ""}
    workloads = [
        Workload(name, [Instance(f"{name}-1", app=apps[name])], protocol=protocol)
        for name, protocol in declared.items()
    ]
    return World(root, workloads, users=("alice", "bob", *TUNNELS), gateways=[Gateway("gw-1"), Gateway("gw-2")])


def _start(world: World) -> None:
    world.write_file()
    world.start_manager()
    for gateway in world.gateways:
        world.start_gateway(gateway)
    for workload in world.workloads:
        world.start_sidecar(workload, workload.instances[0])
    for workload in world.workloads:
        world.wait_for_sidecar(workload.instances[0])
    for gateway in world.gateways:
        world.wait_for_gateway(gateway)
