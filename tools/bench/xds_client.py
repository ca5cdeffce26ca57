"""Many delta streams that acknowledge all they get, where there is no Go to do it for less.

`python -m bench.xds_client` takes and answers the same lines as the client in `tools/bench/peer`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import grpc.aio

from xds.serve.protobuf import encode_field, fields
from xds.serve.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
TYPES = (CLUSTER, ENDPOINT, LISTENER, ROUTE)
AT_ONCE = 32
OPTIONS = (
    # Each stream has its own connection, as sidecars do.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
)


class Crowd:
    """All streams."""

    def __init__(self) -> None:
        self.got = 0
        self._wanted = 0
        self._done: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._streams: list[asyncio.Task[None]] = []

    async def open(self, address: str, streams: int, groups: int) -> int:
        """Open streams, a few at a time; the i-th is of group i modulo the groups."""
        limit = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> None:
            async with limit:
                ready = asyncio.Event()
                task = asyncio.create_task(self._follow(address, number, number % groups, ready))
                self._streams.append(task)
                waiting = asyncio.create_task(ready.wait())
                await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
                if task.done():
                    task.result()

        first = len(self._streams)
        await asyncio.gather(*(one(number) for number in range(first, first + streams)))
        return len(self._streams)

    def expect(self, responses: int) -> None:
        """Count from nothing, and note when so many are there."""
        self.got, self._wanted = 0, responses
        self._done = asyncio.get_running_loop().create_future()

    async def wait(self, seconds: float) -> float:
        """When the last response came; seconds since the epoch."""
        try:
            return await asyncio.wait_for(asyncio.shield(self._done), seconds)
        except TimeoutError:
            raise TimeoutError(f"{self.got} of {self._wanted} responses came") from None

    async def _follow(self, address: str, number: int, group: int, ready: asyncio.Event) -> None:
        async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
            call: Any = channel.stream_stream(METHOD)()
            node = encode_field(1, encode_field(1, f"n{number}") + encode_field(2, f"g{group}"))
            for kind in TYPES:
                await call.write(node + encode_field(2, kind) + encode_field(3, "*"))
                node = b""
            seen = set()
            while (data := await call.read()) is not grpc.aio.EOF:
                kind, nonce = _read(data)
                self.got += 1
                if self.got == self._wanted:
                    self._done.set_result(time.time())
                await call.write(encode_field(2, kind) + encode_field(6, nonce))
                seen.add(kind)
                if len(seen) == len(TYPES):
                    ready.set()
            raise RuntimeError(f"the stream ended: {await call.code()} {await call.details()}")


def _read(data: bytes) -> tuple[Any, Any]:
    """The type URL (4) and the nonce (5) of a DeltaDiscoveryResponse."""
    found = {
        number: bytes(value) for number, _, value in fields(data) if number in {4, 5} and not isinstance(value, int)
    }
    return found[4], found[5]


async def run() -> None:
    """Answer each line of standard input until it ends."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    crowd = Crowd()
    print(json.dumps({"ready": True}), flush=True)
    while line := await lines.readline():
        given = json.loads(line)
        said: dict[str, float] = {}
        match given["do"]:
            case "open":
                said = {"streams": await crowd.open(given["address"], given["streams"], given["groups"])}
            case "expect":
                crowd.expect(given["each"])
            case "count":
                said = {"count": crowd.got}
            case "wait":
                said = {"at": await crowd.wait(given["seconds"])}
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    asyncio.run(run())
