"""Raw connections that come through the laptop's Envoy: the daemon makes them.

Envoy can turn a CONNECT into a TCP connection by itself, but then the end of one direction is the end of both: when the
process is the first to say all that it has to say, Envoy cuts the stream, and what had not arrived by then never
arrives. So Envoy passes such streams on, over a Unix socket, to the same code that serves them where there is no Envoy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Set
from pathlib import Path

from xds.client.tunnel.bytestream import TcpStream
from xds.client.tunnel.contract import Target
from xds.client.tunnel.multiplex import Multiplex
from xds.client.tunnel.mux_serve import RequestServer


class RawServer:
    """Serves Envoy's connections; each carries any number of streams."""

    def __init__(self) -> None:
        self._requests: RequestServer | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[Multiplex] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self, socket: Path) -> None:
        """Listen. Raises OSError."""
        socket.unlink(missing_ok=True)
        self._requests = RequestServer()
        self._server = await asyncio.start_unix_server(self._serve, socket)
        socket.chmod(0o600)

    def declare(self, targets: Set[Target]) -> None:
        """Connect to these and no others."""
        if self._requests is not None:
            self._requests.declare(targets)

    async def stop(self) -> None:
        """End every connection."""
        if self._server is not None:
            self._server.close()
        for each in list(self._connections):
            each.close()
        await asyncio.gather(*self._serving, return_exceptions=True)
        if self._requests is not None:
            await self._requests.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        assert self._requests is not None
        self._serving.add(task)
        # On a Unix socket nobody falls silent without the socket telling of it.
        connection = Multiplex(TcpStream(reader, writer), client=False, serve=self._requests.accept, keepalive=False)
        self._connections.add(connection)
        try:
            await connection.closed.wait()
        finally:
            self._connections.discard(connection)
            self._serving.discard(task)
