"""A laptop without a daemon that is reached through the gateways, by either kind of tunnel."""

from __future__ import annotations

import secrets
from typing import Any

from demo.world import World
from tests.e2e.api_laptop import ApiLaptop
from tests.e2e.stage import until
from xds.api.byway.manager import v1
from xds.client.tunnel.contract import Gateway, MakeTunnel, Offer, Target, Tunnel


class TunnelledLaptop(ApiLaptop):
    """One user's session. Use it as an asynchronous context manager; it is there once the tunnels are."""

    def __init__(self, world: World, user: str, make: MakeTunnel) -> None:
        super().__init__(world, user, daemon=secrets.token_hex(8))
        self.tunnel: Tunnel = make(self._tunnel_changed)
        self._declared: set[Target] = set()

    def _tunnel_changed(self) -> None:
        self._changed.set()

    async def __aenter__(self) -> TunnelledLaptop:
        await super().__aenter__()
        assert self._reply.tunnel is not None
        await self.tunnel.start(offer_of(self._reply.tunnel))
        await until(self._up, "a tunnel to every gateway")
        return self

    async def _up(self) -> bool:
        return all(one.up for one in self.tunnel.state.gateways)

    async def __aexit__(self, *about: object) -> None:
        await super().__aexit__(*about)
        await self.tunnel.stop()

    def _tunnel_state(self) -> v1.TunnelState:
        return v1.TunnelState(kind=self.tunnel.kind, up=list(self.tunnel.state.up))

    async def intercept(self, name: str, workload: str, target: int, **options: Any) -> v1.Intercept:
        """As that of a laptop that is reached directly; the target is declared before."""
        self._declared.add(Target("localhost", target))
        await self.tunnel.declare(self._declared)
        return await super().intercept(name, workload, target, **options)


def offer_of(offered: v1.Tunnel) -> Offer:
    """The manager's offer as tunnels take it."""
    gateways = tuple(
        Gateway(one.name, host, int(port), one.server_name)
        for one in offered.gateways
        for host, _, port in [one.address.rpartition(":")]
    )
    return Offer(offered.node, offered.token, offered.ca.encode(), gateways)
