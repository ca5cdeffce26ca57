"""What laptops and gateways are told: a token in time, to the session's own laptop alone; the keys that prove it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest

from tests.manager.running import PATIENCE, Laptop, Running, refused, running
from xds.api.byway.manager import v1
from xds.api.rpc import bearer
from xds.api.services import Gateways, Manager
from xds.manager.identity import TOKEN_SECONDS
from xds.manager.identity.rotation import KEPT, LEAD, PERIOD

GATEWAYS = """\
gateways:
- {name: gw-1, tunnel: "127.0.0.1:11", sidecars: "127.0.0.1:12"}
- {name: gw-2, tunnel: "127.0.0.1:13", sidecars: "127.0.0.1:14"}
workloads:
"""
USERS = ("users: [ann, bob, cat]", "users: [ann, {name: bob, namespaces: [dev, qa]}, cat]")
DAEMON = "0123abcd"
FROM_OUTSIDE = "feedbeef"


def reload(there: Running, gateways: str = GATEWAYS) -> None:
    there.change(replace=("workloads:\n", gateways))
    there.file.write_text(there.file.read_text().replace(*USERS))
    there.standalone.reload()


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as manager:
        reload(manager)
        yield manager


class Attending:
    """A laptop's stream: speaks every tenth of a second; what it was told of its tunnel, in order."""

    def __init__(self, laptop: Laptop, epoch: int) -> None:
        self.told: asyncio.Queue[v1.Tunnel] = asyncio.Queue()
        self.notices = 0
        self._laptop, self._epoch = laptop, epoch
        self._silent = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    async def _words(self) -> AsyncIterator[v1.Presence]:
        while True:
            yield v1.Presence(epoch=self._epoch)
            await asyncio.sleep(0.1)

    async def _run(self) -> None:
        async for notice in Manager.ATTEND(self._laptop.channel, self._words(), metadata=self._laptop.proof):
            self.notices += 1
            if notice.tunnel is not None:
                self.told.put_nowait(notice.tunnel)

    async def next(self) -> v1.Tunnel:
        return await asyncio.wait_for(self.told.get(), PATIENCE)


@asynccontextmanager
async def attending(laptop: Laptop, *, epoch: int = 0) -> AsyncIterator[Attending]:
    stream = Attending(laptop, epoch or laptop.epoch)
    try:
        yield stream
    finally:
        stream.task.cancel()
        await asyncio.gather(stream.task, return_exceptions=True)


async def connect(there: Running, user: str = "ann", **more: Any) -> v1.ConnectReply:
    more.setdefault("daemon", DAEMON)
    request = v1.ConnectRequest(host="lap", **more)
    return await Manager.CONNECT(there.channel, request, metadata=bearer(there.user_token(user)))


def laptop_of(there: Running, reply: v1.ConnectReply) -> Laptop:
    return Laptop(there.channel, reply.user, reply.session_id, reply.session_token, reply.epoch)


def claims(there: Running, token: str) -> dict[str, Any]:
    """What a gateway reads in a token; raises where it would refuse it."""
    keys = {one["kid"]: jwt.PyJWK(one) for one in json.loads(there.standalone.identity.keys.jwks())["keys"]}
    key = keys[jwt.get_unverified_header(token)["kid"]]
    found: dict[str, Any] = jwt.decode(
        token, key, algorithms=["ES256"], issuer="byway", audience="byway-tunnel", options={"verify_exp": False}
    )
    return found


class TestOffers:
    async def test_a_laptop_is_told_how_to_reach_every_gateway(self, there: Running) -> None:
        reply = await connect(there)
        tunnel = reply.tunnel
        assert tunnel is not None
        assert tunnel.node == f"{reply.session_id}.{DAEMON}"
        assert [(one.name, one.address, one.server_name) for one in tunnel.gateways] == [
            ("gw-1", "127.0.0.1:11", "gateway.byway"),
            ("gw-2", "127.0.0.1:13", "gateway.byway"),
        ]
        assert tunnel.ca.encode() == there.standalone.identity.authority.pem
        assert 0 < tunnel.token_seconds <= 600
        assert claims(there, tunnel.token)["sub"] == tunnel.node

    @pytest.mark.parametrize(("user", "namespaces"), [("ann", "*"), ("bob", "dev qa")])
    async def test_the_token_names_the_namespaces_that_the_user_may_reach(
        self, there: Running, user: str, namespaces: str
    ) -> None:
        tunnel = (await connect(there, user)).tunnel
        assert tunnel is not None
        assert claims(there, tunnel.token)["ns"] == namespaces

    async def test_without_gateways_there_is_no_tunnel(self, there: Running) -> None:
        reload(there, "workloads:\n")
        assert (await connect(there)).tunnel is None

    async def test_a_client_that_has_no_tunnels_is_told_of_none(self, there: Running) -> None:
        reply = await connect(there, daemon="")
        assert reply.tunnel is None
        async with attending(laptop_of(there, reply)) as stream:
            there.standalone.tunnels.tick()
            reply = await connect(there, "bob", daemon=DAEMON)
            assert reply.tunnel is not None
            assert stream.told.empty()

    async def test_the_same_daemon_keeps_its_node_and_another_one_gets_another(self, there: Running) -> None:
        first = await connect(there)
        same = await connect(there, resume_token=first.session_token)
        other = await connect(there, resume_token=first.session_token, daemon=FROM_OUTSIDE)
        nodes = [reply.tunnel.node if reply.tunnel else "" for reply in (first, same, other)]
        assert nodes == [f"{first.session_id}.{one}" for one in (DAEMON, DAEMON, FROM_OUTSIDE)]


class TestRenewal:
    async def test_a_new_token_comes_when_half_of_the_old_ones_life_is_over(self, there: Running) -> None:
        async with attending(laptop_of(there, await connect(there))) as stream:
            first = await stream.next()
            there.manager.clock.step(TOKEN_SECONDS / 2 - 60)
            there.standalone.tunnels.tick()
            assert stream.told.empty()
            there.manager.clock.step(60)
            there.standalone.tunnels.tick()
            second = await stream.next()
            assert second.node == first.node
            assert claims(there, second.token)["exp"] >= claims(there, first.token)["exp"] + TOKEN_SECONDS / 2 - 1

    async def test_nobody_else_is_told(self, there: Running) -> None:
        mine, others = laptop_of(there, await connect(there)), laptop_of(there, await connect(there, "bob"))
        async with attending(mine) as stream, attending(others) as other:
            assert (await stream.next()).node.startswith(f"{mine.id}.")
            assert (await other.next()).node.startswith(f"{others.id}.")
            there.manager.clock.step(TOKEN_SECONDS / 2)
            there.standalone.tunnels.tick()
            for own, seen in ((mine, stream), (others, other)):
                assert claims(there, (await seen.next()).token)["sub"] == f"{own.id}.{DAEMON}"

    async def test_an_older_daemon_of_the_session_is_not_given_the_newer_ones_token(self, there: Running) -> None:
        old = laptop_of(there, await connect(there))
        reply = await connect(there, resume_token=old.token, daemon=FROM_OUTSIDE)
        async with attending(old, epoch=1) as stale, attending(laptop_of(there, reply)) as fresh:
            assert (await fresh.next()).node.endswith(FROM_OUTSIDE)
            with pytest.raises(grpc.aio.AioRpcError):
                await asyncio.wait_for(stale.task, PATIENCE)
            assert stale.told.empty()

    async def test_a_change_of_the_gateways_is_told_at_once(self, there: Running) -> None:
        async with attending(laptop_of(there, await connect(there))) as stream:
            assert len((await stream.next()).gateways) == 2
            reload(there, GATEWAYS.replace("127.0.0.1:13", "127.0.0.1:15"))
            assert [one.address for one in (await stream.next()).gateways] == ["127.0.0.1:11", "127.0.0.1:15"]
            reload(there, "workloads:\n")
            assert (await stream.next()).gateways == []
            notices = stream.notices
            there.standalone.tunnels.tick()
            reload(there)
            assert len((await stream.next()).gateways) == 2
            assert stream.notices == notices + 1

    async def test_a_user_who_may_reach_less_has_a_token_for_less_at_once(self, there: Running) -> None:
        async with attending(laptop_of(there, await connect(there, "bob"))) as stream:
            assert claims(there, (await stream.next()).token)["ns"] == "dev qa"
            there.file.write_text(there.file.read_text().replace("[dev, qa]", "[dev]"))
            there.standalone.reload()
            assert claims(there, (await stream.next()).token)["ns"] == "dev"


class TestFollow:
    def follow(self, there: Running, token: str) -> Any:
        return Gateways.FOLLOW(there.channel, v1.FollowRequest(), metadata=bearer(token))

    async def word(self, words: Any) -> list[str]:
        word = await asyncio.wait_for(anext(aiter(words)), PATIENCE)
        return [one["kid"] for one in json.loads(word.jwks)["keys"]]

    async def test_a_gateway_hears_of_the_keys_and_of_every_change(self, there: Running) -> None:
        words = self.follow(there, (there.state.gateway("gw-1") / "token").read_text().strip())
        (first,) = await self.word(words)
        there.manager.clock.step(PERIOD - LEAD)
        there.standalone.identity.tick()
        assert (await self.word(words))[0] == first
        there.manager.clock.step(LEAD + KEPT)
        there.standalone.identity.tick()
        assert first not in await self.word(words)
        words.cancel()

    async def test_only_gateways_are_told(self, there: Running) -> None:
        laptop = laptop_of(there, await connect(there))
        for token in ("", "guess", there.user_token("ann"), there.sidecar_token(), there.admin_token, laptop.token):
            with refused(grpc.StatusCode.UNAUTHENTICATED):
                await self.word(self.follow(there, token))

    async def test_a_gateways_token_opens_nothing_else(self, there: Running) -> None:
        proof = bearer((there.state.gateway("gw-1") / "token").read_text().strip())
        with refused(grpc.StatusCode.UNAUTHENTICATED):
            await Manager.CONNECT(there.channel, v1.ConnectRequest(host="x"), metadata=proof)
        with refused(grpc.StatusCode.UNAUTHENTICATED):
            await Manager.LIST_INTERCEPTS(there.channel, v1.ListInterceptsRequest(), metadata=proof)
