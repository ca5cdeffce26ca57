"""A TCP forwarder that keeps what passes, and can freeze what it forwards without a word to either side."""

from __future__ import annotations

import asyncio
from contextlib import suppress

KEPT = 16 << 20


class Forwarder:
    """In front of a port of this machine. Use `start` and `close`; without a `port` it takes a free one."""

    def __init__(self, to: int, *, port: int = 0) -> None:
        self._to = to
        self.port = port
        self.passed = bytearray()
        """The first megabytes."""
        self.connections = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._thawed = asyncio.Event()
        self._thawed.set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self._server.close()
        self.freeze()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def freeze(self) -> None:
        """Forward nothing more on the connections of now, which stay open; new ones are forwarded."""
        for task in self._tasks:
            task.cancel()

    def stand_still(self) -> None:
        """Forward nothing more, on connections of now and new ones alike, until `go_on`. None is closed."""
        self._thawed.clear()

    def go_on(self) -> None:
        """Forward what has come meanwhile, too."""
        self._thawed.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.close()
            return
        for source, sink in ((reader, other_writer), (other_reader, writer)):
            task = asyncio.create_task(self._carry(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(1 << 16):
                await self._thawed.wait()
                self.passed += data[: max(0, KEPT - len(self.passed))]
                sink.write(data)
                await sink.drain()
            await self._thawed.wait()
            sink.close()
