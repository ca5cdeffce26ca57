"""Serves the requests of the tunnel: to declared targets and to no others.

A task for each request. Where the gateway cuts a stream, the task is cancelled and hangs up on the process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Set

from h2.errors import ErrorCodes

from xds.client.tunnel.bytestream import splice
from xds.client.tunnel.contract import AWAY, Target
from xds.client.tunnel.multiplex import Stream
from xds.client.tunnel.mux_http1 import BrokenAnswerError, Exchange, Http1Pool, connect
from xds.client.tunnel.mux_http2 import Http2Pool, relay
from xds.client.tunnel.mux_request import Request

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 4.0
"""Seconds that a process may take to accept a connection. One whose backlog overflows is busy, not away: the kernel
asks it again after one second and after three."""
SWEEP = 0.5


class RequestServer:
    """Give its `accept` to the connections of the tunnel."""

    def __init__(self) -> None:
        self._targets: dict[str, Target] = {}
        self._http1 = Http1Pool()
        self._http2 = Http2Pool()
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._sweeper = asyncio.create_task(self._sweep())

    def declare(self, targets: Set[Target]) -> None:
        """Serve these from now on. What is under way at others ends."""
        self._targets = {target.authority: target for target in targets}
        self._http2.keep(frozenset(targets))
        for task, target in list(self._tasks.items()):
            if target and target not in self._targets:
                task.cancel()

    def accept(self, stream: Stream) -> None:
        """Serve a request."""
        task = asyncio.create_task(self._serve(stream))
        self._tasks[task] = ""
        task.add_done_callback(self._tasks.pop)

        def hang_up(_: ConnectionError) -> None:
            task.cancel()

        stream.on_reset = hang_up

    async def close(self) -> None:
        """End what is under way."""
        self._sweeper.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._http1.close()
        self._http2.close()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            self._http1.sweep()

    async def _serve(self, stream: Stream) -> None:
        try:
            await self._answer(stream)
        except OSError:
            # The gateway, or the tunnel, has gone.
            stream.abort()
        except asyncio.CancelledError:
            stream.abort()
            raise
        except Exception:
            log.exception("a request on the tunnel failed")
            stream.abort(ErrorCodes.INTERNAL_ERROR)

    async def _answer(self, stream: Stream) -> None:
        try:
            request = Request.parse(await stream.head())
        except ValueError:
            stream.abort(ErrorCodes.PROTOCOL_ERROR)
            return
        target = self._targets.get(request.target)
        if target is None:
            await _refuse(stream, request, 403, "this laptop does not serve that target")
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks[task] = target.authority
        try:
            await self._pass_on(stream, request, target)
        except BrokenAnswerError as error:
            await _refuse(stream, request, error.status, str(error))

    async def _pass_on(self, stream: Stream, request: Request, target: Target) -> None:
        try:
            if request.raw:
                io = await connect(target, CONNECT_TIMEOUT)
            elif request.http2:
                process = await self._http2.take(target, CONNECT_TIMEOUT)
            else:
                connection = await self._http1.take(target, CONNECT_TIMEOUT)
        except OSError:
            await _refuse(stream, request, 503, AWAY, away="target")
            return
        if request.raw:
            stream.send_head([(b":status", b"200")])
            await splice(stream, io)
        elif request.http2:
            await relay(stream, request, process)
        else:
            again = False
            try:
                again = await Exchange(stream, request, connection).run()
            finally:
                if again:
                    self._http1.give_back(target, connection)
                else:
                    connection.close()


async def _refuse(stream: Stream, request: Request, status: int, error: str, *, away: str = "") -> None:
    """Answer it ourselves. Raises OSError."""
    head, body = request.refusal(status, error, away=away)
    stream.send_head(head)
    if request.method != b"HEAD":
        stream.write(body)
    stream.end()
    if not stream.ended:
        await stream.sent()
        stream.abort(ErrorCodes.NO_ERROR)
