"""The proxy into the cluster: one port on loopback for SOCKS5 and HTTP; the first byte tells them apart.

Only this user's programs may use it, see `owner` and `web`. What a client sends before its connection to the service is
open stays with the client.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from xds.client.egress.gateways import Gateways, NoWayError, Reason
from xds.client.egress.owner import admitted
from xds.client.egress.socks import VERSION, Reply, Socks, SocksError, reply
from xds.client.egress.web import WebClient
from xds.client.tunnel.bytestream import READ, ByteStream, TcpStream, splice
from xds.client.tunnel.multiplex import Stream

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
LINGER = 1.0
"""Seconds for which a refused client may still send what nobody reads, so that it sees the answer and not a reset."""
REPLIES = {
    Reason.FORBIDDEN: Reply.NOT_ALLOWED,
    Reason.UNKNOWN: Reply.HOST_UNREACHABLE,
    Reason.UNREACHABLE: Reply.REFUSED,
    Reason.NO_GATEWAY: Reply.FAILED,
}


class Ahead:
    """A stream of which something has been read already."""

    def __init__(self, io: ByteStream, data: bytes) -> None:
        self._io = io
        self._data = data
        self.write, self.drain, self.end, self.close, self.abort = io.write, io.drain, io.end, io.close, io.abort

    async def read(self) -> bytes:
        """See ByteStream."""
        if self._data:
            data, self._data = self._data, b""
            return data
        return await self._io.read()


class Proxy:
    """`touch` is called for each connection into the cluster. With a password it is wanted of every client; with
    `check_owner` every client has to be this user's."""

    def __init__(
        self, gateways: Gateways, *, touch: Callable[[], None], password: str = "", check_owner: bool = True
    ) -> None:
        self._gateways = gateways
        self._touch = touch
        self._password = password
        self._check_owner = check_owner
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self) -> None:
        """Listen on a free port. Raises OSError."""
        self._server = await asyncio.start_server(self._accept, HOST, 0, limit=READ)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _dial(self, host: str, port: int) -> Stream:
        self._touch()
        return await self._gateways.connect(host, port)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        io = TcpStream(reader, writer)
        try:
            peer, here = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
            if self._check_owner and not await asyncio.to_thread(admitted, peer, here):
                log.warning("a connection to the proxy was refused: it is not this user's")
                io.abort()
                return
            first = await io.read()
            if first[:1] == bytes((VERSION,)):
                await self._socks(Ahead(io, first))
            elif first[:1].isalpha():
                await WebClient(Ahead(io, first), self._dial, self._password).serve()
            await self._linger(io)
        except OSError:
            io.abort()
        except asyncio.CancelledError:
            io.abort()
            raise
        except Exception:
            log.exception("a connection to the proxy failed")
            io.abort()

    async def _socks(self, io: ByteStream) -> None:
        socks = Socks(self._password)
        try:
            while socks.destination is None:
                data = await io.read()
                if not data:
                    return
                io.write(socks.received(data))
        except SocksError as error:
            io.write(error.answer)
            return
        try:
            service = await self._dial(*socks.destination)
        except NoWayError as error:
            # SOCKS has no room for a sentence.
            log.warning("%s", error)
            io.write(reply(REPLIES[error.reason]))
            return
        io.write(reply(Reply.SUCCEEDED))
        service.write(socks.rest)
        await splice(io, service)

    async def _linger(self, io: TcpStream) -> None:
        io.end()
        try:
            async with asyncio.timeout(LINGER):
                while await io.read():
                    pass
        except TimeoutError:
            pass
        io.close()
