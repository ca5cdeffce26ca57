"""What goes wrong with a tunnel, and how it comes back, for every kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import ClientSession

from demo.processes import Processes
from tests.client.laptop import until
from tests.e2e.web_site import Site
from tests.tunnel.credentials import Authority, Tokens
from tests.tunnel.forwarder import Forwarder
from tests.tunnel.kinds import KINDS, Make
from tests.tunnel.laptop_end import NODE, PATIENCE, laptop_end, offer_of, way
from tests.tunnel.static_gateway import StaticGateway
from xds.client.tunnel.contract import HEARD_WITHIN, Offer

MARKER = "a-marker-that-nobody-may-read-on-the-wire"


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Make:
    return KINDS[request.param]


@pytest.fixture
def gateways(tmp_path: Path, authority: Authority, tokens: Tokens) -> Iterator[list[StaticGateway]]:
    processes = Processes(tmp_path / "logs")
    names = ("gw-1", "gw-2")
    yield [StaticGateway(processes, tmp_path / name, authority, tokens, name=name) for name in names]
    processes.stop_all()


@pytest.fixture
def one(gateways: list[StaticGateway]) -> StaticGateway:
    gateways[0].start()
    return gateways[0]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    found = Site("laptop")
    await found.start()
    yield found
    await found.close()


async def ask(gateway: StaticGateway, site: Site, **headers: str) -> tuple[int, str]:
    """The status, and who answered."""
    async with (
        ClientSession(f"http://127.0.0.1:{gateway.port}") as session,
        session.get(f"/{MARKER}", headers=way(site.port) | headers) as answer,
    ):
        return answer.status, answer.headers.get("x-who", "")


async def test_a_gateway_that_dies_is_down_and_dialled_until_it_is_back(
    make: Make, one: StaticGateway, short_folder: Path, site: Site
) -> None:
    async with laptop_end(make, short_folder / "t", one.offer(NODE)) as end:
        await end.declare(site.port)
        await end.up("gw-1")
        one.kill()
        await end.up()
        assert end.tunnel.state.gateways[0].reason
        one.start()
        await end.up("gw-1")
        assert await ask(one, site) == (200, "laptop")


async def test_each_gateway_has_a_tunnel_of_its_own(
    make: Make, gateways: list[StaticGateway], short_folder: Path, site: Site
) -> None:
    one, two = gateways
    one.start()
    two.start()
    async with laptop_end(make, short_folder / "t", offer_of(gateways)) as end:
        await end.declare(site.port)
        await end.up("gw-1", "gw-2")
        assert [await ask(each, site) for each in gateways] == [(200, "laptop")] * 2
        one.kill()
        await end.up("gw-2")
        assert await ask(two, site) == (200, "laptop")
        assert [each.name for each in end.tunnel.state.gateways] == ["gw-1", "gw-2"]


async def test_gateways_come_and_go_without_disturbing_those_that_stay(
    make: Make, gateways: list[StaticGateway], short_folder: Path, site: Site
) -> None:
    one, two = gateways
    one.start()
    two.start()
    async with laptop_end(make, short_folder / "t", offer_of([one])) as end:
        await end.declare(site.port)
        await end.up("gw-1")
        await end.tunnel.offer(offer_of([one, two]))
        await end.up("gw-1", "gw-2")
        await end.tunnel.offer(offer_of([one]))
        await end.until(lambda state: [each.name for each in state.gateways] == ["gw-1"])
        assert await ask(one, site) == (200, "laptop")
        assert all(each.up for state in end.states for each in state.gateways if each.name == "gw-1" and state.up)


async def test_another_node_gets_tunnels_of_its_own(
    make: Make, one: StaticGateway, short_folder: Path, site: Site
) -> None:
    other = "s-2.99887766"
    async with laptop_end(make, short_folder / "t", one.offer(NODE)) as end:
        await end.declare(site.port)
        await end.up("gw-1")
        assert (await ask(one, site, **{"x-byway-node": other}))[0] == 503
        await end.tunnel.offer(one.offer(other))
        await end.up("gw-1")
        assert await ask(one, site, **{"x-byway-node": other}) == (200, "laptop")


async def test_a_token_for_another_node_is_refused_and_the_right_one_is_taken(
    make: Make, one: StaticGateway, short_folder: Path
) -> None:
    offer = one.offer(NODE)
    async with laptop_end(make, short_folder / "t", replace(offer, token=one.offer("s-9.ffffffff").token)) as end:
        await end.until(lambda state: "refuse" in state.gateways[0].reason or "403" in state.gateways[0].reason)
        assert not end.tunnel.state.up
        await end.tunnel.offer(offer)
        await end.up("gw-1")


async def test_a_renewed_token_is_used_when_a_tunnel_is_dialled_again(
    make: Make, one: StaticGateway, short_folder: Path
) -> None:
    async with laptop_end(make, short_folder / "t", one.offer(NODE)) as end:
        await end.up("gw-1")
        # The gateway comes back and knows only a key that the first token was not signed with.
        one.kill()
        one.tokens = Tokens()
        await end.tunnel.offer(one.offer(NODE))
        one.start()
        await end.up("gw-1")


async def test_a_gateway_with_a_certificate_of_another_authority_gets_no_token(
    make: Make, one: StaticGateway, short_folder: Path
) -> None:
    forwarder = Forwarder(one.tunnel_port)
    await forwarder.start()
    offer = replace(_through(one.offer(NODE), forwarder), ca=Authority().pem)
    async with laptop_end(make, short_folder / "t", offer) as end:
        await end.until(lambda state: state.gateways[0].reason not in {"", "dialling"})
        assert forwarder.passed
        assert not end.tunnel.state.up
    await forwarder.close()


def _through(offer: Offer, forwarder: Forwarder) -> Offer:
    return replace(offer, gateways=tuple(replace(each, port=forwarder.port) for each in offer.gateways))


async def test_nobody_on_the_way_reads_anything(make: Make, one: StaticGateway, short_folder: Path, site: Site) -> None:
    forwarder = Forwarder(one.tunnel_port)
    await forwarder.start()
    offer = _through(one.offer(NODE), forwarder)
    async with laptop_end(make, short_folder / "t", offer) as end:
        await end.declare(site.port)
        await end.up("gw-1")
        before = len(forwarder.passed)
        assert await ask(one, site, **{"x-marker": MARKER}) == (200, "laptop")
        assert len(forwarder.passed) > before
        for secret in (MARKER, NODE, offer.token, "RPING", "PRI * HTTP/2"):
            assert secret.encode() not in forwarder.passed
    await forwarder.close()


async def test_a_path_that_falls_silent_is_noticed_and_dialled_anew(
    make: Make, one: StaticGateway, short_folder: Path, site: Site
) -> None:
    forwarder = Forwarder(one.tunnel_port)
    await forwarder.start()
    async with laptop_end(make, short_folder / "t", _through(one.offer(NODE), forwarder)) as end:
        await end.declare(site.port)
        await end.up("gw-1")
        forwarder.freeze()
        # Dialled anew, which may be done before anybody has seen that it was down. The rest is for a slow machine.
        await until(lambda: forwarder.connections > 1, timeout=HEARD_WITHIN + 15)
        await end.up("gw-1")
        async with asyncio.timeout(PATIENCE):
            while await ask(one, site) != (200, "laptop"):
                pass
    await forwarder.close()
