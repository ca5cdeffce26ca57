"""A state directory, and the command line on it as a process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xds.client.files import LaptopFiles
from xds.paths import StateDir

BYWAY = [sys.executable, "-m", "tests.client.byway"]
HERE = Path(__file__).parents[2]


async def until(condition: Callable[[], Any], timeout: float = 10.0) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110  what is waited for is in other processes
            await asyncio.sleep(0.01)


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Laptop:
    """A state directory and the `byway` command on it."""

    def __init__(self, root: Path) -> None:
        self.state = StateDir(root)
        self.files = LaptopFiles.of(self.state)
        self.environment = {
            **{key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "BYWAY_STATE"}},
            "BYWAY_STATE": str(root),
            "BYWAY_NOTIFY": "0",
            "USER": "alice",
            "LOGNAME": "alice",
            "PYTHONPATH": str(HERE),
        }

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *BYWAY,
            *arguments,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def byway(self, *arguments: str) -> Result:
        process = await self.start(*arguments)
        out, err = await process.communicate()
        assert process.returncode is not None
        return Result(process.returncode, out.decode(), err.decode())

    @property
    def pid(self) -> int:
        """The daemon's; 0 where none runs."""
        try:
            return int(self.files.pid.read_text() or 0)
        except OSError:
            return 0

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self.pid:
                os.kill(self.pid, signal.SIGKILL)
