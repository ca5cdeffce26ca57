"""gRPC methods as typed values, over grpc.aio with betterproto2 messages.

betterproto2 generates messages; its own service stubs are grpclib's. A `Method` holds what grpc.aio needs to call or to
serve one method, so that both sides share one table (`xds.api.services`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar, cast

import betterproto2
import grpc
import grpc.aio

Q = TypeVar("Q", bound=betterproto2.Message)
R = TypeVar("R", bound=betterproto2.Message)
Metadata = Sequence[tuple[str, str | bytes]]
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


def bearer(token: str) -> Metadata:
    """The metadata that proves who is calling."""
    return (("authorization", f"Bearer {token}"),)


def bearer_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """The token in a call's metadata; empty where there is none."""
    for key, value in metadata or ():
        if key.lower() == "authorization":
            text = value if isinstance(value, str) else value.decode("latin-1")
            scheme, _, token = text.partition(" ")
            return token.strip() if scheme.lower() == "bearer" else ""
    return ""


@dataclass(frozen=True, slots=True)
class Method(Generic[Q, R]):
    """One method of a service: its path and the types of its messages."""

    path: str
    request: type[Q]
    reply: type[R]

    def _encode(self, message: betterproto2.Message) -> bytes:
        return bytes(message)

    def _decode_request(self, data: bytes) -> Q:
        return self.request.parse(data)

    def _decode_reply(self, data: bytes) -> R:
        return self.reply.parse(data)


@dataclass(frozen=True, slots=True)
class Unary(Method[Q, R]):
    """One request, one reply."""

    async def __call__(
        self, channel: grpc.aio.Channel, request: Q, *, metadata: Metadata = (), timeout: float | None = None
    ) -> R:
        """Call it. Raises grpc.aio.AioRpcError; `timeout` in seconds."""
        call = channel.unary_unary(self.path, request_serializer=self._encode, response_deserializer=self._decode_reply)
        return await call(request, metadata=tuple(metadata), timeout=timeout)

    def handler(self, behaviour: Callable[[Q, Context], Awaitable[R]]) -> tuple[str, Handler]:
        """What a server registers for it."""
        return self.path, grpc.unary_unary_rpc_method_handler(behaviour, self._decode_request, self._encode)


@dataclass(frozen=True, slots=True)
class ServerStream(Method[Q, R]):
    """One request, a stream of replies."""

    def __call__(
        self, channel: grpc.aio.Channel, request: Q, *, metadata: Metadata = (), timeout: float | None = None
    ) -> AsyncIterator[R]:
        """Call it. The iterator raises grpc.aio.AioRpcError; leaving it early needs `cancel()` on the call."""
        call = channel.unary_stream(
            self.path, request_serializer=self._encode, response_deserializer=self._decode_reply
        )
        return cast("AsyncIterator[R]", call(request, metadata=tuple(metadata), timeout=timeout))

    def handler(self, behaviour: Callable[[Q, Context], AsyncIterator[R]]) -> tuple[str, Handler]:
        """What a server registers for it."""
        return self.path, grpc.unary_stream_rpc_method_handler(behaviour, self._decode_request, self._encode)


@dataclass(frozen=True, slots=True)
class BidiStream(Method[Q, R]):
    """A stream each way."""

    def __call__(
        self, channel: grpc.aio.Channel, requests: AsyncIterator[Q], *, metadata: Metadata = ()
    ) -> AsyncIterator[R]:
        """Call it. The iterator raises grpc.aio.AioRpcError."""
        call = channel.stream_stream(
            self.path, request_serializer=self._encode, response_deserializer=self._decode_reply
        )
        return cast("AsyncIterator[R]", call(requests, metadata=tuple(metadata)))

    def handler(self, behaviour: Callable[[AsyncIterator[Q], Context], AsyncIterator[R]]) -> tuple[str, Handler]:
        """What a server registers for it."""
        return self.path, grpc.stream_stream_rpc_method_handler(behaviour, self._decode_request, self._encode)


class Handlers(grpc.GenericRpcHandler):
    """A table of methods, as a server takes it."""

    def __init__(self, methods: Iterable[tuple[str, Handler]]) -> None:
        self._methods = dict(methods)

    def service(self, handler_call_details: Any) -> Handler | None:
        """The handler of the called method, or None for the next table."""
        return self._methods.get(handler_call_details.method)
