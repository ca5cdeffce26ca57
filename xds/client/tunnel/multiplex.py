"""One HTTP/2 connection on a ByteStream, with its streams as ByteStreams again; see `framing` for who may send when.

Three tasks: one reads, one writes, one listens for silence. The connection ends as a whole: every stream then raises
what ended it, and `closed` is set.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable

from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    InformationalResponseReceived,
    RemoteSettingsChanged,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

from xds.client.tunnel.bytestream import ByteStream, NotWantedError
from xds.client.tunnel.framing import STREAM_WINDOW, Framing, Headers

log = logging.getLogger(__name__)

BUDGET = 1 << 17
"""Bytes of DATA that are made at once, and can't be overtaken."""
QUEUE = 1 << 17
"""Bytes that a stream queues before it asks its writer to wait."""
ASK_AFTER = 2.2
"""Seconds of silence after which a sign of life is asked for. Gateways ask us every two."""
SILENT_AFTER = 4.5
"""Seconds of silence after which the other side counts as gone."""
TICK = 0.25


class ConnectionLostError(ConnectionError):
    """The HTTP/2 connection below a stream is gone."""


class StreamResetError(ConnectionError):
    """A stream was cut; `code` is why (RFC 9113, section 7). The connection is well."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the stream was reset ({_name(code)})")
        self.code = code


def _name(code: int) -> str:
    try:
        return ErrorCodes(code).name
    except ValueError:
        return str(code)


class Stream:
    """One stream of a connection. `head` first, then the body by `read`, then `trailers`."""

    def __init__(self, connection: Multiplex, number: int) -> None:
        self._connection = connection
        self._framing = connection.framing
        self.number = number
        self.trailers: Headers | None = None
        self.on_reset: Callable[[ConnectionError], None] = lambda _: None
        """Called when the other side, or the connection's end, cuts it."""
        self._heads: deque[Headers] = deque()
        self._pieces: list[bytes] = []
        self._ended = False
        self._sent_end = False
        self._error: ConnectionError | None = None
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()

    # ── what the other side sends ──

    async def head(self) -> Headers:
        """The next header block: for a client, informational responses before the response. Raises ConnectionError."""
        while not self._heads:
            self._check()
            if self._ended:
                raise ConnectionLostError("the stream ended without an answer")
            self._readable.clear()
            await self._readable.wait()
        return self._heads.popleft()

    async def read(self) -> bytes:
        """See ByteStream."""
        while not self._pieces:
            if self._ended:
                return b""
            self._check()
            self._readable.clear()
            await self._readable.wait()
        data = b"".join(self._pieces) if len(self._pieces) > 1 else self._pieces[0]
        self._pieces.clear()
        self._framing.consumed(self.number, len(data))
        self._connection.wake()
        return data

    @property
    def reset_code(self) -> int:
        """Why it was cut; CANCEL where it wasn't."""
        return self._error.code if isinstance(self._error, StreamResetError) else ErrorCodes.CANCEL

    @property
    def ended(self) -> bool:
        """Whether the other side has sent all, and all of it was read."""
        return self._ended and not self._pieces

    def _check_wanted(self) -> None:
        if self._ended and isinstance(self._error, StreamResetError):
            # All of its words have come, whatever the code: it is our words that it cuts.
            raise NotWantedError(str(self._error)) from self._error
        self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    # ── what we send ──

    def send_head(self, headers: Headers, *, end: bool = False) -> None:
        """Send a header block. Raises ConnectionError, ValueError (HTTP/2 does not allow these headers)."""
        self._check()
        try:
            self._framing.headers(self.number, headers, end=end)
        except ProtocolError as error:
            raise ValueError(str(error)) from error
        self._sent_end = self._sent_end or end
        self._connection.wake()
        self._leave()

    def write(self, data: bytes) -> None:
        """See ByteStream."""
        if self._error is None:
            self._framing.write(self.number, data)
            self._connection.wake()

    async def drain(self) -> None:
        """See ByteStream."""
        self._check_wanted()
        while self._framing.queued(self.number) > QUEUE:
            self._writable.clear()
            await self._writable.wait()
            self._check_wanted()

    def end(self, trailers: Headers | None = None) -> None:
        """Nothing more will be written but, where given, these trailers."""
        if self._error is None and not self._sent_end:
            self._sent_end = True
            self._framing.end(self.number, trailers)
            self._connection.wake()

    def abort(self, code: int = ErrorCodes.CANCEL) -> None:
        """Cut it, both ways, and tell the other side why."""
        if self._error is None:
            self._framing.reset(self.number, code)
            self._connection.wake()
            self._fail(StreamResetError(code))

    def close(self) -> None:
        """See ByteStream; what is queued before our end is sent first."""
        if self._ended and self._sent_end:
            self._leave()
        else:
            self.abort()

    async def sent(self) -> None:
        """Wait until all that was written has gone out. Raises ConnectionError."""
        while self._framing.unsent(self.number):
            self._writable.clear()
            await self._writable.wait()
            self._check()

    # ── what the connection tells ──

    def _take(self, event: Event) -> None:
        if isinstance(event, DataReceived):
            self._pieces.append(event.data or b"")
        elif isinstance(event, TrailersReceived):
            self.trailers = _plain(event)
        elif isinstance(event, StreamEnded):
            self._ended = True
            self._leave()
        elif isinstance(event, RequestReceived | ResponseReceived | InformationalResponseReceived):
            self._heads.append(_plain(event))
        self._readable.set()

    def _relieve(self) -> None:
        self._writable.set()
        self._leave()

    def _fail(self, error: ConnectionError) -> None:
        if self._error is None:
            self._error = error
            self._readable.set()
            self._writable.set()
            self._connection.forget(self)
            self.on_reset(error)

    def _leave(self) -> None:
        """Once both sides have ended and all is sent, the connection has nothing to do with it."""
        if self._ended and self._sent_end and not self._framing.unsent(self.number):
            self._connection.forget(self)


def _plain(event: RequestReceived | ResponseReceived | InformationalResponseReceived | TrailersReceived) -> Headers:
    return [(bytes(name), bytes(value)) for name, value in event.headers or ()]


class Multiplex:
    """One HTTP/2 connection."""

    def __init__(
        self,
        io: ByteStream,
        *,
        client: bool,
        serve: Callable[[Stream], None] | None = None,
        keepalive: bool = False,
        stream_window: int = STREAM_WINDOW,
    ) -> None:
        self.framing = Framing(client=client, stream_window=stream_window)
        self.closed = asyncio.Event()
        self.reason = ""
        """Why it is closed, for people."""
        self.draining = False
        """The other side said that it takes no more streams (GOAWAY); those under way go on."""
        self._io = io
        self._serve = serve
        self._streams: dict[int, Stream] = {}
        self._work = asyncio.Event()
        self._work.set()
        self._heard = time.monotonic()
        self._changed: Callable[[], None] = lambda: None
        self._settled = asyncio.Event()
        self._left = asyncio.Event()
        jobs = [self._read(), self._write(), *([self._listen()] if keepalive else [])]
        self._tasks = [asyncio.create_task(job) for job in jobs]

    @property
    def streams(self) -> int:
        """How many are under way."""
        return len(self._streams)

    @property
    def full(self) -> bool:
        """Whether another stream should go elsewhere, for now or for ever: there are as many as the other side allows,
        or so much is unread that it would have to wait for the readers of others."""
        if self.framing.hoarding:
            return True
        return self.draining or self.closed.is_set() or self.streams >= self.framing.max_outbound_streams

    def when_draining(self, call: Callable[[], None]) -> None:
        """Call this on GOAWAY."""
        self._changed = call

    async def settled(self, timeout: float) -> None:
        """Wait until the other side has said what it allows, or has had `timeout` seconds to do so."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._settled.wait()

    async def empty(self) -> None:
        """Wait until no stream is under way, or the connection is closed."""
        while self._streams and not self.closed.is_set():
            self._left.clear()
            await self._left.wait()

    def open(self, headers: Headers, *, end: bool = False) -> Stream:
        """Begin a stream. Raises ConnectionError, ValueError (HTTP/2 does not allow these headers)."""
        if self.draining or self.closed.is_set() or self.streams >= self.framing.max_outbound_streams:
            raise ConnectionLostError(self.reason or "the other side takes no more streams")
        stream = Stream(self, self.framing.next_stream())
        self._streams[stream.number] = stream
        try:
            stream.send_head(headers, end=end)
        except ValueError:
            self.forget(stream)
            raise
        return stream

    def wake(self) -> None:
        """There may be something to send."""
        self._work.set()

    def forget(self, stream: Stream) -> None:
        """A stream has ended."""
        if self._streams.pop(stream.number, None) is not None:
            self.framing.forget(stream.number)
            self._left.set()

    def close(self, reason: str = "closed") -> None:
        """End the connection at once, every stream with it."""
        if self.closed.is_set():
            return
        self.reason = reason
        self.closed.set()
        self._settled.set()
        self._left.set()
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        for stream in list(self._streams.values()):
            stream._fail(ConnectionLostError(reason))
        self.framing.close()
        self._io.write(self.framing.outgoing(0))
        if time.monotonic() - self._heard > SILENT_AFTER:
            self._io.abort()
        else:
            self._io.close()

    async def _read(self) -> None:
        try:
            while data := await self._io.read():
                self._heard = time.monotonic()
                for event in self.framing.receive(data):
                    self._dispatch(event)
                self.wake()
            reason = "the other side closed the connection"
        except ProtocolError as error:
            reason = f"HTTP/2 was broken: {error}"
        except OSError as error:
            reason = f"the connection broke: {error}"
        self.close(reason)

    def _dispatch(self, event: Event) -> None:
        if isinstance(event, ConnectionTerminated):
            self._drain(event)
            return
        if isinstance(event, RemoteSettingsChanged):
            self._settled.set()
        number = getattr(event, "stream_id", None)
        if number is None:
            return
        if isinstance(event, RequestReceived) and self._serve is not None:
            stream = self._streams[number] = Stream(self, number)
            stream._take(event)
            self._serve(stream)
        elif (found := self._streams.get(number)) is None:
            return
        elif isinstance(event, StreamReset):
            found._fail(StreamResetError(int(event.error_code or 0)))
        else:
            found._take(event)

    def _drain(self, event: ConnectionTerminated) -> None:
        self.draining = True
        last = event.last_stream_id or 0
        if self.framing.client:
            for number in [each for each in self._streams if each > last]:
                self._streams[number]._fail(StreamResetError(ErrorCodes.REFUSED_STREAM))
        self._changed()

    async def _write(self) -> None:
        try:
            while True:
                data = self.framing.outgoing(BUDGET)
                if data:
                    self._io.write(data)
                if self.framing.relieved:
                    relieved, self.framing.relieved = self.framing.relieved, set()
                    for number in relieved:
                        if (stream := self._streams.get(number)) is not None:
                            stream._relieve()
                if data:
                    await self._io.drain()
                else:
                    self._work.clear()
                    await self._work.wait()
        except OSError as error:
            self.close(f"the connection broke: {error}")

    async def _listen(self) -> None:
        """Notice that nothing comes any more, though asked for."""
        asked = False
        while True:
            before = time.monotonic()
            await asyncio.sleep(TICK)
            now = time.monotonic()
            # While this process itself did not run, nobody else can be blamed for silence.
            self._heard = min(now, self._heard + max(0.0, now - before - 2 * TICK))
            if now - self._heard > SILENT_AFTER:
                self.close("the other side has gone silent")
                return
            if now - self._heard < ASK_AFTER:
                asked = False
            elif not asked:
                asked = True
                self.framing.ping()
                self.wake()
