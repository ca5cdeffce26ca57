"""A world for `byway explain` and `byway why`: workloads in which something is wrong, and one that is all right."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.processes import wait_for
from demo.world import Instance, Laptop, Workload, World
from tests.e2e.flagworld import server
from xds.client.cli.app import run
from xds.client.cli.runner import HANDLED
from xds.compile.twin import ASKED
from xds.http1 import read_body, read_head
from xds.manager.sidecar import Sidecar
from xds.paths import StateDir
from xds.registry.workload import Address, WorkloadId

ORDERS, FRAIL, LONELY = "orders", "frail", "lonely"
IDLE = 1.0
"""Seconds after which an owner who does nothing can't block others."""


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


class ExplainWorld(World):
    """dev/orders (two instances), dev/frail (its Envoy takes small expressions only), dev/lonely (no sidecar) and
    dev/mixed (a TLS port, a TCP port, no instance)."""

    __slots__ = ()

    def _content(self) -> dict[str, Any]:
        content = super()._content()
        ports = [{"port": 8443, "name": "secure", "appProtocol": "https"}, {"port": 6379, "appProtocol": "redis"}]
        content["workloads"].append({"name": "mixed", "namespace": "dev", "ports": ports, "instances": []})
        return content

    def sidecar(self, workload: str, number: int = 0) -> Sidecar:
        """The files of a sidecar."""
        found = self.workload(workload)
        return Sidecar.of(StateDir(self.state), WorkloadId.parse(found.id), found.instances[number].id)

    def start_frail_sidecar(self) -> None:
        """A sidecar whose Envoy refuses what the manager thinks that it takes."""
        host, _, port = self.listen.rpartition(":")
        sidecar = self.sidecar(FRAIL)
        sidecar.write(Address(host, int(port)))
        bootstrap = json.loads(sidecar.bootstrap.read_text())
        bootstrap["layered_runtime"]["layers"][0]["static_layer"]["re2"]["max_program_size"]["error_level"] = 20
        sidecar.bootstrap.write_text(json.dumps(bootstrap))
        self.processes.start("frail-1-sidecar", sidecar.command(concurrency=1, log_level="warning"))

    def twins(self, number: int = 0) -> int:
        """How many routes an Envoy of dev/orders has that answer with their name."""
        return asyncio.run(_dump(self.sidecar(ORDERS, number))).count(ASKED)


async def _dump(sidecar: Sidecar) -> str:
    reader, writer = await asyncio.open_unix_connection(sidecar.admin_socket, limit=1 << 24)
    with contextlib.closing(writer):
        writer.write(b"GET /config_dump HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n\r\n")
        return (await read_body(reader, await read_head(reader))).decode()


def byway(laptop: Laptop, *arguments: str) -> Done:
    """Run a command in this process, which is quicker than starting one."""
    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in HANDLED}
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run([*arguments, "--state-dir", str(laptop.state)])
    finally:
        # A command ignores signals in the end, which this process must not, nor those that it starts.
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return Done(code, out.getvalue(), err.getvalue())


def said(laptop: Laptop, *arguments: str) -> Any:
    """What a command that succeeds says in JSON."""
    done = byway(laptop, *arguments, "-o", "json")
    assert done.code == 0, (arguments, done)
    return json.loads(done.out)


@contextmanager
def intercepting(laptop: Laptop, workload: str, port: int, *flags: str, name: str = "") -> Iterator[str]:
    """An intercept's id, for as long as the context lasts."""
    named = name or workload
    found = said(laptop, "intercept", workload, "--name", named, "--port", str(port), *flags)
    try:
        yield found["intercept"]["id"]
    finally:
        byway(laptop, "leave", named)


@contextmanager
def explain_world(root: Path) -> Iterator[ExplainWorld]:
    """The world, up, with alice and bob connected."""
    apps = [server("the app") for _ in range(4)]
    orders, frail, lonely = (
        [Instance("orders-1", app=apps[0].port), Instance("orders-2", app=apps[1].port)],
        [Instance("frail-1", app=apps[2].port)],
        [Instance("lonely-1", app=apps[3].port)],
    )
    workloads = [Workload(ORDERS, orders), Workload(FRAIL, frail), Workload(LONELY, lonely)]
    settings = {"intercept": {"inactiveBlockTimeout": f"{IDLE:g}s"}}
    world = ExplainWorld(root, workloads, users=("alice", "bob"), settings=settings)
    try:
        world.write_file()
        world.start_manager()
        for instance in orders:
            world.start_sidecar(world.workload(ORDERS), instance)
        world.start_frail_sidecar()
        for user in world.users:
            world.laptop(user).connect()
        for instance in [*orders, *frail]:
            world.wait_for_sidecar(instance)
        yield world
    finally:
        world.stop()
        for app in apps:
            app.close()


def until_said(laptop: Laptop, what: Any, *arguments: str) -> Any:
    """What a command says as soon as `what` holds of it."""
    found: list[Any] = []

    def holds() -> bool:
        found.append(said(laptop, *arguments))
        return bool(what(found[-1]))

    wait_for(holds, f"byway {' '.join(arguments)}")
    return found[-1]
