"""A protocol that is not HTTP, in which the server speaks first: a banner, then every byte back, and a farewell.

On `quit` the server has nothing more to say, and listens to the end.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from types import TracebackType

PATIENCE = 10.0
PIECE = 64 << 10
QUIT = b"quit\n"


class Talker:
    """A server on a free port. Use it as an asynchronous context manager."""

    def __init__(self, name: str, *, port: int = 0) -> None:
        self.name = name
        self.port = port
        self.live: list[asyncio.StreamWriter] = []
        self.heard: asyncio.Future[bytes] = asyncio.Future()
        """What came after `quit`."""
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Talker:
        self._server = await asyncio.start_server(self._handle, "127.0.0.1", self.port, limit=PIECE)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self.live:
            writer.transport.abort()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.live.append(writer)
        digest = hashlib.sha256()
        with suppress(OSError):
            writer.write(banner(self.name))
            async for piece in pieces(reader):
                if piece == QUIT:
                    writer.write_eof()
                    self.heard.set_result(await reader.read())
                    break
                digest.update(piece)
                writer.write(piece)
                await writer.drain()
            else:
                # The client has nothing more to say, but goes on listening.
                writer.write(farewell(self.name, digest.hexdigest()))
                await writer.drain()
        self.live.remove(writer)
        writer.close()


def banner(name: str) -> bytes:
    return b"220 %s ready\r\n" % name.encode()


def farewell(name: str, digest: str) -> bytes:
    return f"221 {name} had {digest}\r\n".encode()


async def pieces(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """What comes, up to the end."""
    while piece := await reader.read(PIECE):
        yield piece


class Line:
    """A client's connection to a talker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.who = ""

    @classmethod
    async def to(cls, port: int) -> Line:
        """Connect and wait for the banner; `who` is empty where the connection ended without one."""
        async with asyncio.timeout(PATIENCE):
            line = cls(*await asyncio.open_connection("127.0.0.1", port))
            with suppress(OSError):
                line.who = (await line.reader.readline()).decode()[4:-8]
        return line

    async def says(self, data: bytes = b"hello\n") -> bool:
        """Whether what is sent comes back."""
        async with asyncio.timeout(PATIENCE):
            self.writer.write(data)
            return await self.reader.readexactly(len(data)) == data

    async def ends(self) -> str:
        """Wait for the end, before which nothing may come: `complete`, or `reset`."""
        try:
            assert await self.reader.read() == b""
        except ConnectionResetError:
            return "reset"
        return "complete"

    async def exchange(self, data: Iterable[bytes]) -> tuple[str, str, bytes]:
        """Send all of it and half-close, reading meanwhile. Returns the digests both ways, and the last line."""
        sent, back, tail = hashlib.sha256(), hashlib.sha256(), b""

        async def send() -> None:
            for piece in data:
                sent.update(piece)
                self.writer.write(piece)
                await self.writer.drain()
            self.writer.write_eof()

        sending = asyncio.create_task(send())
        async for piece in pieces(self.reader):
            text = tail + piece
            back.update(text[:-PIECE])
            tail = text[-PIECE:]
        await sending
        at = tail.rindex(b"221 ")
        back.update(tail[:at])
        return sent.hexdigest(), back.hexdigest(), tail[at:]

    def close(self) -> None:
        self.writer.close()


async def asks(port: int) -> str:
    """Who answers a new connection; empty if nobody does."""
    try:
        line = await Line.to(port)
    except ConnectionResetError:
        # Accepted, and broken off before we were told that it was accepted.
        return ""
    line.close()
    return line.who
