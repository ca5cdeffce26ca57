"""A laptop by hand: the carrier to a gateway, the tunnel's handshake on it, and requests that come back.

It is written with h2 and nothing of the laptop's own code, so that the gateway is tested and not a pair that agrees.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import h2.config
import h2.connection
import h2.events

AUTHORITY = "tunnel.byway:443"
PATIENCE = 15.0


class Carrier:
    """One CONNECT stream to a gateway, as a stream of bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self._stream = 0
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.bytes = asyncio.StreamReader()
        self._task: asyncio.Task[None] | None = None

    async def ask(self, token: str, authority: str = AUTHORITY) -> int:
        """Open the stream; the status of the answer, or 0 where there was none."""
        self._h2.initiate_connection()
        self._stream = self._h2.get_next_available_stream_id()
        proof = [("authorization", f"Bearer {token}")] if token else []
        self._h2.send_headers(self._stream, [(":method", "CONNECT"), (":authority", authority), *proof])
        self._writer.write(self._h2.data_to_send())
        self._task = asyncio.create_task(self._read())
        return await asyncio.wait_for(self.status, PATIENCE)

    def write(self, data: bytes) -> None:
        self._h2.send_data(self._stream, data)
        self._writer.write(self._h2.data_to_send())

    async def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self._reader.read(65536):
                for event in self._h2.receive_data(data):
                    self._take(event)
                self._writer.write(self._h2.data_to_send())
        self._end()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            headers = {bytes(name): bytes(value) for name, value in event.headers or ()}
            self.status.set_result(int(headers[b":status"]))
        elif isinstance(event, h2.events.DataReceived):
            self._h2.acknowledge_received_data(event.flow_controlled_length or 0, self._stream)
            self.bytes.feed_data(event.data or b"")
        elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
            self._end()

    def _end(self) -> None:
        self.bytes.feed_eof()
        if not self.status.done():
            self.status.set_result(0)

    @property
    def open(self) -> bool:
        return self._task is not None and not self._task.done() and not self.bytes.at_eof()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._writer.close()


@asynccontextmanager
async def carrier(address: str, authority: bytes) -> AsyncIterator[Carrier]:
    """A TLS connection to a gateway whose certificate has to be one of this authority's for the right name."""
    context = ssl.create_default_context(cadata=authority.decode())
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname="gateway.byway")
    found = Carrier(reader, writer)
    try:
        yield found
    finally:
        await found.close()


def handshake(node: str, token: str, *, cluster: str = "") -> bytes:
    """What Envoy's initiator sends to begin a tunnel."""
    headers = {
        "host": "gateway",
        "x-envoy-reverse-tunnel-node-id": node,
        "x-envoy-reverse-tunnel-cluster-id": cluster or f"u.{node}",
        "x-envoy-reverse-tunnel-tenant-id": "default",
        "x-envoy-reverse-tunnel-upstream-cluster-name": "gateway",
        "authorization": f"Bearer {token}",
        "content-length": "0",
    }
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    return f"GET /reverse_connections/request HTTP/1.1\r\n{''.join(lines)}\r\n".encode()


async def answer(stream: asyncio.StreamReader) -> int:
    """The status of an answer to a handshake; 0 where the gateway hung up instead."""
    try:
        head = await asyncio.wait_for(stream.readuntil(b"\r\n\r\n"), PATIENCE)
    except asyncio.IncompleteReadError:
        return 0
    return int(head.split()[1])
