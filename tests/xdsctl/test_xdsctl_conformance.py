"""`xdsctl conformance`: ours keeps every rule, and whoever breaks one is found."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc.aio
import pytest

from tests.serve.harness import serve
from tests.xdsctl.changing_server import URLS as URL_OF
from tests.xdsctl.changing_server import Changing
from tests.xdsctl.running import xdsctl
from tests.xdsctl.simple_server import simple
from tests.xdsctl.test_xdsctl_tables import check
from xds.serve.client import node
from xdsctl.conform.bench import Bench, Change
from xdsctl.conform.judge import Finding, judge, ordered
from xdsctl.conform.passive import INSIDE
from xdsctl.conform.rule import TRANSPORTS, On, Transport, Verdict

QUIET = 0.1
"""Enough in one process, since silence also lasts until somebody else was answered."""
PATIENCE = 20.0
RULES = [rule for rule in ordered() if rule.name not in INSIDE]
AGGREGATED = [each for each in TRANSPORTS if not each.per_type]


async def judged(
    address: str,
    change: Change | None,
    *only: str,
    transports: list[Transport] | tuple[Transport, ...] = TRANSPORTS,
    patience: float = PATIENCE,
) -> list[Finding]:
    who = node(id="node-1", cluster="tests")
    async with grpc.aio.insecure_channel(address) as channel:
        benches = [Bench(channel, each, who, patience=patience, quiet=QUIET, change=change) for each in transports]
        return await judge(benches, only=only, apart=True)


def not_passed(findings: list[Finding]) -> list[str]:
    return [
        f"{each.rule.name} ({each.transport}): {each.verdict}: {each.seen}"
        for each in findings
        if each.verdict is not Verdict.PASS and each.rule.name not in INSIDE
    ]


async def test_a_server_made_of_xds_serve_keeps_every_rule_by_every_transport() -> None:
    changing = Changing()
    async with serve(store=changing.store) as served:
        findings = await judged(served.address, changing)
        assert not_passed(findings) == []
        assert {each.rule.name for each in findings} == {rule.name for rule in ordered()}
        assert {each.transport for each in findings} == set(TRANSPORTS)
        stats = served.xds.statistics()
        while stats["streams"]:
            await asyncio.sleep(0.01)
            stats = served.xds.statistics()


async def test_what_only_the_server_can_know_is_never_passed() -> None:
    async with serve(store=Changing().store) as served:
        findings = await judged(served.address, None, *INSIDE)
    assert {each.verdict for each in findings} == {Verdict.UNJUDGED}
    assert {each.rule.name: each.seen for each in findings} == {name: why for name, (_, _, why) in INSIDE.items()}


async def test_without_a_way_to_change_the_server_rules_about_changes_are_not_judged() -> None:
    async with serve(store=Changing().store) as served:
        findings = await judged(served.address, None, *(rule.name for rule in RULES if rule.changes))
    assert {each.verdict for each in findings} == {Verdict.UNJUDGED}
    assert all(each.seen.endswith("needs --change-command") for each in findings)


async def test_the_simple_server_that_is_broken_below_keeps_every_rule_when_it_is_not() -> None:
    async with simple() as (server, address):
        assert not_passed(await judged(address, server, transports=AGGREGATED)) == []


@pytest.fixture(scope="module")
def found() -> dict[str, list[Finding]]:
    """What is said of servers that break one rule each, about that rule."""

    async def one(name: str, gate: asyncio.Semaphore) -> list[Finding]:
        async with gate, simple(name) as (server, address):
            return await judged(address, server, name, transports=AGGREGATED, patience=0.5)

    async def all_of_them() -> dict[str, list[Finding]]:
        gate = asyncio.Semaphore(6)
        names = [rule.name for rule in RULES]
        return dict(zip(names, await asyncio.gather(*(one(name, gate) for name in names)), strict=True))

    return asyncio.run(all_of_them())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_server_that_breaks_the_rule_is_found(rule: Any, found: dict[str, list[Finding]]) -> None:
    findings = found[rule.name]
    assert {each.transport for each in findings} == set(rule.transports) & set(AGGREGATED)
    expected = Verdict.WARN if rule.advised else Verdict.FAIL
    assert [(str(each.transport), each.verdict, each.seen) for each in findings] == [
        (str(each.transport), expected, each.seen) for each in findings
    ]
    if rule.on is not On.SERVER:
        # Who does not send what is asked for by name is found to have nothing else than clusters and listeners.
        some = rule.on in {On.FULL, On.FULL_PAIR} or rule.name == "named"
        kinds = ["listeners", "clusters"] if some else list(URL_OF)
        assert [kind for each in findings for kind in kinds if kind not in each.seen] == [], findings


# The command


ASK = "import socket,sys; s=socket.create_connection(('127.0.0.1',int(sys.argv[1]))); s.sendall((' '.join(sys.argv[2:])+'\\n').encode()); s.recv(9)"  # noqa: E501


@contextmanager
def in_a_thread(fault: str = "") -> Iterator[tuple[str, str]]:
    """The simple server, apart from this thread's loop; its address, and a command that changes it."""
    ready, ends = threading.Event(), asyncio.Event()
    told: dict[str, Any] = {}

    async def main() -> None:
        async with simple(fault) as (server, address):

            async def change(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                verb, kind, name = (await reader.readline()).decode().split()
                await server(verb, kind, name)
                writer.write(b"done")
                writer.close()

            listening = await asyncio.start_server(change, "127.0.0.1", 0)
            told.update(address=address, port=listening.sockets[0].getsockname()[1], loop=asyncio.get_running_loop())
            ready.set()
            await ends.wait()
            listening.close()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    try:
        assert ready.wait(20)
        yield told["address"], shlex.join([sys.executable, "-c", ASK, str(told["port"])])
    finally:
        told["loop"].call_soon_threadsafe(ends.set)
        thread.join()


SOME = ["--only", "named", "--only", "change-pushed", "--only", "ttl"]
SOME += ["--only", "absent-reported", "--only", "node-needed", "--variant", "delta", "--variant", "sotw"]


@pytest.mark.parametrize("output", ["table", "wide", "json"])
def test_what_is_found_as_a_table_and_as_json(output: str) -> None:
    with in_a_thread("absent-reported") as (address, _):
        result = xdsctl("conformance", address, "--node", "n", *SOME, "--timeout", "0.5", "-o", output)
    assert (result.code, result.err) == (1, "")
    suffix = {"table": ".txt", "wide": "-wide.txt", "json": ".json"}[output]
    check(f"conformance{suffix}", result.out.replace(address, "ADDRESS"))


def test_a_change_command_is_given_what_to_do() -> None:
    with in_a_thread() as (address, command):
        arguments = ["--only", "absent-appears", "--variant", "delta-per-type", "--change-command", command]
        result = xdsctl("conformance", address, "--node", "n", *arguments, "-o", "json")
    (finding,) = json.loads(result.out)["findings"]
    assert (result.code, finding["verdict"], finding["per_type"]) == (0, "pass", True)


def test_a_warning_is_no_failure() -> None:
    with in_a_thread("node-needed") as (address, _):
        result = xdsctl(
            "conformance", address, "--node", "n", "--only", "node-needed", "--variant", "sotw", "-o", "json"
        )
    assert (result.code, json.loads(result.out)["counts"]["warn"]) == (0, 1)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo I have no clusters >&2; exit 3", "the change command would not put listeners: I have no clusters"),
        ("exit 1", "the change command would not put clusters: it says nothing"),
    ],
)
def test_what_the_change_command_can_not_do_is_not_judged(script: str, why: str) -> None:
    with in_a_thread() as (address, _):
        arguments = ["--only", "wildcard-follows", "--variant", "sotw", "--change-command", f"sh -c '{script}'"]
        result = xdsctl("conformance", address, "--node", "n", *arguments, "-o", "json")
    (finding,) = json.loads(result.out)["findings"]
    assert (result.code, finding["verdict"]) == (2, "not judged")
    assert why in finding["seen"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["127.0.0.1:1"], 2, "Error: can't reach 127.0.0.1:1, or it is not ready: connection refused"),
        (["nowhere"], 2, "Error: ADDRESS: 'nowhere' is not HOST:PORT"),
        (["a:1", "--only", "everything"], 2, "Error: invalid value for '--only': 'everything' is none of named, "),
        (["a:1", "--resource", "x"], 2, "Error: --resource: 'x' is not TYPE=NAME; as in --resource secrets="),
    ],
)
def test_what_is_in_the_way_is_exit_code_2(arguments: list[str], code: int, message: str) -> None:
    result = xdsctl("conformance", *arguments, "--node", "n")
    assert result.code == code
    assert result.err.startswith(message)


def test_resources_that_nothing_names_are_tried_when_they_are_named() -> None:
    async def only_endpoints() -> list[Finding]:
        async with simple() as (server, address):
            server.of(URL_OF["clusters"]).clear()
            server.of(URL_OF["listeners"]).clear()
            async with grpc.aio.insecure_channel(address) as channel:
                bench = Bench(channel, TRANSPORTS[0], node(id="n"), patience=PATIENCE, quiet=QUIET)
                return await judge([bench], only=["named"], more={URL_OF["endpoints"]: ["e1", "nowhere"]})

    (finding,) = asyncio.run(only_endpoints())
    assert (finding.verdict, finding.seen) == (Verdict.PASS, "endpoints: one asked for, and sent")


def test_a_server_with_nothing_to_judge_is_not_judged() -> None:
    async def nothing() -> list[Finding]:
        async with simple() as (server, address):
            for url in URL_OF.values():
                server.of(url).clear()
            return await judged(address, None, "named", transports=AGGREGATED)

    assert {(each.verdict, each.seen) for each in asyncio.run(nothing())} == {
        (
            Verdict.UNJUDGED,
            "the server has no clusters and no listeners for this node; name what it has: --resource",
        )
    }
