"""A gateway as `byway gateway` runs it, with the manager in this process."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.manager.running import Running, running
from xds.paths import StateDir

PATIENCE = 30.0
GATEWAYS = """\
gateways:
- {{name: gw-1, tunnel: "{}", sidecars: "{}"}}
workloads:
"""


def free_addresses(count: int) -> list[str]:
    """Different ones: all are bound at once."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    found = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return found


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


@pytest.fixture
def folder() -> Any:
    """A short one: the paths of sockets are limited."""
    import shutil
    import tempfile

    path = Path(tempfile.mkdtemp(prefix="byway-gw-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
async def addresses() -> list[str]:
    return free_addresses(2)


@pytest.fixture
async def there(folder: Path, addresses: list[str]) -> AsyncIterator[Running]:
    async with running(folder) as manager:
        manager.change(replace=("workloads:\n", GATEWAYS.format(*addresses)))
        manager.standalone.reload()
        yield manager


@pytest.fixture
async def one(there: Running, addresses: list[str]) -> AsyncIterator[Gateway]:
    async with gateway(there.state, *addresses) as found:
        await found.until(found.listening, "the gateway listens")
        yield found
