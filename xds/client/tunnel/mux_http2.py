"""Requests of the tunnel to processes that speak HTTP/2 in clear, by prior knowledge: gRPC above all.

A stream there for each stream here, with the same codes when one is reset. One connection to a process carries all of
them, up to the number that the process allows.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

from h2.errors import ErrorCodes

from xds.client.tunnel.contract import Target
from xds.client.tunnel.multiplex import ConnectionLostError, Multiplex, Stream, StreamResetError
from xds.client.tunnel.mux_http1 import BrokenAnswerError, connect
from xds.client.tunnel.mux_request import Request, http2_answer

SETTINGS_TIMEOUT = 1.0
"""Seconds to wait for a process to say how many streams it allows."""


class Http2Pool:
    """The connections to each target."""

    def __init__(self) -> None:
        self._open: defaultdict[Target, list[Multiplex]] = defaultdict(list)
        self._dialling: defaultdict[Target, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def take(self, target: Target, timeout: float) -> Multiplex:
        """A connection to a target that has room for a stream. Raises OSError (TimeoutError is one)."""
        async with self._dialling[target]:
            usable = [each for each in self._open[target] if not each.closed.is_set()]
            self._open[target] = usable
            for each in usable:
                if not each.full:
                    return each
            fresh = Multiplex(await connect(target, timeout), client=True)
            usable.append(fresh)
            await fresh.settled(SETTINGS_TIMEOUT)
            return fresh

    def keep(self, targets: frozenset[Target]) -> None:
        """Close the connections to all others."""
        for target in self._open.keys() - targets:
            for each in self._open.pop(target):
                each.close()
            self._dialling.pop(target, None)

    def close(self) -> None:
        """Close all of them."""
        self.keep(frozenset())


async def relay(stream: Stream, request: Request, process: Multiplex) -> None:
    """Carry a request and its answer.

    Raises BrokenAnswerError where nothing of an answer was passed on; an answer that breaks off later is cut.
    """
    try:
        other = process.open(request.http2_head(), end=stream.ended)
    except ValueError as error:
        raise BrokenAnswerError(400, f"the request can't be written as HTTP/2: {error}") from error
    except ConnectionError as error:
        raise BrokenAnswerError(503, f"the process closed the connection: {error}") from error
    upload = asyncio.create_task(_upload(stream, other))
    answered = False
    try:
        while not answered:
            head = http2_answer(await other.head())
            answered = not dict(head).get(b":status", b"").startswith(b"1")
            stream.send_head(head, end=answered and other.ended and other.trailers is None)
        while data := await other.read():
            stream.write(data)
            await stream.drain()
        stream.end(other.trailers)
        if not upload.done():
            await stream.sent()
            stream.abort(ErrorCodes.NO_ERROR)
    except StreamResetError as error:
        stream.abort(error.code)
    except ConnectionLostError as error:
        if not answered:
            raise BrokenAnswerError(503, f"the process closed the connection without an answer: {error}") from error
        stream.abort(ErrorCodes.INTERNAL_ERROR)
    except ValueError as error:
        raise BrokenAnswerError(502, f"the process's answer is not valid: {error}") from error
    finally:
        upload.cancel()
        other.abort(stream.reset_code)


async def _upload(stream: Stream, other: Stream) -> None:
    try:
        while data := await stream.read():
            other.write(data)
            await other.drain()
        other.end(stream.trailers)
    except OSError:
        # Whoever reads the answer hears of it, too.
        return
