"""A standalone manager in this process, and clients that call it over gRPC."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.serve.client import ADS, DeltaClient
from xds.api.byway.manager import v1
from xds.api.rpc import Metadata, bearer
from xds.api.services import CONFLICT_KEY
from xds.api.services import Manager as Methods
from xds.client.channel import manager_channel
from xds.manager.core import Manager
from xds.manager.process import Standalone
from xds.paths import StateDir
from xds.registry import sessions
from xds.serve.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE

FILE = """\
listen: 127.0.0.1:0
users: [ann, bob, cat]
settings: {settings}
workloads:
- name: orders
  namespace: dev
  ports: [{{name: http, port: 8080, appProtocol: http}}, {{name: admin, port: 9090, appProtocol: http}}]
  instances:
  - {{id: orders-1, listen: {{http: "127.0.0.1:1", admin: "127.0.0.1:2"}},
     app: {{http: "127.0.0.1:3", admin: "127.0.0.1:4"}}}}
"""
NODE = "dev/deployment/orders/orders-1"
PATIENCE = 10.0
WATCHED = ("listen: 127.0.0.1:0", "listen: 127.0.0.1:0\nmonitoring: 127.0.0.1:0")
"""What `Running.change` and `running` replace in the file, for a manager with metrics and health."""


@dataclass(frozen=True)
class Laptop:
    """A session, over the API."""

    channel: grpc.aio.Channel
    user: str
    id: str
    token: str
    epoch: int

    @property
    def proof(self) -> Metadata:
        return bearer(self.token)

    def creation(self, name: str = "orders", *headers: str, **more: Any) -> Any:
        """The call that creates an intercept; `headers` as typed, none for a global one."""
        match = v1.MatchFlags(http_header=list(headers)) if headers else None
        remote = more.pop("remote", ["8080"])
        ports = [
            v1.CreateInterceptRequestPortFlag(target=v1.Target(host="localhost", port=3000), remote=one)
            for one in remote
        ]
        request = v1.CreateInterceptRequest(name=name, workload="orders", ports=ports, match=match, **more)
        return Methods.CREATE_INTERCEPT(self.channel, request, metadata=self.proof)

    async def create(self, name: str = "orders", *headers: str, **more: Any) -> v1.InterceptProgress:
        """The last message."""
        steps: list[v1.InterceptProgress] = [step async for step in self.creation(name, *headers, **more)]
        return steps[-1]

    async def list(self, *, every: bool = False) -> list[v1.Intercept]:
        reply = await Methods.LIST_INTERCEPTS(self.channel, v1.ListInterceptsRequest(all=every), metadata=self.proof)
        return reply.intercepts

    async def leave(self, name: str) -> None:
        await Methods.LEAVE_INTERCEPT(self.channel, v1.LeaveInterceptRequest(name=name), metadata=self.proof)

    async def quit(self) -> None:
        await Methods.QUIT(self.channel, v1.QuitRequest(), metadata=self.proof)


class Running:
    """The manager, its file and its state directory."""

    def __init__(self, folder: Path, standalone: Standalone, address: str, channel: grpc.aio.Channel) -> None:
        self.file = folder / "byway.yaml"
        self.state = StateDir(folder / "state")
        self.standalone = standalone
        self.address = address
        self.channel = channel

    @property
    def manager(self) -> Manager:
        return self.standalone.manager

    def user_token(self, user: str) -> str:
        return self.state.user_token(user).read_text().strip()

    @property
    def admin_token(self) -> str:
        return self.state.admin_token.read_text().strip()

    async def connect(self, user: str = "ann", *, host: str = "lap", present: bool = False, **more: Any) -> Laptop:
        """A session; `present` as if its laptop attended it."""
        reply = await Methods.CONNECT(
            self.channel, v1.ConnectRequest(host=host, **more), metadata=bearer(self.user_token(user))
        )
        if present:
            now = self.manager.clock.now()
            self.manager.commit(
                sessions.presence(
                    self.manager.state, reply.session_id, epoch=reply.epoch, present=True, targets=None, now=now
                )
            )
        return Laptop(self.channel, user, reply.session_id, reply.session_token, reply.epoch)

    def sidecar_token(self) -> str:
        return (self.state.sidecar("dev/deployment/orders", "orders-1") / "token").read_text().strip()

    def gateway(self, name: str, *, node: str = "") -> DeltaClient:
        """What a gateway's Envoy is to the manager; `node` is what it says it is."""
        token = (self.state.gateway(name) / "token").read_text().strip()
        return DeltaClient(self.channel, ADS, node or f"gateway/{name}", tuple(bearer(token)))

    async def silent_sidecar(self) -> DeltaClient:
        """One that takes what it is given and never says a word: creations wait for it."""
        sidecar = DeltaClient(self.channel, ADS, NODE, tuple(bearer(self.sidecar_token())))
        for kind in (CLUSTER, LISTENER):
            await sidecar.request(kind, ["*"])
        await sidecar.request(ROUTE, ["dev/deployment/orders/8080"])
        await until(lambda: len(self.manager.sidecars.server.clients()) == 1 if self.manager.sidecars.server else False)
        return sidecar

    @asynccontextmanager
    async def obliging_sidecar(self, refuses: bytes = b"") -> AsyncIterator[DeltaClient]:
        """One that acknowledges whatever it is given, but for routes with these bytes in them."""
        sidecar = await self.silent_sidecar()
        await sidecar.request(ENDPOINT, ["*"])

        async def answer() -> None:
            while True:
                with suppress(TimeoutError):
                    response = await sidecar.response()
                    bad = refuses and response.type_url == ROUTE and refuses in bytes(response)
                    await (sidecar.nack(response, "no such thing") if bad else sidecar.ack(response))

        task = asyncio.create_task(answer())
        try:
            yield sidecar
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, grpc.aio.AioRpcError, AssertionError):
                await task
            sidecar.close()

    def audit(self) -> list[dict[str, Any]]:
        lines = (self.state.manager / "audit.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def change(self, settings: str = "{}", *, replace: tuple[str, str] = ("", "")) -> None:
        """Rewrite the file, with one text of it replaced by another."""
        self.file.write_text(FILE.format(settings=settings).replace(*replace))


@asynccontextmanager
async def running(folder: Path, *, settings: str = "{}", replace: tuple[str, str] = ("", "")) -> AsyncIterator[Running]:
    """A manager until the end of the block."""
    file = folder / "byway.yaml"
    if not file.exists():
        file.write_text(FILE.format(settings=settings).replace(*replace))
    standalone = Standalone(file, StateDir(folder / "state"))
    stop = asyncio.Event()
    ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(standalone.run(stop, ready))
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    address = str(ready.result())
    channel = manager_channel(address)
    try:
        yield Running(folder, standalone, address, channel)
    finally:
        await channel.close()
        stop.set()
        await task


async def until(condition: Any) -> None:
    """Wait for what is about to happen. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  what is waited for has no event of its own
            await asyncio.sleep(0.005)


@contextmanager
def refused(status: grpc.StatusCode, *words: str) -> Iterator[list[v1.Conflict]]:
    """The block's call is refused so, with these words; the list then holds the conflict, if it says one."""
    conflicts: list[v1.Conflict] = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield conflicts
    error = caught.value
    assert error.code() is status, error.details()
    assert all(word in (error.details() or "") for word in words), error.details()
    conflicts += [
        v1.Conflict.parse(bytes(value))
        for key, value in error.trailing_metadata() or ()
        if key == CONFLICT_KEY and isinstance(value, bytes)
    ]
