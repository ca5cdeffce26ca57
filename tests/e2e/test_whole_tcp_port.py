"""Global intercepts of ports that are not HTTP: a declared TCP port, and one of which nothing is declared."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.processes import wait_for
from demo.world import Laptop, free_port
from tests.e2e.flagworld import FlagWorld, Port, flag_world, intercepts
from tests.e2e.pipe import Server, Stream

HELLO = b"\x00\xff hello\n"


def talker(name: str) -> Server:
    """A server that says its name before each line that it sends back, in a protocol that is not HTTP."""
    one = Server()

    def serve(stream: Stream) -> None:
        while line := stream.until(b"\n"):
            stream.send(name.encode() + b": " + line)

    one.serve = serve
    return one


@pytest.fixture(scope="module")
def world(short_path: Path) -> Iterator[FlagWorld]:
    declared = [Port(6379, "redis", "tcp", app=talker("app"))]
    undeclared = [Port(9000, "", "", app=talker("app"))]
    with flag_world(
        short_path / "tcp", "alice", workloads={"dev/declared": declared, "dev/undeclared": undeclared}
    ) as found:
        yield found


@pytest.fixture(params=["declared", "undeclared"])
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def port(world: FlagWorld, name: str) -> Port:
    return world.ports[f"dev/{name}"][0]


@pytest.fixture
def alice(world: FlagWorld) -> Iterator[Laptop]:
    laptop = world.laptop("alice")
    yield laptop
    left = [one["name"] for one in intercepts(laptop)]
    if left:
        laptop.byway("leave", *left)


@pytest.fixture
def target() -> Iterator[Server]:
    one = talker("laptop")
    yield one
    one.close()


def says(stream: Stream) -> bytes:
    """Who is at the other end, or nobody."""
    stream.send(HELLO)
    return stream.until(b"\n").removesuffix(b": " + HELLO)


def asks(port: Port) -> bytes:
    with (stream := Stream.to(port.sidecar)).socket:
        try:
            return says(stream)
        except OSError:
            return b""


def test_new_connections_go_to_the_laptop_and_open_ones_stay(
    alice: Laptop, port: Port, target: Server, name: str
) -> None:
    before = Stream.to(port.sidecar)
    assert says(before) == b"app"
    alice.byway("intercept", name, "--port", str(target.port))
    assert asks(port) == b"laptop"
    assert says(before) == b"app", "a connection that was open is not cut"
    during = Stream.to(port.sidecar)
    data = os.urandom(300_000).replace(b"\n", b"x") + b"\n"
    during.send(data)
    assert during.until(b"\n") == b"laptop: " + data
    alice.byway("leave", name)
    assert asks(port) == b"app"
    assert says(before) == b"app"
    assert during.rest() == b"", "what was open to the laptop ends with the intercept"


def test_the_cluster_answers_while_the_laptop_does_not(alice: Laptop, port: Port, name: str) -> None:
    number = free_port()
    alice.byway("intercept", name, "--port", str(number))
    assert asks(port) == b"app"
    target = talker("laptop")
    alice.byway("leave", name)
    alice.byway("intercept", name, "--port", str(target.port))
    assert asks(port) == b"laptop"
    target.close()
    wait_for(lambda: asks(port) == b"app", "the cluster answers", seconds=5)


def test_nobody_answers_while_the_laptop_does_not_where_the_owner_wants_it_so(
    alice: Laptop, port: Port, name: str
) -> None:
    alice.byway("intercept", name, "--port", str(free_port()), "--when-down", "fail")
    assert asks(port) == b""


def test_an_undeclared_port_carries_requests_and_other_bytes_to_the_laptop(world: FlagWorld, alice: Laptop) -> None:
    port = world.ports["dev/undeclared"][0]
    target = talker("laptop")
    one = alice.json("intercept", "undeclared", "--port", str(target.port))["intercept"]
    assert asks(port) == b"laptop"

    def http(stream: Stream) -> None:
        stream.message()
        stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    target.serve = http
    assert port.ask() == ("ok", f"{one['id']}; served-by=laptop")
    target.close()
