"""Sessions whose laptops want tunnels, and what gateways answer them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from tests.manager.gateway.conftest import Gateway
from tests.manager.gateway.hand import Carrier, answer, carrier, handshake
from tests.manager.running import Running
from xds.api.byway.manager import v1
from xds.api.rpc import bearer
from xds.api.services import Manager

DAEMON = "0123abcd"


async def tunnel(there: Running, user: str = "ann", daemon: str = DAEMON) -> v1.Tunnel:
    """A session's offer."""
    request = v1.ConnectRequest(host="lap", daemon=daemon)
    reply = await Manager.CONNECT(there.channel, request, metadata=bearer(there.user_token(user)))
    assert reply.tunnel is not None
    return reply.tunnel


async def asked(one: Gateway, offer: v1.Tunnel, token: str) -> int:
    """The status that the gateway answers to a carrier with this token."""
    async with carrier(one.tunnel, offer.ca.encode()) as way:
        return await way.ask(token)


@asynccontextmanager
async def connected(one: Gateway, offer: v1.Tunnel) -> AsyncIterator[Carrier]:
    """A tunnel that is up."""

    async def lets_in() -> bool:
        return await asked(one, offer, offer.token) == 200

    await one.until(lets_in, "the gateway knows the session")
    async with carrier(one.tunnel, offer.ca.encode()) as way:
        assert await way.ask(offer.token) == 200
        way.write(handshake(offer.node, offer.token))
        assert await answer(way.bytes) == 200
        yield way


def forged(there: Running, offer: v1.Tunnel, *, key: ec.EllipticCurvePrivateKey | None = None, **claims: object) -> str:
    """A token with other claims, signed by the manager's key or by another one."""
    (signing,) = there.standalone.identity.keys._keys
    whole = {"iss": "byway", "aud": "byway-tunnel", "sub": offer.node, "ns": "*", "exp": int(time.time()) + 300}
    return jwt.encode(whole | claims, key or signing.private, algorithm="ES256", headers={"kid": signing.id})
