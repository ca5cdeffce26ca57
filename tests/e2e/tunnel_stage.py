"""What the tests of tunnels' failures share: a workload that remembers what reached it, two gateways, and a laptop that
is reached through them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from demo.world import Gateway, Instance, Laptop, Workload, free_port
from tests.e2e.stage import SHOP, RecordingWorld, Scene, start_recorder
from tests.e2e.tunnelled_laptop import TunnelledLaptop
from tests.e2e.tunnels import TUNNELS
from xds.api.byway.manager.v1 import TargetStateState

USER = "alice"


def gateway_world(root: Path, *, users: tuple[str, ...] = (USER, "bob")) -> Iterator[RecordingWorld]:
    """A running world with one workload of one instance, and two gateways."""
    world = RecordingWorld(
        root, [Workload(SHOP, [Instance("shop-1")])], users=users, gateways=[Gateway("gw-1"), Gateway("gw-2")]
    )
    try:
        world.start()
        yield world
    finally:
        world.stop()


def laptop_process(world: RecordingWorld, name: str = "laptop") -> int:
    """Start a process that stands for one on a laptop, and return its port."""
    start_recorder(world.processes, name, port := free_port())
    return port


@asynccontextmanager
async def far_away(
    world: RecordingWorld,
    kind: str,
    target: int,
    *,
    when_down: str = "cluster",
    user: str = USER,
    through: Mapping[str, int] | None = None,
) -> AsyncIterator[tuple[TunnelledLaptop, Scene]]:
    """A laptop with tunnels to all gateways, and its intercept of the user's own requests."""
    async with TunnelledLaptop(world, user, TUNNELS[kind], through=through) as far:
        far.say(target, TargetStateState.LISTENING)
        intercept = await far.intercept(SHOP, SHOP, target, http_header=["auto"], when_down=when_down)
        yield far, Scene(world, Laptop(world, user), far.header, when_down, intercept.id, "laptop", target)
