"""Many laptops at one gateway: what a tunnel costs it while nothing passes, and whether all of them are reached.

The laptops are sessions of the real manager, and their tunnels are those of the Python multiplexer, all in one process.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio

from bench.processes import family
from demo.world import Gateway, World
from xds.api.byway.manager import v1
from xds.api.rpc import bearer
from xds.api.services import Manager
from xds.client.daemon.reach import offer_of
from xds.client.tunnel.mux import PythonTunnel

AT_ONCE = 50
PATIENCE = 300.0


@dataclass(frozen=True, slots=True)
class Crowd:
    """So many laptops: seconds until the last one's tunnel was up, and what the gateway's Envoy grew by for each."""

    laptops: int
    seconds: float
    kilobytes_each: float
    heap_kilobytes_each: float


def measure(root: Path, *, laptops: int, say: Callable[[str], None]) -> Crowd:
    """Bring up a gateway and dial it. Raises TimeoutError when some tunnels don't come up."""
    world = World(root, [], users=("crowd",), gateways=[Gateway("gw-1")])
    try:
        world.write_file()
        world.start_manager()
        world.start_gateway(world.gateways[0])
        world.wait_for_gateway(world.gateways[0])
        return asyncio.run(_dial(world, laptops, say))
    finally:
        world.stop()


async def _dial(world: World, laptops: int, say: Callable[[str], None]) -> Crowd:
    manager = world.state / "manager"
    proof = bearer((manager / "users" / "crowd.token").read_text().strip())
    tunnels: list[PythonTunnel] = []
    limit = asyncio.Semaphore(AT_ONCE)
    before = _size(world)
    began = time.monotonic()
    async with grpc.aio.insecure_channel((manager / "address").read_text().strip()) as channel:

        async def one(number: int) -> None:
            async with limit:
                tunnels.append(await _laptop(channel, proof, number))

        await asyncio.gather(*map(one, range(laptops)))
        async with asyncio.timeout(PATIENCE):
            while (up := sum(1 for each in tunnels if each.state.up)) < laptops:
                say(f"{up} of {laptops} laptops have a tunnel")
                await asyncio.sleep(0.2)
        took = time.monotonic() - began
        after = _size(world)
    for each in tunnels:
        await each.stop()
    grown, heap = ((now - then) / 1024 / laptops for now, then in zip(after, before, strict=True))
    return Crowd(laptops, took, grown, heap)


async def _laptop(channel: grpc.aio.Channel, proof: Any, number: int) -> PythonTunnel:
    request = v1.ConnectRequest(host=f"laptop-{number}", client_version="0", daemon=secrets.token_hex(8))
    reply = await Manager.CONNECT(channel, request, metadata=proof, timeout=60)
    assert reply.tunnel is not None
    tunnel = PythonTunnel(lambda: None)
    await tunnel.start(offer_of(reply.tunnel))
    return tunnel


def _size(world: World) -> tuple[int, int]:
    """What the gateway's Envoy has in memory, and on its heap; bytes."""
    for pid in family(world.processes.children[world.gateways[0].process].pid):
        if Path(f"/proc/{pid}/comm").read_text().startswith("envoy"):
            fields = Path(f"/proc/{pid}/smaps_rollup").read_text().split()
            return (
                int(fields[fields.index("Rss:") + 1]) * 1024,
                int(fields[fields.index("Anonymous:") + 1]) * 1024,
            )
    raise RuntimeError("the gateway has no Envoy")
