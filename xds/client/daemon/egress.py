"""The daemon's way into the cluster: the proxy, on the gateways that the manager offers this session."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable

from xds.api.byway.daemon.v1 import Proxy as ProxyMessage
from xds.client.egress.gateways import Gateways
from xds.client.egress.owner import KNOWS
from xds.client.egress.proxy import HOST, Proxy
from xds.client.tunnel.contract import Offer

log = logging.getLogger(__name__)

NO_GATEWAY = "the manager offers no gateway to this session, so there is no way into the cluster"


class Egress:
    """Made on a running event loop. `touch` is called for each connection into the cluster."""

    def __init__(self, touch: Callable[[], None]) -> None:
        # Where the machine doesn't say whose a connection is, knowing a secret has to prove it.
        self._password = "" if KNOWS else secrets.token_urlsafe(18)
        self._gateways = Gateways()
        self._proxy = Proxy(self._gateways, touch=touch, password=self._password, check_owner=KNOWS)
        self._problem = NO_GATEWAY
        self._listening = False

    async def start(self) -> None:
        """Listen. A machine on which that fails still has its intercepts; `status` says what is wrong."""
        try:
            await self._proxy.start()
        except OSError as error:
            self._problem = f"the proxy cannot listen on {HOST}: {error.strerror}"
            log.error("%s", self._problem)
        else:
            self._listening = True

    def offer(self, offer: Offer | None) -> None:
        """The manager's offer."""
        self._gateways.offer(offer)
        if self._listening:
            self._problem = "" if offer is not None else NO_GATEWAY

    def cut(self) -> None:
        """The session is over: its connections end with it."""
        self._gateways.cut()
        self._problem = self._problem or NO_GATEWAY

    def status(self) -> ProxyMessage:
        """What the command line needs to use it."""
        address = f"{HOST}:{self._proxy.port}" if self._listening else ""
        return ProxyMessage(address=address, password=self._password, detail=self._problem)

    async def close(self) -> None:
        """End every connection."""
        await self._proxy.close()
        await self._gateways.close()
