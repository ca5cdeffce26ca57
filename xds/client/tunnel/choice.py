"""Which kind of tunnel it is: Envoy where it runs, else this process.

Envoy's code is imported only here and only when it is wanted: it takes a second, and memory that a laptop without
gateways has no use for.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Set
from pathlib import Path

from xds.client.tunnel.contract import CannotRunError, Changed, Offer, Target, Tunnel
from xds.client.tunnel.mux import PythonTunnel

log = logging.getLogger(__name__)

KINDS = ("auto", "envoy", "python")
ENVOY_MODULE = "xds.client.tunnel.envoy_tunnel"


class TunnelChoice:
    """Opens tunnels. What could not run once isn't tried again."""

    def __init__(self, wanted: str, folder: Path) -> None:
        """`wanted` is one of KINDS; `folder` is for Envoy's files."""
        self.wanted = wanted
        self.why_not_envoy = ""
        """Why this process holds the tunnel although Envoy would be preferred; empty where it isn't so."""
        self._folder = folder

    async def open(self, offer: Offer, targets: Set[Target], changed: Changed) -> Tunnel:
        """A started tunnel that serves these targets. Raises CannotRunError where the wanted kind can't run."""
        if self.wanted != "python" and not self.why_not_envoy:
            try:
                return await self._started(await self._envoy(changed), offer, targets)
            except CannotRunError as error:
                self.give_up_envoy(str(error))
        return await self._started(PythonTunnel(changed), offer, targets)

    def give_up_envoy(self, why: str) -> None:
        """Envoy does not run here. Raises CannotRunError where nothing else is wanted."""
        if self.wanted == "envoy":
            raise CannotRunError(why)
        log.warning("Envoy cannot hold the tunnel, so Python does: %s", why)
        self.why_not_envoy = why

    async def _envoy(self, changed: Changed) -> Tunnel:
        try:
            module = await asyncio.to_thread(importlib.import_module, ENVOY_MODULE)
        except ImportError as error:
            raise CannotRunError(f"Envoy's package cannot be used: {error}") from error
        tunnel: Tunnel = module.EnvoyTunnel(changed, folder=self._folder)
        return tunnel

    async def _started(self, tunnel: Tunnel, offer: Offer, targets: Set[Target]) -> Tunnel:
        try:
            await tunnel.declare(targets)
            await tunnel.start(offer)
        except BaseException:
            await tunnel.stop()
            raise
        return tunnel
