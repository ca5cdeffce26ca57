"""A port on loopback for a service in the cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from demo.world import free_port
from tests.egress.conftest import Egress
from xds.client.cli.forward import wishes_of
from xds.client.egress.forward import Forward, Wish
from xds.terminal.failure import FailureError

PATIENCE = 30


class Forwards:
    """Makes them, and closes them."""

    def __init__(self, egress: Egress) -> None:
        self.egress = egress
        self.told: list[str] = []
        self.made: list[Forward] = []

    async def make(self, wish: Wish, *, proxy: int | None = None) -> Forward:
        one = Forward(wish, proxy=f"127.0.0.1:{proxy or self.egress.proxy.port}", password="", tell=self.told.append)
        await one.start()
        self.made.append(one)
        return one


@pytest_asyncio.fixture
async def forwards(egress: Egress) -> AsyncIterator[Forwards]:
    some = Forwards(egress)
    yield some
    for one in some.made:
        await one.close()


async def test_it_carries_connections_to_the_service(forwards: Forwards) -> None:
    one = await forwards.make(Wish("shop.dev", 80, free_port()))
    assert one.port == one.wish.local
    for _ in range(3):
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.write_eof()
        assert await reader.read() == b"goodbye"
        writer.close()
    assert forwards.told == []


async def test_what_cannot_be_carried_is_told_and_cut(forwards: Forwards) -> None:
    one = await forwards.make(Wish("other.dev", 80))
    reader, _ = await asyncio.open_connection("127.0.0.1", one.port)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ConnectionResetError):
            await reader.read()
    assert len(forwards.told) == 1
    assert "other.dev:80: there is no such service" in forwards.told[0]


async def test_a_daemon_that_has_gone_is_told(forwards: Forwards) -> None:
    one = await forwards.make(Wish("shop.dev", 80), proxy=free_port())
    reader, _ = await asyncio.open_connection("127.0.0.1", one.port)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ConnectionResetError):
            await reader.read()
    assert forwards.told == ["the daemon's proxy has gone; run `byway connect`, then forward again"]


async def test_without_a_wish_it_is_the_services_number_if_that_is_free(forwards: Forwards) -> None:
    port = free_port()
    first = await forwards.make(Wish("shop.dev", port))
    second = await forwards.make(Wish("shop.dev", port))
    assert first.port == port
    assert second.port not in {0, port}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("orders.dev:80", [Wish("orders.dev", 80)]),
        ("orders.dev:80 8080", [Wish("orders.dev", 80, 8080)]),
        ("orders.dev:80 8080 cart.dev:81 pay.dev:82 9000", [
            Wish("orders.dev", 80, 8080), Wish("cart.dev", 81), Wish("pay.dev", 82, 9000),
        ]),
    ],
)  # fmt: skip
def test_words_are_services_with_or_without_local_ports(words: str, expected: list[Wish]) -> None:
    assert wishes_of(words.split()) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("8080", "is not SERVICE:PORT"),
        ("orders", "is not SERVICE:PORT"),
        ("orders.dev:http", "'http' is not a port"),
        ("orders.dev:0", "'0' is not a port"),
        ("orders.dev:80 70000", "'70000' is not a port"),
        ("orders.dev:80 8080 8081", "is not SERVICE:PORT"),
        ("orders:80", "names no namespace; for example orders.dev:80"),
        ("http://orders.dev:80", "is not SERVICE:PORT"),
        ("a.dev:80 8080 b.dev:80 8080", "given twice"),
    ],
)
def test_words_that_make_no_sense_are_refused(words: str, message: str) -> None:
    with pytest.raises(FailureError) as caught:
        wishes_of(words.split())
    assert message in str(caught.value)
