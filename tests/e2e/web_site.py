"""An HTTP/1 server of a test, in its process: each answer says who gives it.

/ws       sends every message back, and closes with 4001 on `bye`
/events   server-sent events, until the client goes
/echo     sends the body back while it comes
/hang     never answers; `gone` is set when the client goes
/...      the digest of the body
"""

from __future__ import annotations

import asyncio
import hashlib

from aiohttp import WSMsgType, web


class Site:
    """Use `start` and `close`; `port` is free."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._headers = {"x-who": name}
        self.asked = 0
        self.waiting = asyncio.Event()
        self.gone = asyncio.Event()
        self.port = 0
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get("/ws", self._web_socket)
        app.router.add_get("/events", self._events)
        app.router.add_get("/hang", self._hang)
        app.router.add_post("/echo", self._echo)
        app.router.add_route("*", "/{anything:.*}", self._digest)
        self._runner = web.AppRunner(app, handler_cancellation=True)

    async def start(self) -> None:
        """Listen."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, shutdown_timeout=0.1)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        await self._runner.cleanup()

    async def _digest(self, request: web.Request) -> web.Response:
        self.asked += 1
        digest = hashlib.sha256()
        async for piece in request.content.iter_any():
            digest.update(piece)
        return web.Response(text=digest.hexdigest(), headers=self._headers)

    async def _echo(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=self._headers)
        await response.prepare(request)
        async for piece in request.content.iter_any():
            await response.write(piece)
        return response

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=self._headers | {"content-type": "text/event-stream"})
        await response.prepare(request)
        try:
            for number in range(1000):
                await response.write(b"data: %d\n\n" % number)
                await asyncio.sleep(0.01)
        finally:
            self.gone.set()
        return response

    async def _hang(self, request: web.Request) -> web.Response:
        self.waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.gone.set()
        raise AssertionError("nobody sets it")

    async def _web_socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=0, compress=True)
        socket.headers["x-who"] = self._name
        await socket.prepare(request)
        async for message in socket:
            if message.data == "bye":
                await socket.close(code=4001)
            elif message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
            else:
                await socket.send_str(message.data)
        return socket
