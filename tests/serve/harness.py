"""A server over real gRPC for tests, and waiting for conditions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc

from xds.serve import (
    SERVER_OPTIONS,
    Ack,
    LastSent,
    Limits,
    Metadata,
    Nack,
    Node,
    Observer,
    Resource,
    Store,
    StreamInfo,
    View,
    XdsServer,
)

GROUP = "dev/deployment/orders"
NODE = "node-1"
VIEW = View(GROUP, NODE)


async def any_node(node: Node, metadata: Metadata) -> View:
    return View(GROUP, node.id)


class Recorder(Observer):
    """Keeps what an observer is told."""

    def __init__(self) -> None:
        self.connected: list[StreamInfo] = []
        self.disconnected: list[StreamInfo] = []
        self.acks: list[tuple[str, int]] = []
        self.nacks: list[tuple[str, Nack]] = []
        self.responses: list[tuple[str, LastSent, int]] = []
        self.verdicts: list[tuple[str, Ack | Nack]] = []

    def on_connect(self, stream: StreamInfo) -> None:
        self.connected.append(stream)

    def on_disconnect(self, stream: StreamInfo) -> None:
        self.disconnected.append(stream)

    def on_response(self, stream: StreamInfo, type_url: str, sent: LastSent, size: int) -> None:
        self.responses.append((type_url, sent, size))

    def on_verdict(self, stream: StreamInfo, type_url: str, verdict: Ack | Nack) -> None:
        self.verdicts.append((type_url, verdict))

    def on_ack(self, stream: StreamInfo, type_url: str, revision: int) -> None:
        self.acks.append((type_url, revision))

    def on_nack(self, stream: StreamInfo, type_url: str, nack: Nack) -> None:
        self.nacks.append((type_url, nack))


class Served:
    """A running server. `put` and `drop` change what its group sees."""

    def __init__(self, xds: XdsServer, port: int, recorder: Recorder) -> None:
        self.xds, self.store, self.port, self.recorder = xds, xds.store, port, recorder

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def put(self, *resources: Resource) -> int:
        return self.store.update(group={GROUP: {(each.type_url, each.name): each for each in resources}})

    def put_own(self, *resources: Resource) -> int:
        return self.store.update(nodes={NODE: {(each.type_url, each.name): each for each in resources}})

    def drop(self, *resources: Resource) -> int:
        return self.store.update(group={GROUP: {(each.type_url, each.name): None for each in resources}})


@contextlib.asynccontextmanager
async def serve(
    *, store: Store | None = None, complete: bool = True, port: int = 0, authenticate: Any = any_node, **options: Any
) -> AsyncIterator[Served]:
    store = store or Store()
    if complete:
        store.complete()
    recorder = Recorder()
    options.setdefault("limits", Limits())
    options.setdefault("observer", recorder)
    xds = XdsServer(store, authenticate=authenticate, identifier="tests", **options)
    server = grpc.aio.server(options=SERVER_OPTIONS)
    server.add_generic_rpc_handlers(tuple(xds.handlers()))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield Served(xds, bound, recorder)
    finally:
        await server.stop(0)


async def until(condition: Callable[[], Any], what: str = "the condition", seconds: float = 10.0) -> Any:
    """Wait for a condition, by asking again and again; returns its value."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not (value := condition()):
        assert asyncio.get_running_loop().time() < deadline, f"{what} did not come true within {seconds} s"
        await asyncio.sleep(0.005)
    return value


def by_name(resources: Iterable[Resource]) -> dict[str, Resource]:
    return {each.name: each for each in resources}
