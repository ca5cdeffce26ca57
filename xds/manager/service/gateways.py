"""byway.manager.v1.Gateways: what a gateway's own process asks, beside what its Envoy is given."""

from __future__ import annotations

from collections.abc import AsyncIterator

from xds.api.byway.manager import v1
from xds.api.rpc import Context, Handlers
from xds.api.services import Gateways as Methods
from xds.manager.identity import Identity
from xds.manager.service.callers import Callers
from xds.manager.service.manager import _guarded_stream


class GatewaysService:
    """Only for gateways."""

    def __init__(self, identity: Identity, callers: Callers) -> None:
        self._identity = identity
        self._callers = callers

    def handlers(self) -> Handlers:
        """What the server registers."""
        return Handlers([Methods.FOLLOW.handler(_guarded_stream(self._follow))])

    async def _follow(self, _: v1.FollowRequest, context: Context) -> AsyncIterator[v1.GatewayWord]:
        self._callers.gateway(context)
        pulse = self._identity.rotated
        while True:
            seen = pulse.count
            yield v1.GatewayWord(jwks=self._identity.keys.jwks())
            await pulse.wait(seen)
