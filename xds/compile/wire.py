"""The little of protobuf's wire format that splicing needs (https://protobuf.dev/programming-guides/encoding/)."""

from __future__ import annotations

from collections.abc import Iterable


def varint(number: int) -> bytes:
    """Encode a non-negative integer."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, payload: bytes) -> bytes:
    """One length-delimited field: a string, or an embedded message."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def text(number: int, value: str) -> bytes:
    """One string field."""
    return field(number, value.encode())


def repeated(number: int, payloads: Iterable[bytes]) -> bytes:
    """A repeated field of messages."""
    return b"".join(field(number, payload) for payload in payloads)
