"""Waiting for “something changed” without polling."""

from __future__ import annotations

import asyncio


class Pulse:
    """Wakes whoever waits, each time it fires; what fired while nobody waited is not missed, see `wait`."""

    def __init__(self) -> None:
        self._count = 0
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def count(self) -> int:
        """How often it has fired. Read it before looking at what may change, and give it to `wait`."""
        return self._count

    def fire(self) -> None:
        """Wake everybody who waits."""
        self._count += 1
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    async def wait(self, seen: int) -> int:
        """Return the count as soon as it is more than `seen`."""
        while self._count <= seen:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(future)
            try:
                await future
            finally:
                self._waiting.discard(future)
        return self._count
