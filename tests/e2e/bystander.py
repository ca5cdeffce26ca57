"""Somebody who has nothing to do with it: asks and asks on kept-alive connections, reads an open stream, and sits at a
breakpoint.

    python -m tests.e2e.bystander --port 18081 --header 'x-telepresence-id: bob-8a1c2e' --ordinary shop-1 --other bob

Each thing that should not be is a line that begins with `WRONG`; the last line, at SIGTERM, counts what was done.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from tests.e2e.http1 import Connection, CutError

PAUSE = 0.01
BREAKPOINT = 8


class Bystander:
    def __init__(self, port: int, header: dict[str, str]) -> None:
        self._port = port
        self._header = header
        self.count = {"ordinary": 0, "other": 0, "events": 0}
        self.slowest = 0.0

    async def ask(self, kind: str, headers: dict[str, str], who: str) -> None:
        """Ask for ever on one connection."""
        connection = await Connection.open(self._port)
        while True:
            began = time.monotonic()
            answer = await connection.request("/_hello", headers)
            self.slowest = max(self.slowest, time.monotonic() - began)
            if answer.status != 200 or json.loads(answer.body)["who"] != who:
                print("WRONG", kind, answer, flush=True)
            self.count[kind] += 1
            await asyncio.sleep(PAUSE)

    async def read(self, who: str) -> None:
        """Read an open stream for ever."""
        _, chunks = await (await Connection.open(self._port)).stream("/stream", self._header)
        async for chunk in chunks:
            if who.encode() not in chunk:
                print("WRONG stream", chunk, flush=True)
            self.count["events"] += 1
        print("WRONG stream: it ended", flush=True)

    async def wait(self, who: str) -> None:
        """Requests that are answered late, as those of a process at a breakpoint."""
        connection = await Connection.open(self._port)
        while True:
            began = time.monotonic()
            answer = await connection.request(f"/_sleep?seconds={BREAKPOINT}", self._header)
            if answer.status != 200 or json.loads(answer.body)["who"] != who or time.monotonic() - began < BREAKPOINT:
                print("WRONG breakpoint", answer, flush=True)
            print("answered after", BREAKPOINT, "seconds", flush=True)

    async def run(self, ordinary: str, other: str) -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        tasks = [
            asyncio.create_task(_watched("ordinary", lambda: self.ask("ordinary", {}, ordinary))),
            asyncio.create_task(_watched("other", lambda: self.ask("other", self._header, other))),
            asyncio.create_task(_watched("stream", lambda: self.read(other))),
            asyncio.create_task(_watched("breakpoint", lambda: self.wait(other))),
        ]
        await stop.wait()
        for task in tasks:
            task.cancel()
        print(json.dumps({**self.count, "slowest": self.slowest}), flush=True)


async def _watched(kind: str, what: Callable[[], Awaitable[None]]) -> None:
    try:
        await what()
    except (OSError, CutError) as error:
        print("WRONG", kind, repr(error), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--header", required=True)
    parser.add_argument("--ordinary", required=True)
    parser.add_argument("--other", required=True)
    arguments = parser.parse_args()
    name, _, value = arguments.header.partition(": ")
    bystander = Bystander(arguments.port, {name: value})
    with suppress(KeyboardInterrupt):
        asyncio.run(bystander.run(arguments.ordinary, arguments.other))


if __name__ == "__main__":
    main()
