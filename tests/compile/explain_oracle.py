"""A real sidecar that says, by the product's own twins, which intercept takes a request; and `explain`, beside it.

Everything is the product's: bootstrap, listener, routes, the xDS server that delivers them, the bytes of the request.
Envoy is given one random state after another, each with twins for one asker, and is asked about a hundred requests.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import socket
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import grpc.aio

from demo.world import free_port, listening
from tests.compile.explain_samples import Typed, parsed_or_none, routed, some_intercept, some_typed
from tests.compile.goldens import golden_state
from xds.compile import names
from xds.compile.state import WorkloadState
from xds.compile.twin import ASKED
from xds.compile.workload import compile_workload
from xds.manager import publish
from xds.manager.sidecar import Sidecar
from xds.paths import StateDir
from xds.registry.conditions import to_flags
from xds.registry.explain import explain
from xds.registry.intercept import Intercept
from xds.registry.request import Request
from xds.registry.requestline import head
from xds.registry.workload import Address, Instance
from xds.serve import CLUSTER, ROUTE, SERVER_OPTIONS, Lag, Metadata, Node, Store, View, XdsServer

PORT: Final = 8080
PATIENCE: Final = 30.0


class Twins:
    """One sidecar of one workload. `token` is the asker's."""

    def __init__(self, store: Store, server: XdsServer, port: int) -> None:
        self.token = secrets.token_hex(16)
        self._store, self._server = store, server
        instance = Instance("one", {PORT: Address("127.0.0.1", port)}, {PORT: Address("127.0.0.1", 9)})
        base = golden_state("one-auto").workload
        ports = tuple(one for one in base.ports if one.number == PORT)
        self.workload = replace(base, ports=ports, instances={"one": instance})
        self.port = port

    async def put(self, intercepts: Sequence[Intercept]) -> None:
        """Have these routed, and wait until the sidecar says that they are."""
        state = WorkloadState(self.workload, routed(intercepts), explaining={PORT: frozenset({self.token})})
        compiled = compile_workload(state)
        # Twins answer by themselves: no request gets as far as a laptop's cluster, each of which takes Envoy 0.3 ms.
        kept = names.app_cluster(self.workload.id, PORT)
        compiled.clusters = {kept: compiled.clusters[kept]}
        compiled.hops = {}
        compiled.endpoints = {one: {kept: those[kept]} for one, those in compiled.endpoints.items()}
        revision = publish.put(self._store, self.workload, compiled, reason="another state")
        group = str(self.workload.id)
        async with asyncio.timeout(PATIENCE):
            lags: list[Lag] = []
            while not self._server.clients() or (lags := self._server.lagging(group, revision, (CLUSTER, ROUTE))):
                assert not (refused := [one.nack for one in lags if one.nack]), refused
                await asyncio.sleep(0.001)

    def ask(self, requests: Sequence[Request]) -> list[str]:
        """Who takes each: an intercept's id, `app`, or the status with which Envoy answered by itself. Blocking."""
        return self.ask_raw([head(one, [(ASKED, self.token)]) for one in requests])

    def ask_raw(self, heads: Sequence[bytes]) -> list[str]:
        """The same, of bytes. One after the other, 25 µs each: Envoy ends a connection on which answers of its own
        overtake requests.
        """
        answers: list[str] = []
        while len(answers) < len(heads):
            before = len(answers)
            with (
                socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection,
                connection.makefile("rb") as reader,
                suppress(ConnectionError),
            ):
                answers += self._on_one_connection(connection, reader, heads[before:])
            assert len(answers) > before, f"no answer to {heads[before]!r}"
        return answers

    def _on_one_connection(self, connection: socket.socket, reader: Any, heads: Sequence[bytes]) -> Iterator[str]:
        for one in heads:
            connection.sendall(one)
            if (answer := self._read(reader, head_only=one.startswith(b"HEAD "))) is None:
                return
            yield answer[0]
            if answer[1]:
                return

    def _read(self, reader: Any, *, head_only: bool) -> tuple[str, bool] | None:
        if not (line := reader.readline()):
            return None
        found: dict[bytes, bytes] = {}
        while (each := reader.readline()) not in {b"\r\n", b""}:
            name, _, value = each.partition(b":")
            found[name.lower()] = value.strip()
        if not head_only:
            reader.read(int(found.get(b"content-length", b"0")))
        token, _, name = found.get(ASKED.encode(), b"").decode().partition(" ")
        said = name if token == self.token else line.split(b" ")[1].decode()
        return said, found.get(b"connection") == b"close"


@asynccontextmanager
async def twins() -> AsyncIterator[Twins]:
    """A sidecar from the product's bootstrap, until the end of the block."""
    # The paths of Unix sockets have to be short.
    with tempfile.TemporaryDirectory(prefix="bw-", ignore_cleanup_errors=True) as folder:
        async with _served(Path(folder)) as found:
            yield found


@asynccontextmanager
async def _served(folder: Path) -> AsyncIterator[Twins]:
    store = Store()

    async def anybody(node: Node, _: Metadata) -> View:
        return View(node.cluster, node.id)

    xds = XdsServer(store, authenticate=anybody, identifier="soak", coalesce=0.0)
    server = grpc.aio.server(options=SERVER_OPTIONS)
    server.add_generic_rpc_handlers(tuple(xds.handlers()))
    manager = Address("127.0.0.1", server.add_insecure_port("127.0.0.1:0"))
    store.complete()
    found = Twins(store, xds, free_port())
    await server.start()
    sidecar = Sidecar.of(StateDir(folder), found.workload.id, "one")
    sidecar.folder.mkdir(parents=True)
    sidecar.token_file.write_text("none")
    sidecar.write(manager)
    log = folder / "envoy.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *sidecar.command(concurrency=1, log_level="warning"), stdout=output, stderr=output
        )
    try:
        await found.put([])
        # The listener warms until its routes are there.
        async with asyncio.timeout(PATIENCE):
            while not await asyncio.to_thread(listening, found.port):
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.01)
        yield found
    finally:
        process.terminate()
        await process.wait()
        await server.stop(None)


@dataclass(slots=True)
class Tally:
    """What was compared so far: how often each kind of winner, and what came out apart."""

    pairs: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    apart: list[str] = field(default_factory=list)


def winner(intercepts: Sequence[Intercept], request: Request) -> str:
    """Who takes a request, as `explain` says."""
    published = {one.id for one in intercepts if one.disposition.routed}
    found = explain(intercepts, PORT, request, session="s", published=published)
    return found.winner.id if found.winner else names.APP


async def compare(twins: Twins, random_: random.Random, requests: int, tally: Tally) -> None:
    """One random state and that many random requests: whoever disagrees is shrunk and noted."""
    intercepts = [
        some_intercept(random_, number, twins.workload.id, (PORT,)) for number in range(random_.randint(1, 12))
    ]
    await twins.put(intercepts)
    pairs: list[tuple[Typed, Request]] = []
    refused: list[Typed] = []
    while len(pairs) < requests:
        aim = random_.choice(intercepts).spec.match if random_.random() < 0.6 else None
        typed = some_typed(random_, aim)
        if (request := parsed_or_none(typed)) is not None:
            pairs.append((typed, request))
        elif not typed.names_others:
            refused.append(typed)
    answers = twins.ask([request for _, request in pairs])
    for typed, answer in zip(refused, twins.ask_raw([typed.raw(twins.token) for typed in refused]), strict=True):
        tally.seen["refused"] += 1
        if not answer.isdigit():
            tally.apart.append(f"{typed}: Envoy {answer}, and it is refused as what no route sees")
    for (typed, request), answer in zip(pairs, answers, strict=True):
        ours = winner(intercepts, request)
        tally.pairs += 1
        tally.seen["app" if ours == names.APP else "intercept"] += 1
        tally.seen["several match"] += len([one for one in intercepts if winner([one], request) == one.id]) > 1
        if answer != ours:
            tally.apart.append(await _smallest(twins, intercepts, typed))
            await twins.put(intercepts)


async def _smallest(twins: Twins, intercepts: Sequence[Intercept], typed: Typed) -> str:
    """The disagreement with nothing in it that can be left out, in words."""
    intercepts = list(intercepts)

    async def apart(those: list[Intercept], request: Typed) -> tuple[str, str] | None:
        if (parsed := parsed_or_none(request)) is None:
            return None
        await twins.put(those)
        (answer,) = twins.ask([parsed])
        ours = winner(those, parsed)
        return (answer, ours) if answer != ours else None

    for one in list(intercepts):
        fewer = [other for other in intercepts if other is not one]
        if await apart(fewer, typed):
            intercepts = fewer
    for line in typed.headers:
        shorter = Typed(typed.line, tuple(other for other in typed.headers if other is not line))
        if await apart(intercepts, shorter):
            typed = shorter
    found = await apart(intercepts, typed) or ("the same", "the same now")
    flags = "\n".join(f"  {one.id} {one.disposition} {' '.join(to_flags(one.spec.match))}" for one in intercepts)
    return f"{typed}: Envoy {found[0]}, explain {found[1]}\n{flags}"
