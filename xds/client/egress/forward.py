"""A port on loopback for one service in the cluster, by way of the daemon's proxy."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from xds.client.egress.owner import KNOWS, admitted
from xds.client.egress.proxy import HOST, Ahead
from xds.client.tunnel.bytestream import READ, TcpStream, splice
from xds.terminal.words import host_port, plain

HEAD_LIMIT = 16 << 10
"""Bytes of the proxy's answer at most."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A service, and the port on this machine; None for any."""

    host: str
    port: int
    local: int | None = None

    @property
    def service(self) -> str:
        """SERVICE:PORT."""
        return host_port(self.host, self.port)


class RefusedError(Exception):
    """The proxy did not connect; its sentence."""


class Forward:
    """`tell` is called with a sentence when a connection can't be carried."""

    def __init__(self, wish: Wish, *, proxy: str, password: str, tell: Callable[[str], None]) -> None:
        """`proxy` is HOST:PORT."""
        self.wish = wish
        self._host, _, port = proxy.rpartition(":")
        self._port = int(port)
        self._password = password
        self._tell = tell
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self) -> None:
        """Listen. Without a wish it is the service's own number if that can be had. Raises OSError."""
        if self.wish.local is not None:
            await self._listen(self.wish.local)
            return
        try:
            await self._listen(self.wish.port)
        except OSError:
            await self._listen(0)

    async def _listen(self, port: int) -> None:
        self._server = await asyncio.start_server(self._accept, HOST, port, limit=READ)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(TcpStream(reader, writer), writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, io: TcpStream, writer: asyncio.StreamWriter) -> None:
        peer, here = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
        if KNOWS and not await asyncio.to_thread(admitted, peer, here):
            self._tell(f"a connection to port {self.port} was refused: it is not this user's")
            io.abort()
            return
        try:
            service = await self._connect()
        except (RefusedError, OSError) as error:
            self._tell(plain(str(error)))
            io.abort()
            return
        except BaseException:
            io.abort()
            raise
        await splice(io, service)

    async def _connect(self) -> Ahead:
        """A connection to the service. Raises RefusedError, OSError."""
        try:
            reader, writer = await asyncio.open_connection(self._host, self._port, limit=READ)
        except OSError as error:
            raise RefusedError("the daemon's proxy has gone; run `byway connect`, then forward again") from error
        io = TcpStream(reader, writer)
        try:
            io.write(self._request())
            data = b""
            while b"\r\n\r\n" not in data and len(data) < HEAD_LIMIT and (more := await io.read()):
                data += more
            head, _, rest = data.partition(b"\r\n\r\n")
            if head.split(b" ")[1:2] != [b"200"]:
                with contextlib.suppress(OSError):
                    rest += await io.read()
                raise RefusedError(rest.decode("utf-8", "replace").strip() or "the daemon's proxy gave no answer")
        except BaseException:
            io.abort()
            raise
        return Ahead(io, rest)

    def _request(self) -> bytes:
        lines = [f"CONNECT {self.wish.service} HTTP/1.1", f"Host: {self.wish.service}"]
        if self._password:
            credentials = base64.b64encode(f"byway:{self._password}".encode()).decode()
            lines.append(f"Proxy-Authorization: Basic {credentials}")
        return "\r\n".join([*lines, "", ""]).encode()
