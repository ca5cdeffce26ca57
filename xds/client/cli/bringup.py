"""Starts a daemon for the command line, waits until it is of use, and stops it again."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable

import xds.client.channel  # noqa: F401  first: it sets gRPC's environment

import grpc.aio  # isort: skip

from xds.api.byway.daemon.v1 import GetStatusReply, GetStatusRequest, StopRequest
from xds.api.services import Daemon
from xds.client import spawn
from xds.client.cli.api import CALL_TIMEOUT, daemon_answers, daemon_channel
from xds.client.cli.bell import show_waiting
from xds.client.cli.reach import settled
from xds.client.files import ALREADY_RUNNING, LaptopFiles
from xds.paths import StateDir
from xds.terminal.failure import Exit, FailureError, not_connected
from xds.terminal.output import warn

POLL = 0.05
SETTLE_BEFORE = 0.5
"""Seconds before the end of the user's patience at which a tunnel that isn't up is waited for no longer."""
START_TIMEOUT = 20.0
"""Seconds for the daemon to answer at all."""


async def get_status(channel: grpc.aio.Channel) -> GetStatusReply:
    """Ask the daemon how it is."""
    return await Daemon.GET_STATUS(channel, GetStatusRequest(), timeout=CALL_TIMEOUT)


async def bring_up(
    state: StateDir, options: spawn.DaemonOptions | None, *, timeout: float, user: str | None
) -> tuple[GetStatusReply, bool]:
    """Start a daemon (unless `options` is None: one runs) and wait until it is connected.

    Returns its status, and whether it had to be waited for. Raises FailureError; a daemon that was started and does not
    connect is stopped again.
    """
    if options is None:
        return await wait_connected(state, lambda: None, timeout=timeout)
    await stop_daemon(state)
    offset = log_size(state)
    try:
        process = spawn.start(state, options)
    except OSError as error:
        raise FailureError(f"cannot start the daemon: {error}") from error
    try:
        result = await wait_connected(state, lambda: check_alive(process, state, offset), timeout=timeout)
        check_identity(result[0], user, process)
    except BaseException:
        # Ctrl-C too: a daemon that never connected is of no use to anybody.
        if process.poll() is None:
            process.terminate()
            await asyncio.to_thread(process.wait, 5)
        raise
    return result


def check_identity(status: GetStatusReply, user: str | None, process: subprocess.Popen[bytes]) -> None:
    """The token says who the user is; warns where that is not who was meant."""
    if user is not None and status.user != user and status.pid == process.pid:
        warn(f"the token belongs to {status.user}, not to {user}")


def log_size(state: StateDir) -> int:
    """Where the next daemon's words begin."""
    log = LaptopFiles.of(state).log
    size = log.stat().st_size if log.exists() else 0
    return size if size <= spawn.LOG_LIMIT else 0


def check_alive(process: subprocess.Popen[bytes], state: StateDir, offset: int) -> None:
    """Raises FailureError when the daemon has ended by itself. Another daemon that was quicker is as good."""
    code = process.poll()
    if code is not None and code != ALREADY_RUNNING:
        words = spawn.last_words(state, offset) or f"exit code {code}"
        raise FailureError(f"the daemon did not start: {words}", hint=f"see {state.laptop / 'daemon.log'}")


async def wait_connected(state: StateDir, check: Callable[[], None], *, timeout: float) -> tuple[GetStatusReply, bool]:
    """Wait for the daemon to be connected. `timeout` in seconds. Raises FailureError."""
    status: GetStatusReply | None = None
    waited = False
    with contextlib.suppress(TimeoutError):
        # The daemon's own start is not the manager's fault.
        async with asyncio.timeout(START_TIMEOUT) as limit, progress("Connecting"):
            while True:
                check()
                if daemon_answers(state):
                    if status is None:
                        limit.reschedule(asyncio.get_running_loop().time() + timeout)
                    async with daemon_channel(state, bell=False) as channel:
                        status = await get_status(channel)
                        late = asyncio.get_running_loop().time() > (limit.when() or 0) - SETTLE_BEFORE
                        if status.state == "connected" and (settled(status) or late):
                            await show_waiting(channel)
                            return status, waited
                    if status.state in {"refused", "ended"}:
                        raise FailureError(status.detail, code=status.state, exit_code=Exit.FAILED)
                waited = True
                await asyncio.sleep(POLL)
    if status is None:
        raise FailureError("the daemon does not answer", hint=f"see {state.laptop / 'daemon.log'}")
    raise not_connected(f"not connected after {timeout:g} s: {status.detail}", hint="check --manager and that it runs")


async def stop_daemon(state: StateDir) -> None:
    """Stop a daemon that has no session any more, so that a new one can start."""
    if not daemon_answers(state):
        return
    async with daemon_channel(state) as channel:
        await Daemon.STOP(channel, StopRequest(keep_session=True), timeout=CALL_TIMEOUT)
    await wait_gone(state)


async def wait_gone(state: StateDir, timeout: float = 5.0) -> None:
    """Wait until a daemon that was told to stop has let go of its lock. Raises FailureError."""
    with contextlib.suppress(TimeoutError, FileNotFoundError):
        async with asyncio.timeout(timeout):
            with LaptopFiles.of(state).pid.open() as file:
                while True:
                    try:
                        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    except BlockingIOError:
                        await asyncio.sleep(POLL / 2)
                    else:
                        return
    if LaptopFiles.of(state).pid.exists():
        raise FailureError("the daemon was told to stop, but still runs", hint=f"see {state.laptop / 'daemon.log'}")


@contextlib.asynccontextmanager
async def progress(text: str) -> AsyncIterator[None]:
    """Show that something goes on, on a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{text} …"):
        yield
