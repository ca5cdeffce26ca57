"""A laptop without a daemon that is reached through the gateways, by either kind of tunnel."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import xds.client.channel  # noqa: F401  first: it sets gRPC's environment

import grpc.aio  # isort: skip

from demo.world import World
from tests.e2e.api_laptop import ApiLaptop
from tests.e2e.stage import until
from xds.api.byway.manager import v1
from xds.client.daemon.reach import offer_of
from xds.client.tunnel.contract import MakeTunnel, Offer, Target, Tunnel
from xds.client.tunnel.envoy_tunnel import EnvoyTunnel


class TunnelledLaptop(ApiLaptop):
    """One user's session. Use it as an asynchronous context manager; it is there once the tunnels are.

    `through`: by gateway, the port of a forwarder to dial instead. `says`: what the manager is told of the tunnel,
    where that is not to be the truth.
    """

    def __init__(
        self,
        world: World,
        user: str,
        make: MakeTunnel,
        *,
        through: Mapping[str, int] | None = None,
        resume: ApiLaptop | None = None,
    ) -> None:
        super().__init__(world, user, daemon=secrets.token_hex(8), resume=resume)
        self.tunnel: Tunnel = make(self._tunnel_changed)
        self.says: v1.TunnelState | None = None
        self._through = through or {}
        self.session: v1.Session | None = None
        """The manager's last word of the session."""
        self._declared: set[Target] = set()

    def _tunnel_changed(self) -> None:
        self._changed.set()

    async def __aenter__(self) -> TunnelledLaptop:
        await super().__aenter__()
        self._listening = asyncio.create_task(self._listen())
        await self.tunnel.start(self.offer)
        await until(self.up, "a tunnel to every gateway")
        await until(self._known, "the manager knows of the tunnels")
        return self

    async def _listen(self) -> None:
        """Take what the manager says, until another laptop has the session."""
        with suppress(grpc.aio.AioRpcError):
            async for notice in self._notices:
                self.session = notice.session

    async def _known(self) -> bool:
        """Whether an intercept that is made now would lead here at once."""
        told = self.session.tunnel if self.session is not None else None
        return told is not None and set(told.up) == set(self.tunnel.state.up)

    @property
    def offer(self) -> Offer:
        """The manager's offer, with the forwarders."""
        assert self._reply.tunnel is not None
        offer = offer_of(self._reply.tunnel)
        gateways = tuple(replace(one, port=self._through.get(one.name, one.port)) for one in offer.gateways)
        return replace(offer, gateways=gateways)

    async def up(self) -> bool:
        """Whether there is a tunnel to every gateway."""
        return bool(self.tunnel.state.gateways) and all(one.up for one in self.tunnel.state.gateways)

    async def kill(self) -> None:
        """End the tunnel as roughly as its kind can: an Envoy by kill -9. The daemon's part of it goes too."""
        if isinstance(self.tunnel, EnvoyTunnel):
            os.kill(self.tunnel.pid, signal.SIGKILL)
        await self.tunnel.stop()

    async def __aexit__(self, *about: object) -> None:
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        await super().__aexit__(*about)
        await self.tunnel.stop()

    def _tunnel_state(self) -> v1.TunnelState:
        return self.says or v1.TunnelState(kind=self.tunnel.kind, up=list(self.tunnel.state.up))

    async def intercept(self, name: str, workload: str, target: int, **options: Any) -> v1.Intercept:
        """As that of a laptop that is reached directly; the target is declared before."""
        self._declared.add(Target("localhost", target))
        await self.tunnel.declare(self._declared)
        return await super().intercept(name, workload, target, **options)
