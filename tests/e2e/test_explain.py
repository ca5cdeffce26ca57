"""`byway explain` and `byway why` name the true cause. Each test breaks the real thing, never the registry's state."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from demo.processes import wait_for
from demo.world import Laptop, free_port, listening, request
from tests.e2e.explainworld import (
    FRAIL,
    LONELY,
    ORDERS,
    ExplainWorld,
    byway,
    explain_world,
    intercepting,
    said,
    until_said,
)
from tests.e2e.flagworld import server
from tests.e2e.pipe import Server
from xds.api.byway.manager import v1
from xds.api.byway.manager.v1 import ExplainReply, ExplainRequest
from xds.api.services import Manager
from xds.client.channel import socket_channel
from xds.client.cli.live import ask_live, ask_one
from xds.client.files import LaptopFiles
from xds.compile.twin import ASKED
from xds.paths import StateDir
from xds.registry.requestline import head, parse_request

import grpc.aio  # isort: skip  after xds.client.channel, which sets its environment

AUTO = ("--http-header", "auto")
LARGE = "x-user~=(alice|bob|carol){9}"
TOO_LARGE = re.compile(r"RE2 program size of \d+ > max program size of 20")


@pytest.fixture(scope="module")
def world(short_path: Path) -> Iterator[ExplainWorld]:
    with explain_world(short_path / "explain") as world:
        yield world


@pytest.fixture(scope="module")
def alice(world: ExplainWorld) -> Laptop:
    return world.laptop("alice")


@pytest.fixture(scope="module")
def bob(world: ExplainWorld) -> Laptop:
    return world.laptop("bob")


@pytest.fixture(scope="module")
def process() -> Iterator[Server]:
    """A developer's process."""
    one = server("a laptop")
    yield one
    one.close()


def key_of(laptop: Laptop) -> str:
    """The header of a user's own."""
    key = said(laptop, "status")["key"]
    return f"{key['name']}: {key['value']}"


def stages(laptop: Laptop, intercept: str) -> dict[str, str]:
    return {one["name"]: one["state"] for one in said(laptop, "why", intercept)["stages"]}


def missing(reply: Any) -> tuple[str, str]:
    """The stage at which it breaks off, and what is said of it."""
    found = ((one["name"], one["text"]) for one in reply["stages"] if one["state"] == "missing")
    return next(found, ("", ""))


# Requests


def candidate(reply: Any, name: str) -> Any:
    return next(one for one in reply["candidates"] if one["name"] == name)


CASES = [
    ("the very value", "POST /", ["x-user: Al-1"], "user", "takes", "takes it"),
    ("another value", "/", ["x-user: carol"], "user", "fails", "header x-user is carol, not Al-1"),
    ("a header in another case", "/", ["x-user: al-1"], "user", "fails", "differs only in upper and lower case"),
    ("blanks", "/", ["x-user: 'Al-1 '"], "user", "fails", "has quotes or blanks around it"),
    ("a header repeated", "/", ["x-user: carol", "X-User: Al-1"], "user", "takes", "x-user is sent 2 times"),
    ("a header with commas", "/", ["x-user: carol, Al-1"], "user", "fails", "one value with commas in it"),
    ("no header", "/", [], "user", "fails", "the request has no header x-user; Al-1 is asked for"),
    ("a member of baggage", "/", ["baggage: x-user=Al-1"], "user", "fails", "x-user is a baggage member here"),
    ("a query key", "/?x-user=Al-1", [], "user", "fails", "x-user is a query key here"),
    ("another header", "/", ["x-usr: Al-1"], "user", "fails", "header x-usr has the value that is asked for"),
    ("baggage", "/", ["baggage: a=1,team=red"], "team", "takes", "takes it"),
    ("a header instead", "/", ["team: red"], "team", "fails", "team is a header of its own here"),
    ("a property", "/", ["baggage: a=1;team=red"], "team", "fails", "team stands behind a semicolon"),
    ("another key", "/", ["baggage: squad=red"], "team", "fails", "under the key squad; the baggage member is called"),
    ("the query in a path", "/v1?debug=1", ["x-c: q"], "query", "fails", "if the query took part in the path"),
    ("an anchor", "/api/v1", ["x-c: r"], "anchored", "fails", "without $ at its end ^/api$ would match"),
    ("a slash at the end", "/exact/", ["x-c: s"], "slash", "fails", "a slash at the end makes another path"),
    ("a key sent twice", "/?page=1&page=2", ["x-c: k"], "page", "fails", "of a repeated query key the first one"),
    (
        "another one wins",
        "/api/v1",
        ["x-user: Al-1", "baggage: squad=blue"],
        "user",
        "outranked",
        "a path prefix comes",
    ),
    ("joined by Envoy", "/", ["accept: a", "accept: b"], "accept", "takes", "takes it"),
]


@pytest.fixture(scope="module")
def requests(alice: Laptop, process: Server) -> Iterator[None]:
    """Intercepts of dev/orders for the cases."""
    flags: dict[str, tuple[str, ...]] = {
        "user": ("--http-header", "x-user=Al-1"),
        "team": ("--baggage", "team=red"),
        "api": ("--baggage", "squad=blue", "--http-path-prefix", "/api"),
        "query": ("--http-header", "x-c=q", "--http-path-regex", "v1.*debug=1"),
        "anchored": ("--http-header", "x-c=r", "--http-path-regex", "^/api$"),
        "slash": ("--http-header", "x-c=s", "--http-path-equal", "/exact"),
        "page": ("--http-header", "x-c=k", "--http-query", "page=2"),
        "accept": ("--http-header", "accept=a,b"),
    }
    for name, one in flags.items():
        said(alice, "intercept", ORDERS, "--name", name, "--port", str(process.port), *one)
    yield
    byway(alice, "leave", *flags)


@pytest.mark.usefixtures("requests")
@pytest.mark.parametrize(
    ("line", "headers", "name", "verdict", "words"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_the_mistake_is_named_and_the_sidecars_agree(
    alice: Laptop, line: str, headers: list[str], name: str, verdict: str, words: str
) -> None:
    flags = [word for header in headers for word in ("-H", header)]
    reply = said(alice, "explain", ORDERS, line, *flags, "--live")
    found = candidate(reply, name)
    assert found["verdict"] == verdict, found
    assert any(words in text for text in (found["why"], *found["hints"], *reply["hints"])), (found, reply["hints"])
    assert [one["route"] for one in reply["live"]["instances"]] == [reply["winner"] or "app"] * 2


def test_a_request_that_nobody_can_intercept_is_refused_with_the_reason(alice: Laptop) -> None:
    for arguments, words in {
        ("mixed", "/", "--port", "secure"): "ends TLS in the app, so the sidecar sees no requests there",
        ("mixed", "/", "--port", "6379"): "is declared tcp, not HTTP",
        ("mixed", "/"): "none of them carries HTTP",
        (ORDERS, "/", "--port", "9999"): "has no port '9999'; its ports are 8080 (web)",
        ("nosuch", "/"): "there is no workload 'nosuch'",
        (ORDERS, "api"): "a path begins with a slash; did you mean /api?",
        (ORDERS, "/a#b"): "what follows # is never sent",
        (ORDERS, "/", "-H", "x-user=a"): "did you mean 'x-user: a'?",
    }.items():
        done = byway(alice, "explain", *arguments)
        assert (done.code, done.out) == (2, ""), done
        assert words in done.err


# What is broken


def test_an_intercept_that_envoy_refuses(alice: Laptop, process: Server) -> None:
    refused = byway(alice, "intercept", FRAIL, "--port", str(process.port), "--http-header", LARGE)
    assert refused.code != 0
    stage, text = missing(said(alice, "why", FRAIL))
    assert stage == "acknowledged"
    assert TOO_LARGE.search(text)
    found = candidate(said(alice, "explain", FRAIL, "/", "--live"), FRAIL)
    assert found["verdict"] == "not_asked"
    assert TOO_LARGE.search(found["why"])
    byway(alice, "leave", FRAIL)


def test_a_killed_sidecar(world: ExplainWorld, alice: Laptop, process: Server) -> None:
    with intercepting(alice, ORDERS, process.port, *AUTO):
        world.processes.kill("orders-2-sidecar")
        reply = until_said(alice, lambda reply: reply["missing"] == "sent", "why", ORDERS)
        assert missing(reply) == ("sent", "1 of 2 (orders-2): no sidecar is connected")
        assert stages(alice, ORDERS)["routed"] == "done"
        done = byway(alice, "explain", ORDERS, "/", "-H", key_of(alice), "--live")
        assert done.code == 0
        assert "orders-2: no sidecar is connected; what reaches it is not intercepted" in done.out
        assert re.search(r"orders-1  ✓ i-\w+\n  orders-2  not asked: no sidecar is connected\n", done.out)
        world.start_sidecar(world.workload(ORDERS), world.workload(ORDERS).instances[1])
        until_said(alice, lambda reply: reply["missing"] == "requests", "why", ORDERS)


def test_a_stopped_sidecar(world: ExplainWorld, alice: Laptop, process: Server) -> None:
    assert byway(alice, "intercept", ORDERS, "--port", "1", "--http-header", "x-first=1").code == 0
    byway(alice, "leave", ORDERS)
    world.processes.signal("orders-2-sidecar", signal.SIGSTOP)
    try:
        flags = ("--port", str(process.port), *AUTO, "--timeout", "20")
        with subprocess.Popen(
            [Path(sys.executable).with_name("byway"), "intercept", ORDERS, *flags],
            env=alice.env,
            stdout=subprocess.DEVNULL,
        ) as creating:
            late = "1 of 2 (orders-2): not yet: "
            reply = until_said(alice, lambda reply: late in missing(reply)[1], "why", ORDERS)
            assert missing(reply)[0] in {"sent", "acknowledged"}
            assert stages(alice, ORDERS)["requests"] != "done"
            live = said(alice, "explain", ORDERS, "/", "-H", key_of(alice), "--live")["live"]["instances"]
            assert [one["asked"] for one in live] == [True, False]
            world.processes.signal("orders-2-sidecar", signal.SIGCONT)
            assert creating.wait(20) == 0
    finally:
        world.processes.signal("orders-2-sidecar", signal.SIGCONT)
        byway(alice, "leave", ORDERS)


def test_a_sidecar_whose_port_is_taken(world: ExplainWorld, alice: Laptop, process: Server) -> None:
    instance = world.workload(ORDERS).instances[1]
    world.processes.kill("orders-2-sidecar")
    with socket.create_server(("127.0.0.1", instance.sidecar)):
        world.start_sidecar(world.workload(ORDERS), instance)
        with intercepting(alice, ORDERS, process.port, *AUTO):
            said_of = "1 of 2 (orders-2): Envoy does not listen: "
            reply = until_said(alice, lambda reply: missing(reply)[1].startswith(said_of), "why", ORDERS)
            assert missing(reply)[0] == "routed"
            assert "Address already in use" in missing(reply)[1]
            live = said(alice, "explain", ORDERS, "/", "-H", key_of(alice), "--live")["live"]["instances"]
            assert [one["asked"] for one in live] == [True, False]
            assert "Address already in use" in live[1]["problem"]
    world.processes.kill("orders-2-sidecar")
    world.start_sidecar(world.workload(ORDERS), instance)
    world.wait_for_sidecar(instance)


def test_a_workload_without_sidecar(alice: Laptop, process: Server) -> None:
    with intercepting(alice, LONELY, process.port, *AUTO):
        reply = said(alice, "why", LONELY)
        assert missing(reply) == ("sent", "1 of 1 (lonely-1): no sidecar is connected")
        assert stages(alice, LONELY)["routed"] == "not_reached"
        done = byway(alice, "explain", LONELY, "/", "-H", key_of(alice), "--live")
        assert done.code == 1
        assert done.err == "Error: no sidecar could be asked; lonely-1: no sidecar is connected\n"


def test_a_laptop_that_is_away(alice: Laptop, bob: Laptop, process: Server) -> None:
    header = key_of(bob)
    with intercepting(bob, ORDERS, process.port, *AUTO) as intercept:
        os.kill(bob.daemon_pid, signal.SIGSTOP)
        try:
            reply = until_said(alice, lambda reply: reply["missing"] == "laptop", "why", intercept)
            assert re.fullmatch(r"bob-laptop is away since \d s; the app answers meanwhile", missing(reply)[1])
            done = byway(alice, "explain", ORDERS, "/", "-H", header, "--live")
            expected = f"bob@bob-laptop's intercept orders ({intercept}) takes it, but the cluster answers: "
            assert f"{expected}the laptop bob-laptop is away.\n" in done.out
        finally:
            os.kill(int((bob.state / "laptop" / "daemon.pid").read_text()), signal.SIGCONT)
        until_said(alice, lambda reply: reply["missing"] == "requests", "why", intercept)


def test_a_process_that_does_not_listen(alice: Laptop) -> None:
    port = free_port()
    with intercepting(alice, ORDERS, port, *AUTO, "--when-down", "fail"):
        reply = until_said(alice, lambda reply: reply["missing"] == "process", "why", ORDERS)
        text = f"nothing listens on localhost:{port}; requests get 503 meanwhile (--when-down fail)"
        assert missing(reply) == ("process", text)
        done = byway(alice, "explain", ORDERS, "/", "-H", key_of(alice))
        assert f"takes it, but nobody answers, it gets 503: nothing listens on localhost:{port}.\n" in done.out


def test_a_process_that_is_stopped(alice: Laptop) -> None:
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as child:
        try:
            wait_for(lambda: listening(port), "the process listens")
            with intercepting(alice, ORDERS, port, *AUTO):
                child.send_signal(signal.SIGSTOP)
                reply = until_said(alice, lambda reply: reply["missing"] == "process", "why", ORDERS)
                text = f"localhost:{port}: process {child.pid} (python) is stopped; the app answers meanwhile"
                assert missing(reply) == ("process", text)
                advice = next(one["advice"] for one in reply["stages"] if one["name"] == "process")
                assert advice == f"continue it with fg or kill -CONT {child.pid}"
        finally:
            child.kill()


def test_an_intercept_that_was_displaced(alice: Laptop, bob: Laptop, process: Server) -> None:
    flags = ("--http-header", "x-shared=1")
    mine = said(alice, "intercept", ORDERS, "--port", str(process.port), *flags)["intercept"]["id"]
    taken = ["intercept", ORDERS, "--name", "bobs", "--port", str(process.port), *flags]
    try:
        wait_for(lambda: byway(bob, *taken).code == 0, "alice is idle")
        stage, text = missing(said(bob, "why", mine))
        assert stage == "registered"
        assert f"'orders' ({mine}) is displaced" in text
        assert "displaced by bob@bob-laptop, whose intercept 'bobs' needs the same requests" in text
        done = byway(bob, "explain", ORDERS, "/", "-H", "x-shared: 1", "--live")
        assert "Your intercept bobs" in done.out
        assert re.search(
            rf"Not asked:\n    – orders \({mine}, alice@alice-laptop\).*\n      displaced by bob", done.out
        )
    finally:
        byway(bob, "leave", "bobs")
        byway(alice, "leave", ORDERS)


def test_an_intercept_that_was_revoked(world: ExplainWorld, alice: Laptop, process: Server) -> None:
    intercept = said(alice, "intercept", ORDERS, "--port", str(process.port), *AUTO)["intercept"]["id"]
    admin = ("--manager", world.listen, "--admin-token-file", str(world.admin_token))
    assert byway(alice, "revoke", intercept, "--reason", "load test", *admin).code == 0
    for called in (ORDERS, intercept):
        reply = said(alice, "why", called)
        assert reply["missing"] == "registered"
        assert re.search(r"was ended by the administrator \d s ago: revoked: load test", missing(reply)[1])
    note = said(alice, "explain", ORDERS, "/", "-H", key_of(alice))["hints"]
    assert re.fullmatch(r"your intercept 'orders' was ended by the administrator \d s ago: revoked: load test", note[0])
    done = byway(alice, "why", "nothing")
    assert done.code == 1
    assert "you have no intercept named 'nothing'" in done.err


def test_requests_are_counted_by_every_sidecar_and_keep_their_count(
    world: ExplainWorld, alice: Laptop, bob: Laptop, process: Server
) -> None:
    name, value = key_of(alice).split(": ")
    with intercepting(alice, ORDERS, process.port, *AUTO):
        assert said(alice, "why", ORDERS)["missing"] == "requests"
        for number in (0, 1, 1):
            assert request(world.port(ORDERS, number), headers={name: value}).body == b"a laptop"
        # Another intercept means another route configuration.
        with intercepting(bob, ORDERS, process.port, *AUTO):
            reply = until_said(alice, lambda reply: reply["missing"] is None, "why", ORDERS)
        assert {one["instance"]: one["statuses"] for one in reply["counts"]} == {
            "orders-1": {"200": 1},
            "orders-2": {"200": 2},
        }


# Twins


def channel_of(laptop: Laptop) -> Any:
    return socket_channel(LaptopFiles.of(StateDir(laptop.state)).socket_address())


def test_a_cancelled_call_leaves_no_twins(world: ExplainWorld, alice: Laptop) -> None:
    async def ask_and_leave() -> int:
        async with channel_of(alice) as channel:
            call: Any = Manager.EXPLAIN(channel, ExplainRequest(workload=ORDERS, request_line="/", live=True))
            await anext(aiter(call))
            there = await asyncio.to_thread(world.twins)
            call.cancel()
            return there

    assert asyncio.run(ask_and_leave()) > 0
    wait_for(lambda: world.twins(0) == world.twins(1) == 0, "the twins are gone")


def test_several_may_ask_at_a_time_and_leave_no_twins(world: ExplainWorld, alice: Laptop, process: Server) -> None:
    async def ask() -> list[tuple[str, list[str]]]:
        async with channel_of(alice) as channel:
            requests = [
                ExplainRequest(workload=ORDERS, request_line="/", headers=[f"x-who: {who}"], live=True)
                for who in "abcdef"
            ]
            found = await asyncio.gather(*(ask_live(channel, one) for one in requests))
            return [(reply.winner or "app", [one.route for one in answers]) for reply, answers in found]

    with intercepting(alice, ORDERS, process.port, "--http-header", "x-who~=[ace]") as intercept:
        assert asyncio.run(ask()) == [(one, [one] * 2) for one in [intercept, "app"] * 3]
    wait_for(lambda: world.twins(0) == world.twins(1) == 0, "the twins are gone")


def test_a_killed_manager_leaves_no_twins(world: ExplainWorld, alice: Laptop) -> None:
    async def ask() -> ExplainReply:
        async with channel_of(alice) as channel:
            call: Any = Manager.EXPLAIN(channel, ExplainRequest(workload=ORDERS, request_line="/", live=True))
            reply: ExplainReply = await anext(aiter(call))
            await asyncio.to_thread(world.processes.kill, "manager")
            return reply

    assert asyncio.run(ask()).live
    assert world.twins() > 0
    world.start_manager()
    wait_for(lambda: world.twins(0) == world.twins(1) == 0, "the twins are gone")
    for user in world.users:
        wait_for(world.laptop(user).connected, f"{user} is connected")


# Agreement

VALUES = ("a", "b", "ab", "A", "a,b", "")
PATHS = ("/", "/a", "/a/", "/a/b", "/b", "/A", "/a%20b", "//a")


def some_flags(random_: random.Random) -> v1.MatchFlags:
    """A match of up to three conditions."""
    flags = v1.MatchFlags()
    for kind in random_.sample(("header", "header", "accept", "auto", "baggage", "path", "method", "query"), k=2):
        value = random_.choice(VALUES)
        operator = random_.choice(("=", "=", "^=", "~=")) if value else "="
        match kind:
            case "header":
                flags.http_header.append(f"x-{random_.choice('ab')}{operator}{value}")
            case "accept":
                flags.http_header.append(f"accept{operator}{value}")
            case "auto":
                flags.http_header.append("auto")
            case "baggage":
                flags.baggage.append(random_.choice((f"k={value}", "k", "k^=a")))
            case "path":
                field = random_.choice(("http_path_equal", "http_path_prefix", "http_path_regex"))
                setattr(flags, field, random_.choice(("a$", "^/a", "b|A") if field[-1] == "x" else PATHS))
            case "method":
                flags.http_method = random_.choice(("GET", "POST"))
            case "query":
                flags.http_query.append(random_.choice(("q=1", "q", "q~=[12]")))
    return flags


def some_request(random_: random.Random, keys: list[str]) -> tuple[str, list[str]]:
    """A request line and headers."""
    query = random_.choice(("", "", "?q=1", "?q=2&q=1", "?q", "?Q=1", "?x=q=1"))
    line = f"{random_.choice(('GET', 'GET', 'POST', 'HEAD', 'get'))} {random_.choice(PATHS)}{query}"
    lines = [
        f"{random_.choice(('x-a', 'X-A', 'x-b'))}: {random_.choice(VALUES)}"
        for _ in range(random_.choice((0, 1, 1, 2)))
    ]
    lines += [f"accept: {random_.choice(VALUES)}" for _ in range(random_.choice((0, 0, 1, 2)))]
    lines += [f"baggage: {random_.choice(('k=a', 'k=b', 'x=1,k=%61', 'x=1;k=a', 'K=a'))}"] * random_.choice((0, 0, 1))
    name, value = random_.choice(keys).split(": ")
    lines += random_.choice(
        ([], [], [f"{name}: {value}"], [f"baggage: {name}={value}"], [f"{name}: x", f"baggage: {name}={value}"])
    )
    return line, lines


async def make_some(random_: random.Random, channels: list[Any], port: int) -> list[tuple[Any, str]]:
    """A dozen random intercepts; those that conflict with others are not among them."""
    made = []
    target = v1.CreateInterceptRequestPortFlag(target=v1.Target(host="localhost", port=port))
    for number in range(14):
        channel = channels[number % len(channels)]
        request = v1.CreateInterceptRequest(
            name=f"r{number}", workload=ORDERS, ports=[target], match=some_flags(random_)
        )
        with contextlib.suppress(grpc.aio.AioRpcError):
            async for _ in Manager.CREATE_INTERCEPT(channel, request):
                pass
            made.append((channel, request.name))
    return made


async def compare_some(random_: random.Random, channel: Any, keys: list[str], count: int) -> list[str]:
    """Ask manager and sidecars about random requests; returns the winners."""
    live = ExplainRequest(workload=ORDERS, request_line="/", live=True)
    call: Any = Manager.EXPLAIN(channel, live)
    found = []
    try:
        question = (await anext(aiter(call))).live
        assert question
        for _ in range(count):
            line, headers = some_request(random_, keys)
            ask = ExplainRequest(workload=ORDERS, request_line=line, headers=headers)
            reply = await anext(aiter(Manager.EXPLAIN(channel, ask)))
            winner = reply.winner or "app"
            asked = replace(question, head=head(parse_request(line, headers), [(ASKED, question.token)]))
            answer = await ask_one(asked, random_.choice(question.instances), time.monotonic() + 5)
            assert answer.route == winner, (line, headers, winner, answer, reply)
            found.append(winner)
    finally:
        call.cancel()
    return found


def test_explain_and_envoy_agree_on_random_requests(alice: Laptop, bob: Laptop, process: Server) -> None:
    random_ = random.Random(20260105)
    keys = [key_of(alice), key_of(bob)]

    async def rounds() -> list[str]:
        found = []
        async with channel_of(alice) as first, channel_of(bob) as second:
            for _ in range(4):
                made = await make_some(random_, [first, second], process.port)
                found += await compare_some(random_, second, keys, 55)
                for channel, name in made:
                    with contextlib.suppress(grpc.aio.AioRpcError):
                        await Manager.LEAVE_INTERCEPT(channel, v1.LeaveInterceptRequest(name=name))
        return found

    winners = asyncio.run(rounds())
    assert len(winners) == 220
    assert len(set(winners)) > 10
    assert winners.count("app") < 175
