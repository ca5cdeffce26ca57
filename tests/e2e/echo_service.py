"""A gRPC service without messages of its own, for any service name: methods of each kind that say who answers."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import xds.client.channel  # noqa: F401  first: it sets gRPC's environment

import grpc.aio  # isort: skip

OPTIONS = [("grpc.max_receive_message_length", 32 << 20), ("grpc.so_reuseport", 0)]
DETAILS = "no such thing: 100 % “gone”\n"
BINARY = bytes(range(256))


class EchoService(grpc.GenericRpcHandler):
    """Method names say of what kind they are; requests and replies are bytes."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        self.waiting = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.over: defaultdict[str | bytes, asyncio.Event] = defaultdict(asyncio.Event)
        """By what a call's `x-call` says: set when the call has ended, however that came."""

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a method, whatever its service."""
        unary: Any = grpc.unary_unary_rpc_method_handler
        methods: dict[str, Any] = {
            "Unary": unary(self._unary),
            "Collect": grpc.stream_unary_rpc_method_handler(self._collect),
            "Count": grpc.unary_stream_rpc_method_handler(self._count),
            "Chat": grpc.stream_stream_rpc_method_handler(self._chat),
            "Fail": unary(self._fail),
            "Hang": unary(self._hang),
        }
        return methods.get(handler_call_details.method.rpartition("/")[2])

    async def _begin(self, context: Any) -> None:
        sent = dict(context.invocation_metadata())
        over = self.over[sent.get("x-call", "")]
        context.add_done_callback(lambda _: over.set())
        await context.send_initial_metadata((("x-who", self._name.decode()),))
        context.set_trailing_metadata((("x-sent-bin", sent.get("x-data-bin", b"")), ("x-last", "1")))

    async def _unary(self, request: bytes, context: Any) -> bytes:
        await self._begin(context)
        return self._name + b":" + request

    async def _collect(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        await self._begin(context)
        return self._name + b":" + b"".join([each async for each in requests])

    async def _count(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        await self._begin(context)
        for number in range(int(request)):
            yield self._name + b":%d" % number

    async def _chat(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        await self._begin(context)
        async for each in requests:
            yield self._name + b":" + each

    async def _fail(self, _: bytes, context: Any) -> bytes:
        trailing = (("x-who", self._name.decode()), ("x-why-bin", BINARY))
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, DETAILS, trailing)
        raise AssertionError("abort raises")

    async def _hang(self, _: bytes, context: Any) -> bytes:
        self.waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        raise AssertionError("nobody sets it")


async def start(service: EchoService) -> tuple[grpc.aio.Server, int, int]:
    """Serve on two free ports."""
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((service,))
    one, two = (server.add_insecure_port("127.0.0.1:0") for _ in range(2))
    await server.start()
    return server, one, two
