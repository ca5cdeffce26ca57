"""An HTTP/1.1 client that hides nothing: one connection, no retries, and an answer that breaks off is an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

from demo.world import Answer

PIECE = 64 << 10


class CutError(Exception):
    """The connection ended in the middle of an answer, or before it."""


class Connection:
    """One connection to a port of this machine. Requests go one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def close(self) -> None:
        self._writer.close()

    async def request(
        self,
        path: str = "/",
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes | None = None,
        chunked: bool = False,
    ) -> Answer:
        """Ask and read the whole answer, which may come before all of the body is sent. Raises CutError, OSError."""
        sending = await self._send(path, headers or {}, method, body, chunked)
        try:
            status, fields = await self._head()
            return Answer(status, fields, await self._body(fields))
        finally:
            if sending is not None:
                sending.cancel()
                with suppress(asyncio.CancelledError, OSError):
                    await sending

    async def stream(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[Answer, AsyncIterator[bytes]]:
        """Ask for an answer without end: its head, and its chunks as they come."""
        await self._send(path, headers or {}, "GET", None, chunked=False)
        status, fields = await self._head()
        return Answer(status, fields, b""), self._chunks()

    async def _send(
        self, path: str, headers: Mapping[str, str], method: str, body: bytes | None, chunked: bool
    ) -> asyncio.Task[None] | None:
        fields = {"host": "shop", **headers}
        if body is not None:
            fields |= {"transfer-encoding": "chunked"} if chunked else {"content-length": str(len(body))}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        self._writer.write("\r\n".join([*lines, "", ""]).encode())
        return asyncio.create_task(self._send_body(body, chunked)) if body is not None else None

    async def _send_body(self, body: bytes, chunked: bool) -> None:
        with suppress(OSError):
            for at in range(0, len(body), PIECE):
                piece = body[at : at + PIECE]
                self._writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                await self._writer.drain()
            if chunked:
                self._writer.write(b"0\r\n\r\n")

    async def _head(self) -> tuple[int, dict[str, str]]:
        status = int((await self._line()).split()[1])
        fields = {}
        while line := await self._line():
            name, _, value = line.partition(":")
            fields[name.strip().lower()] = value.strip()
        return status, fields

    async def _line(self) -> str:
        line = await self._reader.readline()
        if not line.endswith(b"\n"):
            raise CutError(f"the connection ended after {line!r}")
        return line.decode("latin-1").rstrip("\r\n")

    async def _body(self, fields: Mapping[str, str]) -> bytes:
        if fields.get("transfer-encoding", "").lower() == "chunked":
            return b"".join([chunk async for chunk in self._chunks()])
        return await self._exactly(int(fields["content-length"]))

    async def _chunks(self) -> AsyncIterator[bytes]:
        while True:
            size = int(await self._line(), 16)
            chunk = (await self._exactly(size + 2))[:-2]
            if not size:
                return
            yield chunk

    async def _exactly(self, size: int) -> bytes:
        try:
            return await self._reader.readexactly(size)
        except asyncio.IncompleteReadError as error:
            raise CutError(f"the connection ended {size - len(error.partial)} bytes early") from error


async def ask(
    port: int,
    path: str = "/",
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "GET",
    body: bytes | None = None,
    chunked: bool = False,
) -> Answer:
    """One request on a connection of its own."""
    connection = await Connection.open(port)
    try:
        return await connection.request(path, headers, method=method, body=body, chunked=chunked)
    finally:
        connection.close()
