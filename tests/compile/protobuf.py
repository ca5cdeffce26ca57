"""The fields of a serialised message, without knowing its type: quick, and no byte is changed.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator


def fields(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, payload and the field's own bytes, of each field; the payload of a number is empty."""
    at = 0
    while at < len(data):
        start = at
        tag, at = _varint(data, at)
        if tag & 7 == 0:
            payload = b""
            _, at = _varint(data, at)
        elif tag & 7 == 2:
            size, at = _varint(data, at)
            payload, at = data[at : at + size], at + size
        else:
            raise ValueError(f"wire type {tag & 7} at {start}")
        yield tag >> 3, payload, data[start:at]


def payloads(data: bytes, *path: int) -> list[bytes]:
    """What stands at a path of field numbers, in order."""
    found = [data]
    for step in path:
        found = [payload for one in found for number, payload, _ in fields(one) if number == step]
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at
