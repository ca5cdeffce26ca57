"""A process on the laptop that a test plays byte by byte: what reached it is kept, what it answers is written out."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Process:
    """Listens on a free port; `play` is what it does with each connection."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.port = 0
        self.connections = 0
        self.gone = asyncio.Event()
        """Set when the other side has cut a connection, or when `play` has seen it end."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=32 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self.play(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            self.gone.set()
        except asyncio.CancelledError:
            # StreamReaderProtocol would log it.
            pass
        finally:
            self._tasks.discard(task)
            writer.close()


def cut(writer: asyncio.StreamWriter) -> None:
    """End a connection by a reset."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def head_of(reader: asyncio.StreamReader) -> bytes:
    """A message's head, raw."""
    return await reader.readuntil(b"\r\n\r\n")


def answering(answer: bytes, seen: list[bytes] | None = None) -> Play:
    """Answers each request so, and keeps its head; connections stay open."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await head_of(reader)
            if seen is not None:
                seen.append(head)
            writer.write(answer)

    return play
