"""The laptop's Envoy as a process: it ends with the daemon, and what it says is heard."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xds import guard
from xds.client.tunnel.envoy_carrier import CARRIER_LOG
from xds.paths import data_file
from xds.terminal.words import plain

log = logging.getLogger(__name__)

TERMINATE_WITHIN = 1.0
"""Seconds; after that it is killed. A stopped process doesn't hear SIGTERM."""
LINE_LIMIT = 1 << 20
LINES_PER_RUN = 200
"""Of Envoy's own words, so many go into the daemon's log."""

OnCarrier = Callable[[int, dict[str, Any]], None]
"""Called with the number of a dialler and what Envoy says of its carrier that ended."""


def command(binary: Path) -> list[str]:
    """Envoy's command line; no secret is in it."""
    return [
        str(binary),
        *("-c", str(data_file("laptop.yaml").absolute())),
        *("--concurrency", "1"),
        # How long requests in flight on a tunnel may go on when the tunnel is replaced.
        *("--drain-time-s", "5", "--drain-strategy", "immediate"),
        # A gateway that can't be reached is an error line five times a second; the others tell of what is meant so.
        *("--log-level", "warning"),
        *("--component-log-level", "io:off,main:critical,misc:error,connection:error"),
        # Why a carrier ended is worth little ten seconds later.
        *("--file-flush-interval-msec", "100"),
        "--disable-hot-restart",
    ]


class EnvoyProcess:
    """One run of Envoy."""

    def __init__(self, process: asyncio.subprocess.Process, on_carrier: OnCarrier) -> None:
        self._process = process
        self._on_carrier = on_carrier
        self._words: deque[str] = deque(maxlen=20)
        self._said = 0
        self._readers = [asyncio.create_task(self._read_stdout()), asyncio.create_task(self._read_stderr())]

    @classmethod
    async def start(cls, binary: Path, folder: Path, on_carrier: OnCarrier) -> EnvoyProcess:
        """Start it in its folder. Raises OSError."""
        guarded = [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), *command(binary)]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *guarded, cwd=folder, stdin=pipe, stdout=pipe, stderr=pipe, limit=LINE_LIMIT
        )
        log.info("Envoy started as process %d", process.pid)
        return cls(process, on_carrier)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def last_words(self) -> str:
        """The last that it said, for people."""
        return plain(self._words[-1]) if self._words else ""

    async def wait(self) -> str:
        """Wait for its end; says how it ended."""
        code = await self._process.wait()
        await asyncio.wait(self._readers, timeout=TERMINATE_WITHIN)
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"Envoy {how}" + (f": {self.last_words}" if code > 0 and self.last_words else "")

    async def end(self) -> None:
        """End it, if it hasn't ended."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            if not await self._ended_within(TERMINATE_WITHIN):
                # Where the guard stays, the end of its input makes it kill Envoy; it must not be killed itself first.
                if self._process.stdin is not None:
                    self._process.stdin.close()
                if sys.platform == "linux" or not await self._ended_within(TERMINATE_WITHIN):
                    with contextlib.suppress(ProcessLookupError):
                        self._process.kill()
                await self._process.wait()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    async def _ended_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._process.wait()
        return self._process.returncode is not None

    async def _read_stdout(self) -> None:
        assert self._process.stdout is not None
        async for line in _lines(self._process.stdout):
            try:
                entry = json.loads(line)
                self._on_carrier(int(entry[CARRIER_LOG]), entry)
            except (ValueError, KeyError, TypeError):
                self._say(line)

    async def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        async for line in _lines(self._process.stderr):
            self._say(line)

    def _say(self, line: bytes) -> None:
        text = line.decode(errors="replace").strip()
        if not text:
            return
        self._words.append(text)
        self._said += 1
        if self._said <= LINES_PER_RUN:
            log.warning("envoy: %s", plain(text))


async def _lines(reader: asyncio.StreamReader) -> Any:
    while True:
        try:
            line = await reader.readline()
        except ValueError:
            continue  # Longer than any line that matters.
        if not line:
            return
        yield line
