"""A gateway's life: its keys first, then its Envoy, and both until one of them ends or somebody ends them.

It ends in order: Envoy tells sidecars and laptops that it is about to go, so that what comes next goes to another
gateway, lets what is in flight finish for as long as it drains, and then goes. A second signal ends it at once. If this
process is killed, the kernel ends Envoy.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Awaitable
from pathlib import Path

import aiohttp

from xds import guard
from xds.manager.gateway.files import DRAIN_SECONDS, GatewayError, GatewayFiles, reserved_port
from xds.manager.gateway.keys import Keys, follow
from xds.registry.workload import Address

log = logging.getLogger(__name__)

TERMINATE_WITHIN = 2.0
"""Seconds from SIGTERM to SIGKILL."""
ADMIN_WITHIN = 1.0
DRAIN = (
    # Who is connected is told with the next answer to go elsewhere …
    "/healthcheck/fail",
    # … and who connects anew does so at once: while the listeners were still open, sidecars and laptops would come back
    # to the last moment, and what they send then would be cut.
    "/drain_listeners",
    f"/reverse_tunnel/drain_clusters?cluster=laptops&drain_time_ms={DRAIN_SECONDS * 1000}",
)


async def run(
    files: GatewayFiles,
    manager: Address,
    *,
    token: Path,
    log_level: str,
    stop: asyncio.Event,
    at_once: asyncio.Event,
) -> None:
    """Run a gateway until `stop`, and then until it has drained or `at_once`. Raises GatewayError, OSError."""
    files.prepare(token)
    command = files.command(log_level)
    # A second one would take the sockets of the first, and a share of the laptops.
    with files.held():
        keys = Keys(files.keys)
        async with keys.serving(files.keys_socket):
            following = asyncio.create_task(follow(keys, manager, token))
            try:
                # Envoy would refuse laptops that come before.
                if await _first(keys.known(), stop.wait(), following) == 0:
                    with reserved_port() as port:
                        files.write(manager, token, port)
                        await _envoy(files, command, following, stop, at_once)
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                files.admin_socket.unlink(missing_ok=True)


async def _envoy(
    files: GatewayFiles, command: list[str], following: asyncio.Task[None], stop: asyncio.Event, at_once: asyncio.Event
) -> None:
    guarded = [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), *command]
    # In a process group of its own, or Ctrl-C would end it before it has told anybody.
    process = await asyncio.create_subprocess_exec(*guarded, stdin=asyncio.subprocess.PIPE, process_group=0)
    log.info("gateway %s: Envoy is process %d", files.name, process.pid)
    try:
        if await _first(process.wait(), stop.wait(), following) == 0:
            raise GatewayError(f"Envoy ended with exit code {process.returncode}; what it said is above")
        if await _drain(files.admin_socket):
            await _first(process.wait(), at_once.wait(), asyncio.sleep(DRAIN_SECONDS))
    finally:
        await _end(process)


async def _first(*several: Awaitable[object]) -> int:
    """Wait for the first to be done and say which; the others are cancelled, but for tasks that were given.

    Raises what a given task raised.
    """
    tasks = [asyncio.ensure_future(one) for one in several]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one, task in zip(several, tasks, strict=True):
            if one is not task:
                task.cancel()
    index = next(index for index, task in enumerate(tasks) if task in done)
    await tasks[index]
    return index


async def _drain(admin: Path) -> bool:
    """Have Envoy say that it is about to go; False where it doesn't answer."""
    timeout = aiohttp.ClientTimeout(total=ADMIN_WITHIN)
    try:
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(admin)), timeout=timeout) as session:
            for path in DRAIN:
                async with session.post(f"http://envoy{path}") as answer:
                    if answer.status != 200:
                        log.warning("Envoy doesn't drain: %s answers %d", path, answer.status)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        log.warning("Envoy doesn't answer, and is ended at once: %s", error)
        return False
    return True


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TERMINATE_WITHIN):
                await process.wait()
    if process.returncode is None:
        # Where the guard stays, the end of its input makes it kill Envoy; it must not be killed itself before.
        if process.stdin is not None:
            process.stdin.close()
        if sys.platform == "linux":
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()
