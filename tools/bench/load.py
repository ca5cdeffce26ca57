"""A load generator: connections with one request at a time each, for some seconds. One line of JSON at the end.

It is its own process, and does as little as it can for each request, so that what is measured is the other side.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import sys
import time


class Client(asyncio.Protocol):
    """One connection; it asks again as soon as it has the answer, whose length is the same each time."""

    def __init__(self, request: bytes, took: list[float], failed: list[str]) -> None:
        self._request = request
        self._took = took
        self._failed = failed
        self._seen = bytearray()
        self._length = 0
        self._asked = 0.0
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.stopping = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._seen += data
        if not self._length:
            self._length = self._measure()
        if self._length and len(self._seen) >= self._length:
            self._took.append(time.perf_counter() - self._asked)
            if not self._seen.startswith(b"HTTP/1.1 200"):
                self._failed.append(self._seen[:200].decode(errors="replace"))
            self._seen.clear()
            self._length = 0
            if self.stopping:
                self._transport.close()
            else:
                self._ask()

    def _measure(self) -> int:
        head, separator, _ = self._seen.partition(b"\r\n\r\n")
        if not separator:
            return 0
        fields = head.lower().partition(b"\r\ncontent-length:")[2]
        return len(head) + len(separator) + int(fields.partition(b"\r\n")[0])

    def connection_lost(self, error: Exception | None) -> None:
        if not self.stopping:
            self._failed.append(f"the connection was closed: {error}")
        self.closed.set_result(None)


async def run(port: int, connections: int, seconds: float, headers: list[str]) -> dict[str, object]:
    """Ask, and say what came of it: requests per second, latencies in milliseconds, failures."""
    lines = ["GET / HTTP/1.1", "host: bench", *headers, "", ""]
    request = "\r\n".join(lines).encode()
    took: list[float] = []
    failed: list[str] = []
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    clients = []
    for _ in range(connections):
        _, client = await loop.create_connection(lambda: Client(request, took, failed), "127.0.0.1", port)
        clients.append(client)
    await asyncio.sleep(seconds)
    elapsed = time.perf_counter() - began
    done = len(took)
    for client in clients:
        client.stopping = True
    await asyncio.wait([client.closed for client in clients], timeout=5)
    times = sorted(took[:done])
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "requests": done,
        "per_second": done / elapsed,
        "p50_ms": 1000 * statistics.median(times) if times else None,
        "p99_ms": 1000 * times[min(len(times) - 1, int(len(times) * 0.99))] if times else None,
        "failed": len(failed),
        "failure": failed[0] if failed else "",
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="where to ask, on loopback")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--header", action="append", default=[], help="NAME: VALUE, repeatable")
    given = parser.parse_args()
    json.dump(asyncio.run(run(given.port, given.connections, given.seconds, given.header)), sys.stdout)


if __name__ == "__main__":
    main()
