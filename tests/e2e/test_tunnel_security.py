"""Who gets at a laptop behind gateways, and who doesn't; and what can be read on the way.

The second gateway that the manager's file names is none: it is a pair of ports from which everything goes on to the
first one, so that what is on the wire on both sides of a gateway can be looked at.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio

from demo.world import Gateway, Instance, Workload
from tests.e2e.h2c import Http2, Message, request
from tests.e2e.stage import ENDS_WITHIN, SHOP, InFlight, RecordingWorld, Scene, seen, until, who
from tests.e2e.tunnel_stage import far_away, laptop_process
from tests.e2e.tunnelled_laptop import TunnelledLaptop
from tests.e2e.tunnels import TUNNELS
from tests.manager.gateway.hand import carrier
from tests.tunnel.forwarder import Forwarder
from xds.api.byway.manager import v1
from xds.api.services import Manager
from xds.client.tunnel.contract import Offer, Target
from xds.manager.identity.authority import Authority, Certificate, Subject
from xds.manager.identity.keys import SigningKeys
from xds.paths import StateDir
from xds.registry.workload import WorkloadId

pytestmark = pytest.mark.asyncio(loop_scope="module")

KIND = pytest.mark.parametrize("kind", TUNNELS)
OTHER = "other"
MARKER = "a-marker-that-nobody-may-read-on-the-wire"
REAL, WATCHED = Gateway("gw-1"), Gateway("gw-2")


@pytest.fixture(scope="module")
def world(short_path: Path) -> Iterator[RecordingWorld]:
    workloads = [Workload(SHOP, [Instance("shop-1")])]
    one = RecordingWorld(short_path / "sec", workloads, users=("alice", "bob"), gateways=[REAL])
    try:
        one.gateways.append(WATCHED)
        one.write_file()
        one.start_manager()
        one.start_gateway(REAL)
        one.start_service("shop-1", SHOP, workloads[0].instances[0].app)
        one.start_sidecar(workloads[0], workloads[0].instances[0])
        one.wait_for_sidecar(workloads[0].instances[0])
        one.wait_for_gateway(REAL)
        yield one
    finally:
        one.stop()


@pytest.fixture(scope="module")
def target(world: RecordingWorld) -> Iterator[int]:
    yield laptop_process(world)
    world.processes.kill("laptop")


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def wires(world: RecordingWorld) -> AsyncIterator[dict[str, Forwarder]]:
    """What laptops and sidecars take for the second gateway."""
    found = {
        "laptops": Forwarder(REAL.tunnel, port=WATCHED.tunnel),
        "sidecars": Forwarder(REAL.sidecars, port=WATCHED.sidecars),
    }
    for one in found.values():
        await one.start()
    yield found
    for one in found.values():
        await one.close()


@KIND
async def test_nobody_on_the_way_reads_anything(
    world: RecordingWorld, target: int, wires: dict[str, Forwarder], kind: str
) -> None:
    # Of two tunnels to one gateway it uses the older one: both have to be looked at.
    through = {one.name: WATCHED.tunnel for one in world.gateways}
    async with far_away(world, kind, target, through=through) as (far, scene):
        before = {name: len(one.passed) for name, one in wires.items()}
        body = (MARKER * 500).encode()
        for _ in range(10):
            answer = await scene.post(f"/{MARKER}", body=body)
            assert who(answer) == "laptop"

        async def used() -> bool:
            assert who(await scene.post(f"/{MARKER}", body=body)) == "laptop"
            return all(len(one.passed) - before[name] > 5 * len(body) for name, one in wires.items())

        await until(used, "both wires carry requests")
        for wire in wires.values():
            for secret in (MARKER, far.offer.node, far.offer.token, "PRI * HTTP/2.0", "x-byway-target"):
                assert secret.encode() not in wire.passed


@asynccontextmanager
async def as_a_sidecar(world: RecordingWorld, certificate: Certificate | None) -> AsyncIterator[Http2]:
    """A connection to the gateway's port for sidecars. Raises OSError where the gateway doesn't want it."""
    authority = StateDir(world.state).identity / "ca.pem"
    context = ssl.create_default_context(cadata=_certificates(authority))
    context.set_alpn_protocols(["h2"])
    if certificate is not None:
        path = world.root / "sidecar.pem"
        path.write_bytes(certificate.key + certificate.chain)
        path.chmod(0o600)
        context.load_cert_chain(path)
        path.unlink()
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", REAL.sidecars, ssl=context, server_hostname="gateway.byway"
    )
    found = Http2(reader, writer, client=True)
    found.reading = asyncio.create_task(found.run())
    try:
        yield found
    finally:
        found.close()
        found.reading.cancel()
        await asyncio.gather(found.reading, return_exceptions=True)


def _certificates(path: Path) -> str:
    """What is no secret of the authority's file."""
    text = path.read_text()
    return text[text.index("-----BEGIN CERTIFICATE") :]


def issued(world: RecordingWorld, workload: str) -> Certificate:
    """What the manager would give to a workload's sidecar."""
    now = datetime.now(UTC)
    return Authority.open(StateDir(world.state).identity / "ca.pem", wall=now).issue(
        Subject.of_workload(WorkloadId.parse(workload)), wall=now
    )


async def asked(http: Http2, scene: Scene, far: TunnelledLaptop, path: str) -> Message:
    """A request with all that may make a gateway believe that it is meant for the laptop."""
    headers = {
        "x-byway-to": f"{scene.id}/8080",
        "x-byway-protocol": "HTTP/1.1",
        "x-byway-peer": "spiffe://byway/dev/deployment/shop",
        "x-byway-node": far.offer.node,
        "x-byway-target": f"localhost:{scene.target}",
    }
    return await asyncio.wait_for(http.ask(path, headers), 20)


async def test_a_sidecar_of_another_workload_reaches_no_laptop(world: RecordingWorld, target: int) -> None:
    async with far_away(world, "python", target) as (far, scene):
        async with as_a_sidecar(world, issued(world, f"dev/deployment/{SHOP}")) as http:
            mine = await asked(http, scene, far, "/mine")
            assert (mine.headers[":status"], mine.headers["x-byway-intercept"][-6:]) == ("200", "laptop")
        for workload in (f"dev/deployment/{OTHER}", f"test/deployment/{SHOP}", f"dev/statefulset/{SHOP}"):
            async with as_a_sidecar(world, issued(world, workload)) as http:
                refused = await asked(http, scene, far, "/not-mine")
                assert refused.headers[":status"] == "503"
                assert "x-byway-away" in refused.headers
                stream, raw = http.begin()
                head = [(":method", "CONNECT"), (":authority", "laptop.byway:1"), ("x-byway-to", f"{scene.id}/8080")]
                await http.send(stream, head)
                await asyncio.wait_for(raw.begun.wait(), 20)
                assert raw.headers[":status"] == "503"
        assert "/not-mine" not in await seen(target)


async def test_without_a_certificate_of_the_managers_there_is_no_connection(world: RecordingWorld, target: int) -> None:
    now = datetime.now(UTC)
    stranger = Authority.open(world.root / "stranger.pem", wall=now)
    forged = stranger.issue(Subject.of_workload(WorkloadId.parse(f"dev/deployment/{SHOP}")), wall=now)
    # That of a gateway is for being connected to.
    real = Authority.open(StateDir(world.state).identity / "ca.pem", wall=now)
    gateway = real.issue(Subject("spiffe://byway/dev/deployment/shop", "gateway.byway"), wall=now)
    async with far_away(world, "python", target) as (_, scene):
        for certificate in (None, forged, gateway):
            assert await hung_up_on(world, scene, certificate)
    assert "/stranger" not in await seen(target)


async def hung_up_on(world: RecordingWorld, scene: Scene, certificate: Certificate | None) -> bool:
    """Whether the gateway ends a connection with this certificate without an answer to anything."""
    try:
        async with as_a_sidecar(world, certificate) as http:
            stream, message = http.begin()
            await http.send(stream, request("/stranger", {"x-byway-to": f"{scene.id}/8080"}))
            assert http.reading is not None
            await asyncio.wait_for(http.reading, 20)
            return not message.headers
    except ConnectionError:
        return True


async def admitted(offer: Offer, token: str = "") -> int:
    """The status that the gateway answers to a tunnel's first request."""
    async with carrier(f"127.0.0.1:{REAL.tunnel}", offer.ca) as way:
        return await way.ask(token or offer.token)


@KIND
async def test_an_older_daemons_token_and_tunnel_are_worth_nothing(
    world: RecordingWorld, target: int, kind: str
) -> None:
    async with far_away(world, kind, target) as (far, scene):
        assert who(await scene.get("/before")) == "laptop"
        old = far.offer
        assert await admitted(old) == 200
        far.ended = True
        async with TunnelledLaptop(world, "alice", TUNNELS["python"], resume=far) as newer:
            assert newer.offer.node != old.node
            newer.say(target, v1.TargetStateState.LISTENING)
            await newer.tunnel.declare({Target("localhost", target)})

            async def refused() -> bool:
                return await admitted(old) == 403

            await until(refused, "the older token is refused")
            # The older daemon's tunnels are still open, and would serve anything.
            assert far.tunnel.state.up
            await far.tunnel.declare(set())

            async def served() -> bool:
                # The older daemon would answer 403.
                answer = await scene.get("/after")
                return (answer.status, who(answer)) == (200, "laptop")

            await until(served, "the newer daemon's tunnel serves")
            answers = [await scene.get("/after") for _ in range(10)]
            assert {(one.status, who(one)) for one in answers} == {(200, "laptop")}


async def test_a_token_that_has_expired_is_refused_by_either_check(world: RecordingWorld, target: int) -> None:
    folder = StateDir(world.state).identity
    copy = world.root / "keys.json"
    copy.write_bytes((folder / "keys.json").read_bytes())
    copy.chmod(0o600)
    async with far_away(world, "python", target) as (far, _):
        keys = SigningKeys(copy, time.time)
        fresh, _ = keys.sign(far.offer.node, ["*"])
        assert await admitted(far.offer, fresh) == 200
        keys._wall = lambda: time.time() - 3600
        expired, _ = keys.sign(far.offer.node, ["*"])
        assert await admitted(far.offer, expired) == 401


async def test_a_session_that_ended_has_no_tunnel_any_more(world: RecordingWorld, target: int) -> None:
    """Its laptop may go on dialling as it likes."""
    async with far_away(world, "python", target) as (far, scene):
        flight = InFlight(scene)
        await flight.start()
        offer = far.offer
        ended = time.monotonic()
        far.ended = True
        await Manager.QUIT(far.channel, v1.QuitRequest(), metadata=far.proof, timeout=5)
        answer = await scene.get("/ended")
        assert (answer.status, who(answer)) == (200, "")
        await flight.check_ended(ended, within=ENDS_WITHIN + 5)

        async def refused() -> bool:
            return await admitted(offer) == 403

        await until(refused, "the token is refused")
        async with as_a_sidecar(world, issued(world, f"dev/deployment/{SHOP}")) as http:
            gone = await asked(http, scene, far, "/gone")
            assert gone.headers[":status"] == "503"
        assert "/gone" not in await seen(target)
