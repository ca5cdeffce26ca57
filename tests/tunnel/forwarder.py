"""A TCP forwarder that keeps all that passes, and can freeze what it forwards without a word to either side."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Forwarder:
    """In front of a port of this machine. Use `start` and `close`; `port` is free."""

    def __init__(self, to: int) -> None:
        self._to = to
        self.port = 0
        self.passed = bytearray()
        self.connections = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self._server.close()
        self.freeze()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def freeze(self) -> None:
        """Forward nothing more on the connections of now, which stay open; new ones are forwarded."""
        for task in self._tasks:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._to)
        for source, sink in ((reader, other_writer), (other_reader, writer)):
            task = asyncio.create_task(self._carry(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(1 << 16):
                self.passed += data
                sink.write(data)
                await sink.drain()
            sink.close()
