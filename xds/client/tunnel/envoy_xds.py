"""Gives the laptop's Envoy its configuration, and knows when Envoy has taken it.

It is the manager's own xDS server, on a Unix socket in a directory that only the user may enter. What is to be served
is said whole each time; the server sends what differs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import grpc.aio

from xds.serve import (
    CLUSTER,
    LISTENER,
    ROUTE,
    SERVER_OPTIONS,
    Lag,
    Metadata,
    Nack,
    Node,
    Observer,
    Resource,
    Store,
    StreamInfo,
    SyncState,
    View,
    XdsServer,
)

GROUP = "laptop"


class LaptopXds(Observer):
    """Serves one Envoy. Its observer's methods are called by the server."""

    def __init__(self) -> None:
        self._store = Store()
        self._server = XdsServer(self._store, authenticate=_admit, identifier="byway-daemon", observer=self)
        self._beaten = asyncio.Event()
        self._grpc: grpc.aio.Server | None = None

    async def start(self, socket: Path) -> None:
        """Serve on this socket. Raises OSError, RuntimeError."""
        socket.unlink(missing_ok=True)
        self._grpc = grpc.aio.server(options=[*SERVER_OPTIONS, ("grpc.so_reuseport", 0)])
        self._grpc.add_generic_rpc_handlers(tuple(self._server.handlers()))
        self._grpc.add_insecure_port("unix:" + quote(str(socket)))
        socket.chmod(0o600)
        await self._grpc.start()

    async def stop(self) -> None:
        """Serve no more."""
        if self._grpc is not None:
            await self._grpc.stop(grace=None)
            self._grpc = None

    @property
    def connected(self) -> bool:
        """Whether an Envoy has its stream open."""
        return self._server.statistics()["streams"] > 0

    def serve(self, resources: Iterable[Resource]) -> int:
        """Exactly these from now on; returns the revision to wait for."""
        revision = self._store.replace(group={GROUP: resources})
        self._store.complete()
        return revision

    async def taken(self, revision: int, *types: str) -> None:
        """Wait until Envoy has taken all of these types up to this revision, or refused it, or is gone."""
        while self.connected and self._owed(revision, types):
            await self._beat_heard()

    async def asked(self, revision: int, *types: str) -> None:
        """Wait until an Envoy is there and has taken all of these types up to this revision."""
        while not self.connected or self._owed(revision, types):
            await self._beat_heard()

    def _owed(self, revision: int, types: Iterable[str]) -> list[Lag]:
        lags = self._server.lagging(GROUP, revision, types or (CLUSTER, LISTENER, ROUTE))
        return [lag for lag in lags if lag.state is not SyncState.NACKED]

    def on_connect(self, stream: StreamInfo) -> None:  # noqa: ARG002
        """Of an Observer."""
        self._beat()

    def on_disconnect(self, stream: StreamInfo) -> None:  # noqa: ARG002
        """Of an Observer."""
        self._beat()

    def on_ack(self, stream: StreamInfo, type_url: str, revision: int) -> None:  # noqa: ARG002
        """Of an Observer."""
        self._beat()

    def on_nack(self, stream: StreamInfo, type_url: str, nack: Nack) -> None:  # noqa: ARG002
        """Of an Observer."""
        self._beat()

    async def _beat_heard(self) -> None:
        await self._beaten.wait()

    def _beat(self) -> None:
        self._beaten.set()
        self._beaten = asyncio.Event()


async def _admit(node: Node, metadata: Metadata) -> View:  # noqa: ARG001  the socket is the user's own
    return View(group=GROUP, node=node.id)
