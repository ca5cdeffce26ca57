"""One server to be measured, as a process of its own: `python -m bench.xds_server KIND …`.

    byway   registry, compile and serve, as the manager has them
    serve   the xDS library alone, given resources that were made before
    floor   a grpc.aio server without any logic, which writes bytes that were made before

It says where it listens, and makes a change for each line of its standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import grpc

from bench.xds_file import Seed
from xds.serve import SERVER_OPTIONS, Metadata, Node, Resource, Store, View, XdsServer
from xds.serve.protobuf import encode_field
from xds.serve.resource import PUSH_ORDER, content_version
from xds.serve.store import Key
from xds.serve.wire import decode_delta_request, decode_node


class Subject(Protocol):
    """What is measured."""

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """What serves the streams."""

    def change(self, number: int, group: int) -> dict[str, float]:
        """Make a change in a group; more about what it took, seconds by name."""


class Serve:
    """The library."""

    def __init__(self, seed: Seed) -> None:
        self._seed = seed
        self._store = Store()
        start = {key: Resource.of(*key, body) for key, body in seed.state.items()}
        for group in range(seed.groups):
            self._store.update(group={f"g{group}": start})
        self._store.complete()
        self._xds = XdsServer(self._store, authenticate=self._admit, identifier="bench")

    async def _admit(self, node: Node, metadata: Metadata) -> View:  # noqa: ARG002  the library's shape
        return View(node.cluster, node.id)

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        return self._xds.handlers()

    def change(self, number: int, group: int) -> dict[str, float]:
        change = self._seed.changes[number % len(self._seed.changes)]
        self._store.update(group={f"g{group}": {key: Resource.of(*key, body) for key, body in change.items()}})
        return {}


class Floor:
    """No subscriptions, versions, nonces or order: each stream is written what is given, and its requests are read."""

    def __init__(self, seed: Seed) -> None:
        self._start = list(_responses(seed.state))
        self._changes = [list(_responses(each)) for each in seed.changes]
        self._groups: dict[str, set[Any]] = {}
        self._writing: set[asyncio.Task[None]] = set()

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        method: Any = grpc.stream_stream_rpc_method_handler(self._serve)
        return [
            grpc.method_handlers_generic_handler(
                "envoy.service.discovery.v3.AggregatedDiscoveryService", {"DeltaAggregatedResources": method}
            )
        ]

    async def _serve(self, _: Any, context: Any) -> None:
        first = await context.read()
        group = self._groups.setdefault(_group(first), set())
        for each in self._start:
            await context.write(each)
        group.add(context)
        try:
            while await context.read() is not grpc.aio.EOF:
                pass
        finally:
            group.discard(context)

    async def _write(self, context: Any, responses: list[bytes]) -> None:
        for each in responses:
            await context.write(each)

    def change(self, number: int, group: int) -> dict[str, float]:
        responses = self._changes[number % len(self._changes)]
        for context in self._groups.get(f"g{group}", ()):
            task = asyncio.ensure_future(self._write(context, responses))
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)
        return {}


def _group(request: bytes) -> str:
    return decode_node(decode_delta_request(request).node).cluster


def _responses(resources: dict[Key, bytes]) -> Iterable[bytes]:
    """A DeltaDiscoveryResponse of each type."""
    for kind in PUSH_ORDER:
        each = [
            encode_field(3, name)
            + encode_field(1, content_version(body))
            + encode_field(2, encode_field(1, kind) + encode_field(2, body))
            for (of, name), body in resources.items()
            if of == kind
        ]
        if each:
            yield b"".join(encode_field(2, one) for one in each) + encode_field(4, kind) + encode_field(5, "nonce-0000")


async def run(subject: Subject) -> None:
    """Serve, and make a change for each line of standard input, until that ends."""
    server = grpc.aio.server(options=[*SERVER_OPTIONS, ("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(tuple(subject.handlers()))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"address": f"127.0.0.1:{port}"}), flush=True)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    number = 0
    while line := await lines.readline():
        asked = json.loads(line)
        at = time.time()
        more = subject.change(number, asked["group"])
        number += 1
        print(json.dumps({"at": at, "took": time.time() - at, **more}), flush=True)
    await server.stop(0)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.xds_server", description=__doc__)
    parser.add_argument("kind", choices=["byway", "serve", "floor"])
    parser.add_argument("--seed", type=Path, help="a file of resources, for serve and floor")
    parser.add_argument("--groups", type=int, default=1, help="workloads, for byway")
    parser.add_argument("--instances", type=int, default=1, help="of each workload, for byway")
    parser.add_argument("--existing", type=int, default=0, help="intercepts of each workload, for byway")
    given = parser.parse_args()
    subject: Subject
    if given.kind == "byway":
        # The others are to have nothing in memory that is not theirs.
        from bench.xds_byway import Byway

        subject = Byway(given.groups, given.instances, given.existing)
    else:
        subject = (Serve if given.kind == "serve" else Floor)(Seed.read(given.seed))
    # As the manager does: what is there from the start is not looked at again.
    gc.collect()
    gc.freeze()
    asyncio.run(run(subject))


if __name__ == "__main__":
    main()
