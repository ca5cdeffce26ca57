"""One stream over gRPC: bytes that the client's bookkeeping makes go out, responses come in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio

from xds.serve.client.client import WILDCARD, Client
from xds.serve.client.messages import Response
from xds.serve.services import method_path

if TYPE_CHECKING:
    from collections.abc import Sequence


T = TypeVar("T")
_WRITE_FAILED = "Internal error from Core"
_TRIES, _PAUSE = 200, 0.005
"""How often, and after how many seconds, to look whether the server's status has come."""


class StreamEndedError(Exception):
    """The server, or the way to it, has ended the stream."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{code.name}: {details}" if details else code.name)
        self.code = code
        self.details = details


def _now(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as stopped:
        found: T = stopped.value
        return found
    raise RuntimeError("it had to wait")


class Stream:
    """A stream and the client that speaks on it. One task at a time may receive; any may ask.

    Every method raises StreamEndedError when there is no stream any more, and ValueError for a response that is none.
    """

    def __init__(self, call: Any, client: Client) -> None:
        self.client = client
        self._call = call
        self._reading: asyncio.Task[Response] | None = None
        self._status: tuple[grpc.StatusCode, str] | None = None
        call.add_done_callback(self._note_status)

    async def subscribe(self, type_url: str, names: Iterable[str] = (WILDCARD,)) -> None:
        """Ask for these as well."""
        await self.send(self.client.subscribe(type_url, names))

    async def unsubscribe(self, type_url: str, names: Iterable[str]) -> None:
        """Want these no longer."""
        await self.send(self.client.unsubscribe(type_url, names))

    async def acknowledge(self, response: Response) -> None:
        """Hold what is in it, and say so."""
        await self.send(self.client.acknowledge(response))

    async def refuse(self, response: Response, text: str) -> None:
        """Say why nothing of it is taken."""
        await self.send(self.client.refuse(response, text))

    async def answer(self, response: Response) -> None:
        """Acknowledge it, or refuse what no client may take."""
        await self.send(self.client.answer(response))

    async def send(self, *requests: bytes) -> None:
        """Send requests that the client's bookkeeping made."""
        try:
            for request in requests:
                await self._call.write(request)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            raise await self._ended() from None

    async def receive(self) -> Response:
        """The next response."""
        try:
            data = await self._call.read()
        except grpc.aio.AioRpcError:
            data = grpc.aio.EOF
        if not isinstance(data, bytes):
            raise await self._ended()
        return self.client.receive(data)

    async def receive_within(self, seconds: float) -> Response | None:
        """The next response, or None if it takes longer; then it is the next call's."""
        # Cancelling a read would cancel the call, so one that was given up on is kept.
        self._reading = self._reading or asyncio.create_task(self.receive())
        done, _ = await asyncio.wait({self._reading}, timeout=seconds)
        if not done:
            return None
        reading, self._reading = self._reading, None
        return reading.result()

    def __aiter__(self) -> AsyncIterator[Response]:
        return self._responses()

    async def _responses(self) -> AsyncIterator[Response]:
        while True:
            yield await self.receive()

    async def _ended(self) -> StreamEndedError:
        for _ in range(_TRIES):
            self._note_status()
            if self._status is not None:
                return StreamEndedError(*self._status)
            await asyncio.sleep(_PAUSE)
        return StreamEndedError(await self._call.code(), await self._call.details() or "")

    def _note_status(self, _: Any = None) -> None:
        """Keep what the server said.

        A write that fails because the stream has ended makes grpc.aio forget that and say INTERNAL instead, whether it
        comes before the status or after it.
        """
        if self._status is None and self._call.done() and (details := _now(self._call.details())) != _WRITE_FAILED:
            self._status = _now(self._call.code()), details or ""

    async def close(self) -> None:
        """Hang up."""
        self._call.cancel()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})


@asynccontextmanager
async def open_stream(
    channel: grpc.aio.Channel,
    client: Client,
    *,
    type_url: str | None = None,
    metadata: Sequence[tuple[str, str | bytes]] = (),
) -> AsyncIterator[Stream]:
    """A stream for as long as the context lasts: aggregated, or to the service of one type.

    What the client asked for on an earlier stream is asked for again. Raises ValueError for a type without a service
    of its own, and StreamEndedError.
    """
    call: Any = channel.stream_stream(method_path(client.variant, type_url))(metadata=tuple(metadata))
    stream = Stream(call, client)
    try:
        await stream.send(*client.restart())
        yield stream
    finally:
        await stream.close()
