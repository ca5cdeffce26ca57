"""As much of an HTTP/1.1 client as asking an Envoy takes: what is sent is what was given, byte for byte."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

LIMIT = 16 << 20
"""Bytes of a body that are read at most."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a response; names in lower case, of repeated headers the last."""

    status: int
    headers: Mapping[str, str]


class BrokenError(OSError):
    """What came is no response."""


async def read_head(reader: asyncio.StreamReader) -> Head:
    """The head of the response, without those that only announce it (1xx). Raises OSError."""
    while True:
        try:
            status = int((await reader.readline()).split(b" ", 2)[1])
            headers = {}
            while line := (await reader.readline()).strip():
                name, _, value = line.partition(b":")
                headers[name.decode("latin-1").lower()] = value.strip().decode("latin-1")
        except (IndexError, ValueError) as error:
            raise BrokenError("the answer is no HTTP response") from error
        if status >= 200 or status == 101:
            return Head(status, headers)


async def read_body(reader: asyncio.StreamReader, head: Head) -> bytes:
    """The body that follows. Raises OSError."""
    try:
        if head.headers.get("transfer-encoding", "").lower() == "chunked":
            return await _chunks(reader)
        if "content-length" in head.headers:
            return await reader.readexactly(min(int(head.headers["content-length"]), LIMIT))
        return await reader.read(LIMIT)
    except (asyncio.IncompleteReadError, ValueError) as error:
        raise BrokenError("the answer broke off") from error


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readline()).partition(b";")[0], 16):
        if len(body) + size > LIMIT:
            raise BrokenError("the answer is too long")
        body += (await reader.readexactly(size + 2))[:-2]
    return body
