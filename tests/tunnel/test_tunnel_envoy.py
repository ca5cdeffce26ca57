"""What is Envoy's alone: its process, its files, and what it is told."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from demo.processes import Processes, wait_for
from tests.client.laptop import until
from tests.tunnel.credentials import Authority, Tokens
from tests.tunnel.laptop_end import NODE, LaptopEnd, laptop_end, offer_of
from tests.tunnel.static_gateway import StaticGateway
from xds import guard
from xds.client.tunnel.contract import CannotRunError, Gateway, Offer, Target
from xds.client.tunnel.envoy_admin import parse_tunnels
from xds.client.tunnel.envoy_carrier import Dialler
from xds.client.tunnel.envoy_tunnel import EnvoyTunnel
from xds.client.tunnel.envoy_watch import FRESH, Watch
from xds.client.tunnel.envoy_xds import LaptopXds
from xds.serve import Resource

DIALLER = Dialler(3, NODE, Gateway("gw-1", "gw.example", 17300, "gateway.byway"), b"")
CONNECTED = "tunnels.worker_0.cluster.gateway-3.connected: {}\n"
REFUSED = "tunnels.handshake.worker.worker_0.cluster.gateway-3.result.failed.failure_reason.http.403: {}\n"


@pytest.fixture
async def end(gateway: StaticGateway, short_folder: Path) -> AsyncIterator[LaptopEnd]:
    gateway.start()
    async with laptop_end(_make, short_folder / "t", gateway.offer(NODE)) as found:
        await found.up("gw-1")
        yield found


def _make(changed: object, folder: Path) -> EnvoyTunnel:
    assert callable(changed)
    return EnvoyTunnel(changed, folder=folder)


def _pid(end: LaptopEnd) -> int:
    assert isinstance(end.tunnel, EnvoyTunnel)
    return end.tunnel.pid


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


async def test_an_envoy_that_is_killed_is_started_again_with_all_that_it_had(end: LaptopEnd) -> None:
    await end.declare(1)
    before = _pid(end)
    os.kill(before, signal.SIGKILL)
    # That it doesn't answer may be known before it is known why.
    await end.until(lambda _: any("signal 9" in each.reason for state in end.states for each in state.gateways))
    await end.up("gw-1")
    assert _pid(end) not in {0, before}


async def test_an_envoy_that_hangs_counts_as_down_until_it_goes_on(end: LaptopEnd) -> None:
    os.kill(_pid(end), signal.SIGSTOP)
    try:
        await end.up()
        assert "does not answer" in end.tunnel.state.gateways[0].reason
    finally:
        os.kill(_pid(end), signal.SIGCONT)
    await end.up("gw-1")


async def test_what_a_gateway_was_dialled_through_outlives_what_dialled_it(
    authority: Authority, tokens: Tokens, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[set[str]] = []
    serve = LaptopXds.serve

    def recorded(xds: LaptopXds, resources: Iterable[Resource]) -> int:
        found = list(resources)
        served.append({each.name for each in found if each.name.endswith("-2")})
        return serve(xds, found)

    monkeypatch.setattr(LaptopXds, "serve", recorded)
    processes = Processes(short_folder / "logs")
    one, two = (StaticGateway(processes, short_folder / name, authority, tokens, name=name) for name in ("g1", "g2"))
    try:
        one.start()
        two.start()
        async with laptop_end(_make, short_folder / "away", offer_of([one, two])) as end:
            await end.up("g1", "g2")
            assert served[-1] == {"rc-2", "gateway-2", "hop-2", "carrier-2"}
            await end.tunnel.offer(offer_of([one]))
            assert served[-1] == {"gateway-2", "hop-2", "carrier-2"}
            # Envoy lets the dialler go when its drain time is over.
            await until(lambda: not served[-1], timeout=60)
    finally:
        processes.stop_all()


async def test_stopping_leaves_neither_process_nor_file(gateway: StaticGateway, short_folder: Path) -> None:
    gateway.start()
    folder = short_folder / "stopped"
    async with laptop_end(_make, folder, gateway.offer(NODE)) as end:
        await end.up("gw-1")
        pid = _pid(end)
        assert _alive(pid)
    assert not _alive(pid)
    assert not folder.exists()


async def test_the_token_is_where_nobody_else_looks(gateway: StaticGateway, short_folder: Path) -> None:
    gateway.start()
    folder, offer = short_folder / "kept", gateway.offer(NODE)
    async with laptop_end(_make, folder, offer) as end:
        await end.up("gw-1")
        assert offer.token not in Path(f"/proc/{_pid(end)}/cmdline").read_text()
        assert offer.token not in Path(f"/proc/{_pid(end)}/environ").read_text()
        assert offer.token not in repr(offer)
        for path in (folder, *folder.rglob("*")):
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode == (0o700 if path.is_dir() else 0o600), f"{path}: {mode:o}"
        dump = await _admin(folder, "/config_dump?include_eds")
        assert offer.gateways[0].server_name in dump
        assert offer.token not in dump


async def _admin(folder: Path, path: str) -> str:
    reader, writer = await asyncio.open_unix_connection(folder / "admin")
    writer.write(f"GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n".encode())
    try:
        return (await reader.read()).decode()
    finally:
        writer.close()


@pytest.mark.parametrize("binary", ["/bin/false", "/nowhere/envoy"])
async def test_where_envoy_cannot_run_it_is_said_and_nothing_is_left(
    gateway: StaticGateway, short_folder: Path, monkeypatch: pytest.MonkeyPatch, binary: str
) -> None:
    monkeypatch.setenv("ENVOY", binary)
    folder = short_folder / "broken"
    tunnel = EnvoyTunnel(lambda: None, folder=folder)
    with pytest.raises(CannotRunError):
        await tunnel.start(gateway.offer(NODE))
    assert not folder.exists()


async def test_targets_may_be_declared_before_the_start(short_folder: Path) -> None:
    tunnel = EnvoyTunnel(lambda: None, folder=short_folder / "early")
    await tunnel.declare({Target("localhost", 1)})
    await tunnel.start(Offer(NODE, "no token", b"", ()))
    assert tunnel.state.gateways == ()
    await tunnel.stop()


@pytest.mark.parametrize("how", ["exec", "stay"])
def test_what_is_guarded_ends_with_its_parent_however_that_one_ends(tmp_path: Path, how: str) -> None:
    if how == "exec" and sys.platform != "linux":
        pytest.skip("only Linux tells a child of its parent's end")
    told = tmp_path / "pid"
    child = f"import os, pathlib, time; pathlib.Path({str(told)!r}).write_text(str(os.getpid())); time.sleep(60)"
    parent = (
        "import os, subprocess, sys, time\n"
        f"command = [sys.executable, {guard.__file__!r}, str(os.getpid()), sys.executable, '-c', {child!r}]\n"
        "subprocess.Popen(command, stdin=subprocess.PIPE)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], env={**os.environ, "BYWAY_GUARD": how})
    try:
        wait_for(lambda: told.exists() and told.read_text(), "the guarded process runs")
        pid = int(told.read_text())
        assert _alive(pid)
    finally:
        process.kill()
        process.wait()
    wait_for(lambda: not _alive(pid), "the guarded process has ended")


def test_a_tunnel_is_up_by_envoys_count_alone() -> None:
    watch = Watch()
    watch.follow([DIALLER], 1.0)
    (state,) = watch.states([DIALLER])
    assert (state.name, state.up, state.since, state.reason) == ("gw-1", False, 1.0, "dialling")
    watch.polled(parse_tunnels(CONNECTED.format(1)), 2.0)
    watch.polled(parse_tunnels(CONNECTED.format(1)), 3.0)
    (state,) = watch.states([DIALLER])
    assert (state.up, state.since, state.reason) == (True, 2.0, "")
    watch.polled(parse_tunnels(CONNECTED.format(0)), 4.0)
    (state,) = watch.states([DIALLER])
    assert (state.up, state.since) == (False, 4.0)


def test_the_reason_is_the_latest_that_is_known() -> None:
    watch = Watch()
    watch.follow([DIALLER], 1.0)
    watch.carrier_ended(DIALLER, {"flags": "UF", "tls": None})
    watch.polled(parse_tunnels(""), 2.0)
    assert watch.states([DIALLER])[0].reason == "cannot connect to gw.example:17300"
    watch.polled(parse_tunnels(REFUSED.format(1)), 3.0)
    assert watch.states([DIALLER])[0].reason == "the gateway refuses this laptop (HTTP 403)"
    watch.polled(parse_tunnels(REFUSED.format(1)), 3.0 + FRESH)
    assert watch.states([DIALLER])[0].reason == "cannot connect to gw.example:17300"
    watch.silent("Envoy does not answer", 9.0)
    assert watch.states([DIALLER])[0].reason == "Envoy does not answer"


@pytest.mark.parametrize(
    ("flags", "tls", "why"),
    [
        ("UF", "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:TLS_error_end", "prove"),
        ("UF", "TLS_error:|268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end", "no TLS"),
        ("UH", "", "can't be resolved"),
        ("-", "", "refused this laptop's token"),
    ],
)
def test_why_a_carrier_ended_is_said_in_words(flags: str, tls: str, why: str) -> None:
    watch = Watch()
    watch.follow([DIALLER], 1.0)
    watch.carrier_ended(DIALLER, {"flags": flags, "tls": tls})
    watch.polled(parse_tunnels(""), 2.0)
    assert why in watch.states([DIALLER])[0].reason
