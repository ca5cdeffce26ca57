"""What carries bytes both ways: a TCP connection, or one stream of an HTTP/2 connection.

Because both look the same, an HTTP/2 connection can run inside a stream of another one, as the tunnel does in its
carrier, and a proxied connection is two of them joined (`splice`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Protocol

READ = 1 << 18
"""Bytes that one read of a TCP connection takes at most."""
UNSENT = 1 << 17
"""Bytes that wait in the kernel at most: what waits there can't be overtaken by a small answer of another stream."""


class NotWantedError(ConnectionError):
    """The other side has said all that it has to say, and wants to hear no more."""


class ByteStream(Protocol):
    """Bytes both ways; each direction ends by itself."""

    async def read(self) -> bytes:
        """The next bytes; empty at the end. Raises OSError where it was cut instead of ended."""

    def write(self, data: bytes) -> None:
        """Take bytes to send, however many; `drain` says when more are welcome. What is written to a stream that is
        gone is dropped: reading and draining say that it is gone."""

    async def drain(self) -> None:
        """Wait until the other side has taken enough. Raises OSError."""

    def end(self) -> None:
        """Nothing more will be written."""

    def close(self) -> None:
        """Be done with it: nothing more will be read nor written."""

    def abort(self) -> None:
        """Cut it, both ways."""


class TcpStream:
    """A TCP connection, with or without TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        writer.transport.set_write_buffer_limits(high=UNSENT // 2)
        raw = writer.get_extra_info("socket")
        if raw is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)

    async def read(self) -> bytes:
        """See ByteStream."""
        return await self._reader.read(READ)

    def write(self, data: bytes) -> None:
        """See ByteStream."""
        if not self._writer.is_closing():
            self._writer.write(data)

    async def drain(self) -> None:
        """See ByteStream."""
        await self._writer.drain()

    def end(self) -> None:
        """See ByteStream."""
        if self._writer.is_closing():
            return
        if self._writer.can_write_eof():
            with contextlib.suppress(OSError):
                self._writer.write_eof()
        else:
            self._writer.close()

    def close(self) -> None:
        """See ByteStream; what is written is sent first."""
        self._writer.close()

    def abort(self) -> None:
        """See ByteStream."""
        self._writer.transport.abort()

    @property
    def closing(self) -> bool:
        """Whether it has ended, or the other side has ended its half."""
        return self._writer.is_closing() or self._reader.at_eof()


async def splice(one: ByteStream, other: ByteStream) -> None:
    """Carry bytes both ways until both directions have ended, each by itself. Cuts both sides where one is cut."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_carry(one, other))
            group.create_task(_carry(other, one))
    except* OSError:
        # The other side must hear of it: an end would say that everything has come.
        one.abort()
        other.abort()
    except* asyncio.CancelledError:
        one.abort()
        other.abort()
        raise
    else:
        one.close()
        other.close()


async def _carry(source: ByteStream, sink: ByteStream) -> None:
    try:
        while data := await source.read():
            sink.write(data)
            await sink.drain()
    except NotWantedError:
        # What comes the other way is on its way still.
        return
    sink.end()
