"""Calls to the manager, and what their errors mean."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

# gRPC writes to stderr by itself, and its fork handlers would meddle with whoever calls us from a process of his own.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

import grpc
import grpc.aio

from xds.api.byway.manager import v1
from xds.api.rpc import bearer
from xds.api.services import Debug
from xds.api.services import Manager as ManagerMethods
from xds.terminal.failure import Exit, FailureError
from xdsctl.options import Access

T = TypeVar("T")

TIMEOUT = 10.0
"""Seconds that a call may take."""

OPTIONS: list[tuple[str, int | str]] = [
    # A workload's resources come in one reply; gRPC's own limit of 4 MB is a few thousand intercepts.
    ("grpc.max_receive_message_length", -1),
    # An http_proxy in the environment isn't meant for a manager that is named by its address.
    ("grpc.enable_http_proxy", 0),
]


class Asker:
    """The administrator's calls on one channel."""

    def __init__(self, channel: grpc.aio.Channel, token: str, timeout: float) -> None:
        self._channel = channel
        self._metadata = bearer(token)
        self._timeout = timeout

    async def sidecars(self) -> v1.ListSidecarsReply:
        """Every sidecar, and the instances that have none."""
        request = v1.ListSidecarsRequest()
        return await Debug.LIST_SIDECARS(self._channel, request, metadata=self._metadata, timeout=self._timeout)

    async def resources(self, node: str, type_name: str) -> v1.GetResourcesReply:
        """What a node is meant to have."""
        request = v1.GetResourcesRequest(node=node, type=type_name)
        return await Debug.GET_RESOURCES(self._channel, request, metadata=self._metadata, timeout=self._timeout)

    async def history(self, node: str) -> v1.GetHistoryReply:
        """The last pushes to a node."""
        request = v1.GetHistoryRequest(node=node)
        return await Debug.GET_HISTORY(self._channel, request, metadata=self._metadata, timeout=self._timeout)

    def tap(self, node: str, kinds: Sequence[str]) -> AsyncIterator[v1.TapEvent]:
        """What passes on a node's streams, without an end."""
        return Debug.TAP(self._channel, v1.TapRequest(node=node, types=list(kinds)), metadata=self._metadata)

    async def compare(self, node: str, kinds: Sequence[str], *, bodies: bool) -> v1.CompareReply:
        """What a node is meant to have beside what it has acknowledged."""
        request = v1.CompareRequest(node=node, types=list(kinds), bodies=bodies)
        return await Debug.COMPARE(self._channel, request, metadata=self._metadata, timeout=self._timeout)

    async def version(self) -> str:
        """The manager's version."""
        call = ManagerMethods.GET_VERSION
        reply = await call(self._channel, v1.GetVersionRequest(), metadata=self._metadata, timeout=self._timeout)
        return reply.version


def ask(access: Access, use: Callable[[Asker], Awaitable[T]], *, timeout: float = TIMEOUT) -> T:
    """Run a coroutine that asks the manager. Raises FailureError; Ctrl-C cancels it."""
    address, token = access.address(), access.token()

    async def body() -> T:
        async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
            try:
                return await use(Asker(channel, token, timeout))
            except grpc.aio.AioRpcError as error:
                raise failure_of(error, address) from None

    return asyncio.run(body())


def failure_of(error: grpc.aio.AioRpcError, address: str) -> FailureError:
    """What a gRPC error means to the user."""
    code = error.code()
    message = (error.details() or code.name.lower().replace("_", " ")).rstrip(".")
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            return FailureError(
                f"can't reach the manager at {address}: {_reason(message)}",
                hint="check --manager, and that it runs",
                code="unavailable",
                exit_code=Exit.NOT_CONNECTED,
            )
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return FailureError(
                f"the manager at {address} accepts the connection but does not answer",
                hint="look at its log, and whether the process is stopped",
                code="deadline_exceeded",
                exit_code=Exit.NOT_CONNECTED,
            )
        case grpc.StatusCode.PERMISSION_DENIED | grpc.StatusCode.UNAUTHENTICATED:
            return FailureError(
                f"the manager at {address} refuses the token: {message}",
                hint="check --admin-token-file; it is manager/admin.token in the manager's state directory",
                code=code.name.lower(),
            )
        case grpc.StatusCode.INVALID_ARGUMENT:
            return FailureError(message, code="invalid_argument", exit_code=Exit.USAGE)
        case grpc.StatusCode.UNIMPLEMENTED:
            return FailureError(
                f"what answers at {address} is no Byway manager, or an older one",
                hint="check --manager",
                code="unimplemented",
            )
    return FailureError(message, code=code.name.lower())


def _reason(message: str) -> str:
    """The system's words, without gRPC's around them."""
    reason = message.rpartition("; last error: ")[2].rpartition(": ")[2] or message
    return reason[:1].lower() + reason[1:]
