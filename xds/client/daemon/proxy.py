"""Passes the command line's calls on to the manager, with the session's token.

Messages travel as bytes, unchanged: a newer command line can use a newer manager through an older daemon. Status,
trailing metadata and cancellation come through. Every call means that the user did something.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from xds.api.byway.manager.v1 import CreateInterceptRequest
from xds.api.rpc import Context, Handler, Metadata, bearer
from xds.api.services import Manager
from xds.client.daemon.link import Link
from xds.client.daemon.verdict import LinkState, unreachable
from xds.client.tunnel.contract import Target
from xds.client.words import KEEPS_TRYING

UNARY = frozenset(
    method.path
    for method in (
        Manager.GET_VERSION,
        Manager.QUIT,
        Manager.LIST_WORKLOADS,
        Manager.LIST_INTERCEPTS,
        Manager.LEAVE_INTERCEPT,
        Manager.EXTEND,
        Manager.REVOKE,
        Manager.WHY,
    )
)
STREAMING = frozenset({Manager.CREATE_INTERCEPT.path, Manager.EXPLAIN.path, Manager.REQUESTS.path})
OWN = frozenset({Manager.CONNECT.path, Manager.ATTEND.path})
"""What only the daemon does."""


def not_connected(link: Link) -> str:
    """Why a call can't be passed on, and what to do."""
    if link.state is LinkState.RECONNECTING:
        return f"not connected: {link.detail}; {KEEPS_TRYING}, `byway status` shows how it is"
    return f"not connected: {link.detail}"


def passed_on(metadata: Any) -> Metadata:
    """Trailing metadata without what gRPC adds by itself."""
    return tuple((key, value) for key, value in metadata or () if not key.startswith("grpc-"))


def targets_in(path: str, request: bytes) -> frozenset[Target]:
    """Where a call wants requests to be sent to."""
    if path != Manager.CREATE_INTERCEPT.path:
        return frozenset()
    try:
        ports = CreateInterceptRequest.parse(request).ports
    except ValueError:
        return frozenset()  # The manager will say what is wrong with it.
    return frozenset(Target(port.target.host, port.target.port) for port in ports if port.target is not None)


class ManagerProxy(grpc.GenericRpcHandler):
    """byway.manager.v1.Manager, as the daemon serves it."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def service(self, handler_call_details: Any) -> Handler | None:
        """The handler of one of the manager's methods; None for any other."""
        path = handler_call_details.method
        if path in OWN:
            return grpc.unary_unary_rpc_method_handler(self._own)
        if path in STREAMING:
            return grpc.unary_stream_rpc_method_handler(self._stream(path))
        if path in UNARY:
            return grpc.unary_unary_rpc_method_handler(self._unary(path))
        return None

    async def _own(self, request: bytes, context: Context) -> bytes:  # noqa: ARG002
        await context.abort(
            grpc.StatusCode.PERMISSION_DENIED, "the daemon itself holds the session; run `byway connect`"
        )

    def _unary(self, path: str) -> Any:
        async def behaviour(request: bytes, context: Context) -> bytes:
            metadata = await self._begin(context)
            method: Any = self._link.channel.unary_unary(path)
            call = method(request, metadata=metadata, timeout=context.time_remaining())
            try:
                reply: bytes = await call
                context.set_trailing_metadata(passed_on(await call.trailing_metadata()))
            except grpc.aio.AioRpcError as error:
                await self._fail(error, context)
            finally:
                call.cancel()
            return reply

        return behaviour

    def _stream(self, path: str) -> Any:
        async def behaviour(request: bytes, context: Context) -> AsyncIterator[bytes]:
            metadata = await self._begin(context)
            method: Any = self._link.channel.unary_stream(path)
            # Before the manager hears of it: its first request may be on the way before the call has ended.
            async with self._link.reach.held(targets_in(path, request)):
                call = method(request, metadata=metadata, timeout=context.time_remaining())
                try:
                    async for reply in call:
                        yield reply
                    context.set_trailing_metadata(passed_on(await call.trailing_metadata()))
                except grpc.aio.AioRpcError as error:
                    await self._fail(error, context)
                finally:
                    # Reached by cancellation too: the manager must hear of it.
                    call.cancel()

        return behaviour

    async def _begin(self, context: Context) -> Metadata:
        self._link.touch()
        if self._link.state is not LinkState.CONNECTED:
            await context.abort(grpc.StatusCode.UNAVAILABLE, not_connected(self._link))
        return bearer(self._link.token)

    async def _fail(self, error: grpc.aio.AioRpcError, context: Context) -> None:
        details = error.details() or ""
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            details = unreachable(self._link.config.manager, details)
        await context.abort(error.code(), details, passed_on(error.trailing_metadata()))
