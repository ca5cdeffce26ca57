"""Calls to the daemon, and what their errors mean to the user."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from xds.api.services import CONFLICT_KEY
from xds.client.channel import socket_channel
from xds.client.cli.bell import show_waiting
from xds.client.files import LaptopFiles, SocketPathTooLongError
from xds.paths import StateDir
from xds.terminal.failure import Exit, FailureError, not_connected, usage
from xds.terminal.words import plain

import grpc.aio  # isort: skip  after xds.client.channel, which sets its environment

if TYPE_CHECKING:
    from xds.api.byway.manager.v1 import Conflict

T = TypeVar("T")

CALL_TIMEOUT = 10.0
"""Seconds that a call which only asks may take."""
DAEMON_GONE = ("Socket closed", "Stream removed", "Connection reset", "failed to connect to all addresses")
"""How gRPC begins about a socket whose owner has gone; the daemon's own messages are sentences."""


def socket_address(state: StateDir) -> str:
    """Where the daemon of a state directory answers. Raises FailureError where the path is too long."""
    try:
        return LaptopFiles.of(state).socket_address()
    except SocketPathTooLongError as error:
        raise usage(str(error)) from error


def daemon_answers(state: StateDir) -> bool:
    """Whether a daemon listens for this state directory; much quicker than gRPC says that none does."""
    socket_address(state)
    with socket.socket(socket.AF_UNIX) as trial:
        trial.settimeout(1.0)
        try:
            trial.connect(str(LaptopFiles.of(state).socket))
        except OSError:
            return False
    return True


@contextlib.asynccontextmanager
async def daemon_channel(state: StateDir, *, bell: bool = True) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the daemon; first shows, with `bell`, the notifications that no terminal has shown yet.

    Raises FailureError where there is no daemon; errors of calls become FailureErrors.
    """
    if not daemon_answers(state):
        raise not_connected()
    async with socket_channel(socket_address(state)) as channel:
        if bell:
            await show_waiting(channel)
        try:
            yield channel
        except grpc.aio.AioRpcError as error:
            raise failure_of(error) from error


def call_daemon(state: StateDir, use: Callable[[grpc.aio.Channel], Awaitable[T]]) -> T:
    """Run a coroutine with a channel to the daemon. Raises FailureError; KeyboardInterrupt cancels it."""

    async def body() -> T:
        async with daemon_channel(state) as channel:
            return await use(channel)

    return asyncio.run(body())


EXITS = {
    grpc.StatusCode.INVALID_ARGUMENT: Exit.USAGE,
    grpc.StatusCode.UNIMPLEMENTED: Exit.USAGE,
    grpc.StatusCode.FAILED_PRECONDITION: Exit.CONFLICT,
    grpc.StatusCode.ALREADY_EXISTS: Exit.CONFLICT,
    grpc.StatusCode.UNAVAILABLE: Exit.NOT_CONNECTED,
    grpc.StatusCode.UNAUTHENTICATED: Exit.NOT_CONNECTED,
    grpc.StatusCode.ABORTED: Exit.NOT_CONNECTED,
    grpc.StatusCode.DEADLINE_EXCEEDED: Exit.FAILED,
    grpc.StatusCode.CANCELLED: Exit.FAILED,
}


def conflict_of(error: grpc.aio.AioRpcError) -> Conflict | None:
    """What an intercept is in conflict with, where the manager said it."""
    from xds.api.byway.manager.v1 import Conflict

    for key, value in error.trailing_metadata() or ():
        if key == CONFLICT_KEY:
            return Conflict.parse(value if isinstance(value, bytes) else value.encode("latin-1"))
    return None


def advised(message: str) -> bool:
    """Whether the manager's sentence says what to do already: its advice follows a semicolon."""
    return ";" in message


def failure_of(error: grpc.aio.AioRpcError) -> FailureError:
    """What a gRPC error means to the user."""
    code = error.code()
    message = plain(error.details() or code.name.lower().replace("_", " ")).rstrip(".")
    hint = ""
    details: dict[str, object] = {}
    if code is grpc.StatusCode.FAILED_PRECONDITION and (conflict := conflict_of(error)) is not None:
        details["conflict"] = {
            "intercept_id": conflict.intercept_id,
            "owner": conflict.owner,
            "yours": conflict.yours,
            "port": conflict.port,
            "idle_seconds": conflict.idle_seconds,
            "witness": conflict.witness,
            "proven": conflict.proven,
        }
    elif code is grpc.StatusCode.FAILED_PRECONDITION:
        return FailureError(message, code="failed_precondition")
    elif code is grpc.StatusCode.UNAVAILABLE and message.startswith(DAEMON_GONE):
        return not_connected("the daemon ended")
    elif code is grpc.StatusCode.UNAUTHENTICATED:
        hint = "" if "`byway connect`" in message else "run `byway connect`"
    elif code is grpc.StatusCode.DEADLINE_EXCEEDED:
        message, hint = "no answer in time", "see `byway status`, and laptop/daemon.log in the state directory"
    return FailureError(message, hint=hint, code=code.name.lower(), exit_code=EXITS.get(code, Exit.FAILED), **details)


def manager_failure_of(error: grpc.aio.AioRpcError, address: str) -> FailureError:
    """What an error of a call straight to the manager means."""
    from xds.client.daemon.verdict import unreachable

    failure = failure_of(error)
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        failure.message, failure.hint = unreachable(address, error.details() or ""), "check --manager and that it runs"
    elif error.code() is grpc.StatusCode.UNAUTHENTICATED:
        failure.hint, failure.exit_code = "check --admin-token-file", Exit.FAILED
    return failure
