"""`byway gateway` with a real Envoy and a real manager: who is let in, by which keys, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.manager.gateway.conftest import GATEWAYS, Gateway, free_addresses, gateway
from tests.manager.gateway.hand import Carrier, answer, carrier, handshake
from tests.manager.running import FILE, Running, running, until
from xds.api.byway.manager import v1
from xds.api.rpc import bearer
from xds.api.services import Manager
from xds.manager.gateway.keys import Keys
from xds.manager.identity.rotation import LEAD, PERIOD

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


class TestWhoIsLetIn:
    async def test_a_session_with_its_token_gets_a_tunnel(self, there: Running, one: Gateway) -> None:
        offer = await tunnel(there)
        async with connected(one, offer):
            pass

    async def test_nobody_else_does(self, there: Running, one: Gateway) -> None:
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

    async def test_a_token_is_good_for_its_own_node_alone(self, there: Running, one: Gateway) -> None:
        offer, other = await tunnel(there), await tunnel(there, "bob")
        async with connected(one, other), connected(one, offer), carrier(one.tunnel, offer.ca.encode()) as way:
            assert await way.ask(offer.token) == 200
            way.write(handshake(other.node, offer.token))
            assert await answer(way.bytes) == 403
        async with connected(one, offer), carrier(one.tunnel, offer.ca.encode()) as way:
            assert await way.ask(offer.token) == 200
            way.write(handshake(offer.node, offer.token, cluster="u.everybody"))
            assert await answer(way.bytes) == 403

    async def test_who_comes_past_the_carrier_needs_a_token_all_the_same(self, there: Running, one: Gateway) -> None:
        offer = await tunnel(there)
        found = next(line for line in (await one.admin("/listeners")).splitlines() if line.startswith("accept::"))
        host, _, port = found.removeprefix("accept::").rpartition(":")
        for token in ("", forged(there, offer, exp=int(time.time()) - 3600)):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(handshake(offer.node, token))
            assert await answer(reader) in {401, 403}
            writer.close()


class TestKeys:
    async def test_tokens_of_the_old_key_and_of_the_new_one_are_both_good(self, there: Running, one: Gateway) -> None:
        offer = await tunnel(there)
        async with connected(one, offer):
            fresh = _rotated(there, offer)

            async def new_key_is_known() -> bool:
                return await asked(one, offer, fresh) == 200

            await one.until(new_key_is_known, "the gateway has the new key")
            assert await asked(one, offer, offer.token) == 200

    async def test_a_manager_that_restarts_disturbs_no_tunnel(self, folder: Path, addresses: list[str]) -> None:
        (listen,) = free_addresses(1)
        text = FILE.format(settings="{}").replace("workloads:\n", GATEWAYS.format(*addresses))
        (folder / "byway.yaml").write_text(text.replace("listen: 127.0.0.1:0", f"listen: {listen}"))
        async with AsyncExitStack() as stack:
            async with running(folder) as there:
                one = await stack.enter_async_context(gateway(there.state, *addresses))
                await one.until(one.listening, "the gateway listens")
                offer = await tunnel(there)
                way = await stack.enter_async_context(connected(one, offer))
            # There is no manager now. More than the seconds for which Envoy itself goes on with keys is not waited for:
            # it asks its own process for them, which has them from a file as well.
            assert await asked(one, offer, offer.token) == 200
            assert way.open
            async with running(folder) as there:
                fresh = _rotated(there, offer)

                async def new_key_is_known() -> bool:
                    return await asked(one, offer, fresh) == 200

                await one.until(new_key_is_known, "the gateway follows the new manager")
                assert await asked(one, offer, offer.token) == 200
                assert way.open

    async def test_a_gateway_that_starts_without_the_manager_has_the_last_keys(self, tmp_path: Path) -> None:
        path = tmp_path / "keys.json"
        Keys(path).take('{"keys": [{"kid": "a"}]}')
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        again = Keys(path)
        await asyncio.wait_for(again.known(), 10)
        again.take("{}")
        again.take("nonsense")
        assert json.loads(again.text) == {"keys": [{"kid": "a"}]}

    @pytest.mark.parametrize("text", ["", "{", '{"keys": []}', "[1]", "\0"])
    def test_kept_keys_that_are_damaged_are_none(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "keys.json").write_text(text)
        assert Keys(tmp_path / "keys.json").text == ""


def _rotated(there: Running, offer: v1.Tunnel) -> str:
    """A token by a key that was made just now, as if a day had passed for the keys alone."""
    keys = there.standalone.identity.keys
    for passed in (PERIOD - LEAD + 1, PERIOD + 1):
        keys._wall = lambda passed=passed: time.time() + passed  # type: ignore[misc]
        there.standalone.identity.tick()
    fresh, _ = keys.sign(offer.node, ["*"])
    assert jwt.get_unverified_header(fresh)["kid"] != jwt.get_unverified_header(offer.token)["kid"]
    return fresh


class TestCertificates:
    async def test_a_renewed_certificate_is_used_and_no_connection_is_dropped(
        self, there: Running, one: Gateway
    ) -> None:
        offer = await tunnel(there)
        async with connected(one, offer) as way:
            first = await _served(one)
            there.standalone.identity.authority.life /= 48
            there.manager.clock.step(20 * 60)
            there.standalone.identity.tick()

            async def another() -> bool:
                return await _served(one) != first

            await one.until(another, "the gateway shows the new certificate")
            assert way.open
            assert await asked(one, offer, offer.token) == 200

    async def test_no_key_is_in_envoys_dumps_or_on_its_command_line(self, there: Running, one: Gateway) -> None:
        dump = await one.admin("/config_dump?include_eds")
        token = (there.state.gateway("gw-1") / "token").read_text().strip()
        assert "PRIVATE KEY" not in dump
        assert token not in dump
        for line in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                assert token.encode() not in line.read_bytes()
            except OSError:
                continue


async def _served(one: Gateway) -> bytes:
    import ssl

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, _, port = one.tunnel.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    assert isinstance(found, bytes)
    return found


class TestProcess:
    async def test_its_sockets_are_its_owners_alone(self, there: Running, one: Gateway) -> None:
        for path in (there.state.gateway_admin_socket("gw-1"), there.state.gateway_keys_socket("gw-1")):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    async def test_it_drains_and_ends_cleanly(self, there: Running, one: Gateway, number: signal.Signals) -> None:
        envoy = _child(one.process.pid)
        os.kill(one.process.pid, number)
        assert await asyncio.wait_for(one.process.wait(), 30) == 0
        assert not Path(f"/proc/{envoy}").exists()
        assert not there.state.gateway_admin_socket("gw-1").exists()
        assert "Traceback" not in one.log

    async def test_its_envoy_ends_with_it(self, there: Running, one: Gateway) -> None:
        envoy = _child(one.process.pid)
        one.process.kill()
        await one.process.wait()
        await until(lambda: not _alive(envoy))

    async def test_it_ends_with_its_envoy(self, there: Running, one: Gateway) -> None:
        os.kill(_child(one.process.pid), signal.SIGKILL)
        assert await asyncio.wait_for(one.process.wait(), 30) == 1
        assert "Envoy ended" in one.log

    async def test_a_second_one_of_the_same_name_is_refused_and_takes_nothing_from_the_first(
        self, there: Running, one: Gateway
    ) -> None:
        sockets = (there.state.gateway_admin_socket("gw-1"), there.state.gateway_keys_socket("gw-1"))
        before = [path.stat().st_ino for path in sockets]
        byway = Path(sys.executable).with_name("byway")
        command = [str(byway), "gateway", "gw-1", "--state-dir", str(there.state.root)]
        second = await asyncio.create_subprocess_exec(
            *command, "--manager", there.address, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await asyncio.wait_for(second.communicate(), 60)
        assert second.returncode == 1, said
        assert f"runs already (process {one.process.pid})" in " ".join(said.decode().split())
        assert [path.stat().st_ino for path in sockets] == before

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["gw-1", "--concurrency", "2"], "a gateway has one worker thread"),
            (["Gw_1"], "no gateway's name"),
            (["gw-2", "--manager", "127.0.0.1:1"], "there is no token"),
            (["gw-2"], "no manager is known"),
        ],
    )
    def test_what_it_refuses(self, tmp_path: Path, arguments: list[str], words: str) -> None:
        byway = Path(sys.executable).with_name("byway")
        command = [str(byway), "gateway", *arguments, "--state-dir", str(tmp_path / "state")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode != 0
        assert words in " ".join(done.stderr.split())
        assert not (tmp_path / "state" / "gateways").exists()


def _child(pid: int) -> int:
    (found,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(found)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
