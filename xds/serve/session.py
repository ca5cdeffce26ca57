"""One stream over gRPC: a coroutine that writes, a task that reads, the stream's state and an event between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

import grpc

from xds.serve.limits import Refused
from xds.serve.status import Ack, LastSent, Nack
from xds.serve.stream import AnyStream

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


class Session:
    """Moves the bytes of one stream, and tells of what goes either way; see `Observer`."""

    def __init__(
        self,
        stream: AnyStream,
        *,
        clock: Callable[[], float],
        on_response: Callable[[str, LastSent, int], None],
        on_verdict: Callable[[str, Ack | Nack], None],
        on_ack: Callable[[str, int], None],
        on_nack: Callable[[str, Nack], None],
    ) -> None:
        self.stream = stream
        self.awake = asyncio.Event()
        self._clock = clock
        self._on_response = on_response
        self._on_verdict = on_verdict
        self._on_ack = on_ack
        self._on_nack = on_nack
        self._refusal: Refused | None = None

    async def run(self, context: Context) -> None:
        """Converse until the client has said its last word. Raises ValueError or Refused for what it may not say.

        There is no timeout on writing: a client that does not read holds one response and no more, and one that is
        gone is found by pings.
        """
        reader = asyncio.create_task(self._read(context))
        try:
            while True:
                self.awake.clear()
                while (data := self.stream.next_response(self._clock())) is not None:
                    if self.stream.latest is not None:
                        self._on_response(*self.stream.latest, len(data))
                    await context.write(data)
                self._report()
                if self._refusal is not None:
                    raise self._refusal
                if reader.done():
                    break
                await self.awake.wait()
        finally:
            reader.cancel()
        reader.result()

    async def _read(self, context: Context) -> None:
        try:
            while isinstance(data := await context.read(), bytes):
                self.receive(data)
        finally:
            self.awake.set()

    def receive(self, data: bytes) -> None:
        """Take in a request."""
        type_url, verdict = self.stream.receive(data, self._clock())
        self.awake.set()
        if verdict is not None:
            self._on_verdict(type_url, verdict)
        if isinstance(verdict, Nack):
            self._on_nack(type_url, verdict)
        self._report()

    def end(self, refusal: Refused) -> None:
        """End the stream with this status, after what is ready to be sent."""
        self._refusal = refusal
        self.stream.release()
        self.stream.settle()
        self.awake.set()

    def release(self) -> None:
        """What changed in the store may go out."""
        self.stream.release()
        self.awake.set()

    def settle(self) -> None:
        """The client has had time to ask for everything."""
        if self.stream.settle():
            self.awake.set()

    def _report(self) -> None:
        for type_url, revision in self.stream.progress():
            self._on_ack(type_url, revision)


class Pacer:
    """Lets the changes of a group go out: at once, then at most every `interval` seconds.

    Whoever waits for one change gets it without delay; who makes fifty in a row makes the streams write a few times.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._leading: dict[str, int] = {}
        self._waiting: dict[str, dict[Session, None]] = {}

    def __len__(self) -> int:
        return len(self._leading)

    def changed(self, group: str, revision: int, session: Session) -> None:
        """Release what this session has of this revision of the group, as soon as may be."""
        if self._leading.setdefault(group, revision) != revision:
            self._waiting[group][session] = None
            return
        if group not in self._waiting:
            self._start(group)
        session.release()

    def forget(self, group: str, session: Session) -> None:
        """The session has ended."""
        self._waiting.get(group, {}).pop(session, None)

    def _start(self, group: str) -> None:
        self._waiting[group] = {}
        asyncio.get_running_loop().call_later(self._interval, self._elapsed, group)

    def _elapsed(self, group: str) -> None:
        waiting = self._waiting.pop(group)
        if not waiting:
            del self._leading[group]
            return
        self._start(group)
        for session in waiting:
            session.release()
