"""A raw connection through a gateway, as a sidecar opens it: CONNECT in one stream of HTTP/2, whose bytes are the
connection's and whose two directions end by themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import StreamClosedError

PIECE = 16 << 10
NOTICED = 20.0


class Raw:
    """One CONNECT, on an HTTP/2 connection of its own. Use `to`, and `close`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._state = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._news = asyncio.Event()
        self._buffer = bytearray()
        self._ended = self._reset = False
        self._reading = asyncio.ensure_future(self._read())
        self.status = 0

    @classmethod
    async def to(cls, port: int, headers: dict[str, str]) -> Raw:
        """Ask for a connection, and wait for the answer."""
        raw = cls(*await asyncio.open_connection("127.0.0.1", port))
        raw._state.initiate_connection()
        raw._state.send_headers(1, [(":method", "CONNECT"), (":authority", "shop:1"), *headers.items()])
        raw._flush()
        await raw._until(lambda: raw.status or raw._ended or raw._reset)
        return raw

    async def send(self, data: bytes, *, end: bool = False) -> None:
        for at in range(0, len(data), PIECE):
            piece = data[at : at + PIECE]
            await self._until(partial(self._room, len(piece)))
            self._state.send_data(1, piece)
            self._flush()
            await self._writer.drain()
        if end:
            self._state.end_stream(1)
            self._flush()

    async def read(self, size: int) -> bytes:
        """What is there, up to `size` bytes; empty at the end. Raises ConnectionResetError."""
        await self._until(lambda: self._buffer or self._ended or self._reset)
        if not self._buffer and not self._ended:
            raise ConnectionResetError
        piece = bytes(self._buffer[:size])
        del self._buffer[:size]
        if piece and not self._reset:
            # What was not taken is what the other side may not send again.
            with suppress(StreamClosedError):
                self._state.acknowledge_received_data(len(piece), 1)
            self._flush()
        return piece

    async def exactly(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size and (piece := await self.read(size - len(found))):
            found += piece
        return bytes(found)

    async def rest(self) -> bytes:
        """Everything up to the end."""
        return await self.exactly(1 << 30)

    def close(self) -> None:
        self._reading.cancel()
        self._writer.close()

    async def _until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(NOTICED):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def _flush(self) -> None:
        self._writer.write(self._state.data_to_send())

    async def _read(self) -> None:
        with suppress(OSError):
            while data := await self._reader.read(1 << 18):
                for event in self._state.receive_data(data):
                    self._on(event)
                self._flush()
                self._news.set()
        self._reset = True
        self._news.set()

    def _on(self, event: object) -> None:
        if isinstance(event, ResponseReceived):
            self.status = next(int(value) for name, value in event.headers if str(name) == ":status")
        elif isinstance(event, DataReceived):
            self._buffer += event.data
        elif isinstance(event, StreamEnded):
            self._ended = True
        elif isinstance(event, StreamReset):
            self._reset = True

    def _room(self, size: int) -> bool:
        return self._state.local_flow_control_window(1) >= size
