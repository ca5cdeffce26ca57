"""What carries bytes both ways: a TCP connection, or one stream of an HTTP/2 connection.

Because both look the same, an HTTP/2 connection can run inside a stream of another one, as the tunnel does in its
carrier, and a proxied connection is two of them joined (`splice`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import Protocol

READ = 1 << 18
"""Bytes that one read of a TCP connection takes at most."""
UNSENT = 1 << 17
"""Bytes that wait in the kernel at most: what waits there can't be overtaken by a small answer of another stream."""

LINGER = 1.0
"""Seconds for which a side that has heard everything may go on to send what nobody wants."""


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
        """See ByteStream. The other side sees a reset, which can't be taken for an end (RFC 9293, section 3.10.5)."""
        raw = self._writer.get_extra_info("socket")
        if raw is not None:
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def hang_up(self) -> None:
        """End it at once; what is not sent yet is lost."""
        self._writer.transport.abort()

    @property
    def closing(self) -> bool:
        """Whether it has ended, or the other side has ended its half."""
        return self._writer.is_closing() or self._reader.at_eof()


async def splice(one: ByteStream, other: ByteStream) -> None:
    """Carry bytes both ways until both directions have ended, each by itself. Cuts both sides where one is cut."""
    there, back = asyncio.Event(), asyncio.Event()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_carry(one, other, done=there, opposite=back))
            group.create_task(_carry(other, one, done=back, opposite=there))
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


async def _carry(source: ByteStream, sink: ByteStream, *, done: asyncio.Event, opposite: asyncio.Event) -> None:
    try:
        while data := await source.read():
            sink.write(data)
            await sink.drain()
    except NotWantedError:
        await _discard(source, opposite)
    else:
        sink.end()
        done.set()


async def _discard(source: ByteStream, opposite: asyncio.Event) -> None:
    """Read what nobody wants: a connection closed with bytes unread is reset, and its other side would lose what it has
    not read yet either."""

    async def read() -> None:
        while await source.read():
            pass

    reading = asyncio.create_task(read())
    try:
        await opposite.wait()
        await asyncio.wait({reading}, timeout=LINGER)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
