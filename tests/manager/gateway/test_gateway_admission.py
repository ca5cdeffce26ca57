"""Whom a gateway lets in: a real Envoy as `byway gateway` runs it, with a real manager, for all of these tests."""

from __future__ import annotations

import asyncio
import stat
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.manager.gateway.conftest import Gateway
from tests.manager.gateway.hand import answer, carrier, handshake
from tests.manager.gateway.sessions import asked, connected, forged, tunnel
from tests.manager.running import Running

pytestmark = pytest.mark.asyncio(loop_scope="module")


class TestWhoIsLetIn:
    async def test_a_session_with_its_token_gets_a_tunnel(self, everywhere: tuple[Running, Gateway]) -> None:
        there, one = everywhere
        offer = await tunnel(there)
        async with connected(one, offer):
            pass

    async def test_nobody_else_does(self, everywhere: tuple[Running, Gateway]) -> None:
        there, one = everywhere
        offer, other = await tunnel(there), await tunnel(there, "bob")
        stranger = ec.generate_private_key(ec.SECP256R1())
        async with connected(one, offer), connected(one, other):
            refused = {
                "none": "",
                "garbage": "a.b.c",
                "expired": forged(there, offer, exp=int(time.time()) - 3600),
                "another issuer": forged(there, offer, iss="somebody"),
                "another audience": forged(there, offer, aud="something"),
                "another key": forged(there, offer, key=stranger),
                "no node": forged(there, offer, sub=""),
                "unknown node": forged(there, offer, sub=f"{offer.node}9"),
            }
            statuses = {why: await asked(one, offer, token) for why, token in refused.items()}
        assert set(statuses.values()) <= {401, 403}, statuses
        assert statuses["none"] == statuses["expired"] == statuses["another key"] == 401

    async def test_a_token_is_good_for_its_own_node_alone(self, everywhere: tuple[Running, Gateway]) -> None:
        there, one = everywhere
        offer, other = await tunnel(there), await tunnel(there, "bob")
        async with connected(one, other), connected(one, offer), carrier(one.tunnel, offer.ca.encode()) as way:
            assert await way.ask(offer.token) == 200
            way.write(handshake(other.node, offer.token))
            assert await answer(way.bytes) == 403
        async with connected(one, offer), carrier(one.tunnel, offer.ca.encode()) as way:
            assert await way.ask(offer.token) == 200
            way.write(handshake(offer.node, offer.token, cluster="u.everybody"))
            assert await answer(way.bytes) == 403

    async def test_who_comes_past_the_carrier_needs_a_token_too(self, everywhere: tuple[Running, Gateway]) -> None:
        there, one = everywhere
        offer = await tunnel(there)
        found = next(line for line in (await one.admin("/listeners")).splitlines() if line.startswith("accept::"))
        host, _, port = found.removeprefix("accept::").rpartition(":")
        for token in ("", forged(there, offer, exp=int(time.time()) - 3600)):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(handshake(offer.node, token))
            assert await answer(reader) in {401, 403}
            writer.close()


class TestSecrets:
    async def test_no_key_is_in_envoys_dumps_or_on_its_command_line(self, everywhere: tuple[Running, Gateway]) -> None:
        there, one = everywhere
        dump = await one.admin("/config_dump?include_eds")
        token = (there.state.gateway("gw-1") / "token").read_text().strip()
        assert "PRIVATE KEY" not in dump
        assert token not in dump
        for line in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                assert token.encode() not in line.read_bytes()
            except OSError:
                continue

    async def test_its_sockets_are_its_owners_alone(self, everywhere: tuple[Running, Gateway]) -> None:
        there, one = everywhere
        for path in (there.state.gateway_admin_socket("gw-1"), there.state.gateway_keys_socket("gw-1")):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
