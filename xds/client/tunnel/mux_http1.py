"""Requests of the tunnel to processes that speak HTTP/1.1.

Connections are kept for the next request, but not for long: a process that closes an idle connection must never do so
in the moment in which a request is sent on it, since that request could not be sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict

import h11
from h2.errors import ErrorCodes

from xds.client.tunnel.addresses import addresses_of
from xds.client.tunnel.bytestream import TcpStream, splice
from xds.client.tunnel.contract import Target
from xds.client.tunnel.framing import Headers
from xds.client.tunnel.multiplex import Stream
from xds.client.tunnel.mux_request import Request, http1_answer

HEAD_LIMIT = 16 << 20
"""Bytes of an answer's head at most."""
AT_ONCE = 64
"""Connections to a process that are opened at the same time: less than its backlog holds (128 is usual), and little
enough work at once that the gateway's pings are answered in time."""
IDLE = 1.0
"""Seconds for which an idle connection is used again: less than any server waits before it closes one."""


class Connection:
    """A connection to a process."""

    def __init__(self, io: TcpStream) -> None:
        self.io = io
        self.http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
        self.idle_since = 0.0
        self._ahead: asyncio.Task[bytes] | None = None

    async def read(self) -> bytes:
        """The next bytes. Raises OSError."""
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            return await ahead
        return await self.io.read()

    def rest(self) -> None:
        """Look out for what the process does meanwhile: whatever it is, the connection can't be used again."""
        self.idle_since = time.monotonic()
        self._ahead = asyncio.create_task(self.io.read())

    @property
    def usable(self) -> bool:
        """Whether another request may be sent on it."""
        quiet = self._ahead is not None and not self._ahead.done()
        return quiet and time.monotonic() - self.idle_since < IDLE

    def close(self) -> None:
        """Hang up."""
        if self._ahead is not None:
            self._ahead.cancel()
        self.io.hang_up()


class Http1Pool:
    """The idle connections to each target."""

    def __init__(self) -> None:
        self._idle: defaultdict[Target, list[Connection]] = defaultdict(list)
        self._room: defaultdict[Target, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE))

    async def take(self, target: Target, timeout: float) -> Connection:
        """A connection to a target. Raises OSError (TimeoutError is one)."""
        idle = self._idle[target]
        while idle:
            connection = idle.pop()
            if connection.usable:
                return connection
            connection.close()
        async with self._room[target]:
            return Connection(await connect(target, timeout))

    def give_back(self, target: Target, connection: Connection) -> None:
        """An answer was read to its end."""
        http = connection.http
        out_of_turn = bool(http.trailing_data[0])
        if http.our_state is not h11.DONE or http.their_state is not h11.DONE or out_of_turn:
            connection.close()
            return
        http.start_next_cycle()
        connection.rest()
        self._idle[target].append(connection)

    def sweep(self) -> None:
        """Close what has been idle for too long."""
        for target in list(self._idle):
            kept = [each for each in self._idle[target] if each.usable]
            for connection in self._idle.pop(target):
                if connection not in kept:
                    connection.close()
            if kept:
                self._idle[target] = kept

    def close(self) -> None:
        """Close all of them."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()


async def connect(target: Target, timeout: float) -> TcpStream:
    """Connect to a target. Raises OSError (TimeoutError is one)."""
    refused: OSError | None = None
    async with asyncio.timeout(timeout):
        for host in addresses_of(target.host) or (target.host,):
            try:
                return TcpStream(*await asyncio.open_connection(host, target.port, limit=1 << 18))
            except TimeoutError:
                raise
            except OSError as error:
                refused = refused or error
    assert refused is not None
    raise refused


class BrokenAnswerError(Exception):
    """The process gave no answer that could be passed on. `status` to answer instead."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Exchange:
    """One request and its answer."""

    def __init__(self, stream: Stream, request: Request, connection: Connection) -> None:
        self._stream = stream
        self._request = request
        self._connection = connection
        self._http = connection.http
        self._answered = False
        self._gone = False

    async def run(self) -> bool:
        """Carry both. Returns whether the connection may be used again.

        Raises BrokenAnswerError where nothing of an answer was passed on; an answer that breaks off later is cut.
        """
        body = not self._stream.ended and not self._request.protocol
        try:
            self._send(self._request.http1(body=body))
        except h11.LocalProtocolError as error:
            raise BrokenAnswerError(400, f"the request can't be written as HTTP/1.1: {error}") from error
        upload = asyncio.create_task(self._upload() if body else self._finish())
        try:
            switched = await self._download()
        except (OSError, h11.RemoteProtocolError, ValueError) as error:
            if not self._answered:
                raise self._broken(error) from error
            self._stream.abort(ErrorCodes.INTERNAL_ERROR)
            return False
        finally:
            complete = upload.done()
            upload.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError, h11.LocalProtocolError):
                await upload
        if switched:
            await splice(self._stream, self._connection.io)
            return False
        if not complete:
            # Answered before it was asked to the end: nobody wants the rest (RFC 9113, section 8.1).
            await self._stream.sent()
            self._stream.abort(ErrorCodes.NO_ERROR)
        return complete

    def _broken(self, error: Exception) -> BrokenAnswerError:
        if self._gone or isinstance(error, OSError):
            return BrokenAnswerError(503, "the process closed the connection without an answer")
        return BrokenAnswerError(502, f"the process's answer is not valid: {error}")

    def _send(self, event: h11.Event) -> None:
        self._connection.io.write(self._http.send(event) or b"")

    async def _upload(self) -> None:
        while data := await self._stream.read():
            self._send(h11.Data(data=data))
            await self._connection.io.drain()
        chunked = self._http.our_state is h11.SEND_BODY and self._stream.trailers
        try:
            self._send(h11.EndOfMessage(headers=self._stream.trailers or [] if chunked else []))
        except h11.LocalProtocolError:
            # With a Content-Length there is no room for trailers in HTTP/1.1.
            self._send(h11.EndOfMessage())

    async def _finish(self) -> None:
        self._send(h11.EndOfMessage())

    async def _next(self) -> h11.Event | type[h11.PAUSED | h11.NEED_DATA]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            data = await self._connection.read()
            self._gone = not data
            self._http.receive_data(data)
        return event

    async def _download(self) -> bool:
        """Pass the answer on. Returns whether the connection has changed its protocol."""
        while isinstance(event := await self._next(), h11.InformationalResponse):
            if event.status_code == 101:
                self._answer(event, end=False)
                self._stream.write(self._http.trailing_data[0])
                return True
            self._stream.send_head(http1_answer(event.status_code, event.headers.raw_items()))
        if not isinstance(event, h11.Response):
            raise h11.RemoteProtocolError("the connection was closed without an answer")
        bodiless = isinstance(self._http.next_event(), h11.EndOfMessage) if self._is_bodiless(event) else False
        self._answer(event, end=bodiless)
        while not bodiless:
            piece = await self._next()
            if isinstance(piece, h11.Data):
                self._stream.write(bytes(piece.data))
                await self._stream.drain()
            elif isinstance(piece, h11.EndOfMessage):
                self._stream.end(_trailers(piece))
                break
            else:
                raise h11.RemoteProtocolError("the answer broke off")
        return False

    def _is_bodiless(self, event: h11.Response) -> bool:
        length = dict(event.headers).get(b"content-length")
        return self._request.method == b"HEAD" or event.status_code in {204, 304} or length == b"0"

    def _answer(self, event: h11.Response | h11.InformationalResponse, *, end: bool) -> None:
        self._stream.send_head(http1_answer(event.status_code, event.headers.raw_items()), end=end)
        self._answered = True


def _trailers(event: h11.EndOfMessage) -> Headers | None:
    return [(name.lower(), value) for name, value in event.headers.raw_items()] or None
