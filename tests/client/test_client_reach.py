"""How requests reach a laptop: the daemon's choice, what the manager is told of it, and what the user sees."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import ClientSession

from demo.processes import Processes
from tests.client.fake import FakeManager
from tests.client.laptop import Laptop, until
from tests.e2e.web_site import Site
from tests.tunnel.credentials import Authority, Tokens
from tests.tunnel.laptop_end import NODE, way
from tests.tunnel.static_gateway import StaticGateway
from xds.api.byway.manager import v1

PATIENT = ("--timeout", "30")


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[StaticGateway]:
    processes = Processes(tmp_path / "logs")
    one = StaticGateway(processes, tmp_path / "gateway", Authority(), Tokens())
    one.start()
    yield one
    processes.stop_all()


@pytest.fixture
async def offering(manager: FakeManager, gateway: StaticGateway) -> FakeManager:
    """A manager with a gateway."""
    manager.tunnel = tunnel_to(gateway)
    return manager


def tunnel_to(gateway: StaticGateway, node: str = NODE) -> v1.Tunnel:
    offer = gateway.offer(node)
    one = v1.Gateway(
        name=gateway.name, address=f"127.0.0.1:{gateway.tunnel_port}", server_name=offer.gateways[0].server_name
    )
    return v1.Tunnel(node=node, token=offer.token, token_seconds=600, ca=offer.ca.decode(), gateways=[one])


def told(manager: FakeManager) -> v1.TunnelState | None:
    """What the laptop said last of its tunnel."""
    return manager.presences[-1][1].tunnel if manager.presences else None


def told_up(manager: FakeManager) -> list[str]:
    tunnel = told(manager)
    return list(tunnel.up) if tunnel is not None else []


async def envoys(laptop: Laptop) -> list[int]:
    """The daemon's Envoys, by their working directory."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink() == laptop.files.tunnel:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("kind", ["envoy", "python"])
async def test_where_the_manager_has_gateways_the_laptop_is_reached_by_a_tunnel(
    laptop: Laptop, offering: FakeManager, kind: str
) -> None:
    result = await laptop.byway("connect", "--tunnel", kind, *PATIENT)
    assert (result.code, result.err) == (0, "")
    await until(lambda: told_up(offering) == ["gw-1"])
    tunnel = told(offering)
    assert tunnel is not None
    assert (tunnel.kind, tunnel.detail) == (kind, "")
    assert len(offering.connects[-1].daemon) >= 8
    reach = (await laptop.byway("status", "-o", "json")).json["reach"]
    assert (reach["way"], reach["tunnel"]) == ("tunnel", kind)
    (link,) = reach["gateways"]
    assert (link["name"], link["up"], link["reason"]) == ("gw-1", True, "")
    text = (await laptop.byway("status")).out
    assert f"by tunnel (held by {kind.capitalize()})" in text
    assert "gw-1:" in text


async def test_by_itself_it_is_envoy_where_that_runs(laptop: Laptop, offering: FakeManager) -> None:
    await laptop.byway("connect", *PATIENT)
    assert (await laptop.byway("status", "-o", "json")).json["reach"]["tunnel"] == "envoy"
    assert len(await envoys(laptop)) == 1


async def test_where_envoy_does_not_run_python_holds_the_tunnel_and_it_is_said(
    laptop: Laptop, offering: FakeManager
) -> None:
    laptop.environment["ENVOY"] = "/bin/false"
    assert (await laptop.byway("connect", *PATIENT)).code == 0
    await until(lambda: told_up(offering) == ["gw-1"])
    reach = (await laptop.byway("status", "-o", "json")).json["reach"]
    assert reach["tunnel"] == "python"
    assert "Envoy cannot hold it" in reach["detail"]


async def test_envoy_and_nothing_else_may_be_wanted(laptop: Laptop, offering: FakeManager) -> None:
    laptop.environment["ENVOY"] = "/bin/false"
    result = await laptop.byway("connect", "--tunnel", "envoy", "--timeout", "4")
    assert result.code == 0
    assert "no tunnel to any gateway" in result.err
    assert told_up(offering) == []


async def test_directly_if_so_wanted_though_there_are_gateways(laptop: Laptop, offering: FakeManager) -> None:
    assert (await laptop.byway("connect", "--reach", "direct", *PATIENT)).code == 0
    await until(lambda: offering.present and bool(offering.presences))
    assert offering.connects[-1].daemon == ""
    assert told(offering) is None
    assert (await laptop.byway("status", "-o", "json")).json["reach"]["way"] == "direct"
    assert "Reached:  directly" in (await laptop.byway("status")).out
    other = await laptop.byway("connect", "--reach", "tunnel")
    assert other.code == 1
    assert "run `byway quit` first" in other.err


async def test_without_gateways_it_is_reached_directly(connected: Laptop, manager: FakeManager) -> None:
    await until(lambda: bool(manager.presences))
    assert told(manager) is None
    assert (await connected.byway("status", "-o", "json")).json["reach"]["way"] == "direct"


async def test_a_tunnel_that_is_wanted_where_there_are_no_gateways(laptop: Laptop, manager: FakeManager) -> None:
    result = await laptop.byway("connect", "--reach", "tunnel")
    assert result.code == 0
    assert "the manager has no gateways" in result.err
    await until(lambda: told(manager) is not None)
    assert told_up(manager) == []


async def test_a_gateway_that_cannot_be_reached_is_named_with_the_reason(
    laptop: Laptop, offering: FakeManager, gateway: StaticGateway
) -> None:
    gateway.kill()
    result = await laptop.byway("connect", "--timeout", "3")
    assert result.code == 0
    assert "no tunnel to any gateway yet (gw-1:" in result.err
    await until(lambda: (tunnel := told(offering)) is not None and "gw-1: " in tunnel.detail)
    text = (await laptop.byway("status")).out
    assert "down for" in text
    assert "`byway connect --reach direct`" in text
    gateway.start()
    await until(lambda: told_up(offering) == ["gw-1"], timeout=30)


async def test_a_target_is_served_before_the_manager_hears_of_the_intercept(
    laptop: Laptop, offering: FakeManager, gateway: StaticGateway
) -> None:
    site = Site("laptop")
    await site.start()
    answers: list[tuple[int, str]] = []

    async def ask(request: v1.CreateInterceptRequest) -> None:
        async with (
            ClientSession(f"http://127.0.0.1:{gateway.port}") as session,
            session.get("/", headers=way(site.port)) as answer,
        ):
            answers.append((answer.status, answer.headers.get("x-who", "")))

    offering.on_create = ask
    await laptop.byway("connect", *PATIENT)
    for number in range(3):
        result = await laptop.byway("intercept", "orders", "--name", f"i{number}", "--port", str(site.port))
        assert result.code == 0, result.err
        assert (await laptop.byway("leave", f"i{number}")).code == 0
    assert answers == [(200, "laptop")] * 3
    await site.close()


async def test_a_renewed_token_and_another_gateway_come_with_a_notice(
    laptop: Laptop, offering: FakeManager, gateway: StaticGateway, tmp_path: Path
) -> None:
    await laptop.byway("connect", *PATIENT)
    await until(lambda: told_up(offering) == ["gw-1"])
    gateway.kill()
    gateway.tokens = Tokens()
    gateway.start()
    assert offering.tunnel is not None
    offering.tunnel = replace(offering.tunnel, token=gateway.tokens.token(NODE))
    offering.session.changed.set()
    processes = Processes(tmp_path / "more")
    two = StaticGateway(processes, tmp_path / "two", gateway.authority, gateway.tokens, name="gw-2")
    try:
        two.start()
        await until(lambda: told_up(offering) == ["gw-1"], timeout=30)
        both = [*offering.tunnel.gateways, *tunnel_to(two).gateways]
        offering.tunnel = replace(offering.tunnel, gateways=both)
        offering.session.changed.set()
        await until(lambda: sorted(told_up(offering)) == ["gw-1", "gw-2"], timeout=30)
        offering.tunnel = v1.Tunnel()
        offering.session.changed.set()
        await until(lambda: told(offering) is None, timeout=30)
    finally:
        processes.stop_all()


async def test_a_daemon_that_is_killed_leaves_no_envoy(laptop: Laptop, offering: FakeManager) -> None:
    await laptop.byway("connect", *PATIENT)
    (envoy,) = await envoys(laptop)
    os.kill(laptop.pid, signal.SIGKILL)
    await until(lambda: not Path(f"/proc/{envoy}/cwd").exists())
    # The next daemon is another one to the gateways.
    before = offering.connects[-1].daemon
    assert (await laptop.byway("connect", *PATIENT)).code == 0
    assert offering.connects[-1].daemon not in {"", before}


async def test_quitting_leaves_neither_envoy_nor_its_files(laptop: Laptop, offering: FakeManager) -> None:
    await laptop.byway("connect", *PATIENT)
    (envoy,) = await envoys(laptop)
    assert (await laptop.byway("quit")).code == 0
    await until(lambda: not Path(f"/proc/{envoy}/cwd").exists())
    assert not laptop.files.tunnel.exists()
