"""A gateway as `byway gateway` runs it, with the manager in this process."""

from __future__ import annotations

import asyncio
import random
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.manager.running import Running, running
from xds.paths import StateDir

PATIENCE = 30.0
GATEWAYS = """\
gateways:
- {{name: gw-1, tunnel: "{}", sidecars: "{}"}}
workloads:
"""


@contextmanager
def reserved_addresses(count: int) -> Iterator[list[str]]:
    """Addresses that nobody else is given until the end of the block, and on which Envoy can listen: it asks for
    SO_REUSEPORT as these do, and they listen to nothing."""
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            holder = stack.enter_context(socket.socket())
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            holder.bind(("127.0.0.1", 0))
            found.append(f"127.0.0.1:{holder.getsockname()[1]}")
        yield found


def quiet_port() -> int:
    """A free port that the system gives to nobody by itself, so that it is free a while later, too."""
    while True:
        with socket.socket() as holder, suppress(OSError):
            holder.bind(("127.0.0.1", random.randrange(20000, 30000)))
            return int(holder.getsockname()[1])


class Gateway:
    """A running `byway gateway`."""

    def __init__(self, process: asyncio.subprocess.Process, state: StateDir, log: Path, tunnel: str, side: str) -> None:
        self.process, self.state, self.tunnel, self.sidecars = process, state, tunnel, side
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    async def admin(self, path: str, *, post: bool = False) -> str:
        connector = aiohttp.UnixConnector(str(self.state.gateway_admin_socket("gw-1")))
        timeout = aiohttp.ClientTimeout(total=10)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.request("POST" if post else "GET", f"http://envoy{path}") as response,
        ):
            return await response.text()

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait for a condition that may be a coroutine function; says what was waited for."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    found = condition()
                    if await found if asyncio.iscoroutine(found) else found:
                        return
                    assert self.process.returncode is None, f"the gateway ended: {self.log}"
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{what}: not within {PATIENCE} s; {self.log}") from None

    async def listening(self) -> bool:
        try:
            found = await self.admin("/listeners")
        except (OSError, aiohttp.ClientError):
            return False
        return "laptops::" in found and "sidecars::" in found


@asynccontextmanager
async def gateway(state: StateDir, tunnel: str, sidecars: str, *, manager: str = "") -> AsyncIterator[Gateway]:
    log = state.root / "gateway.log"
    command = [str(Path(sys.executable).with_name("byway")), "gateway", "gw-1", "--state-dir", str(state.root)]
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *command, *(["--manager", manager] if manager else []), stdout=output, stderr=output, process_group=0
        )
    try:
        yield Gateway(process, state, log, tunnel, sidecars)
    finally:
        if process.returncode is None:
            # Envoy ends with it.
            process.kill()
        await process.wait()


def _short_folder() -> Path:
    """The paths of sockets are limited."""
    return Path(tempfile.mkdtemp(prefix="byway-gw-"))


@pytest.fixture
def folder() -> Iterator[Path]:
    path = _short_folder()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def addresses() -> Iterator[list[str]]:
    with reserved_addresses(2) as found:
        yield found


@pytest.fixture
async def there(folder: Path, addresses: list[str]) -> AsyncIterator[Running]:
    async with running(folder) as manager:
        manager.change(replace=("workloads:\n", GATEWAYS.format(*addresses)))
        manager.standalone.reload()
        yield manager


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def everywhere() -> AsyncIterator[tuple[Running, Gateway]]:
    """A manager and a gateway for all tests of a module, which leave both as they are."""
    path = _short_folder()
    try:
        with reserved_addresses(2) as found:
            async with running(path) as manager:
                manager.change(replace=("workloads:\n", GATEWAYS.format(*found)))
                manager.standalone.reload()
                async with gateway(manager.state, *found) as one:
                    await one.until(one.listening, "the gateway listens")
                    yield manager, one
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
async def one(there: Running, addresses: list[str]) -> AsyncIterator[Gateway]:
    async with gateway(there.state, *addresses) as found:
        await found.until(found.listening, "the gateway listens")
        yield found
