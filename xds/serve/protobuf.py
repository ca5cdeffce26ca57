"""The wire format of protobuf messages: fields, one by one, and nothing of what they mean.

Written by hand because the server reads a few fields of large messages and copies serialised ones into its own; a
general parser would build objects for all of it. (https://protobuf.dev/programming-guides/encoding/)

Whatever the input, reading raises ValueError and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        if at >= len(data):
            raise ValueError(f"truncated message: a number is cut off at byte {at}")
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
        if shift >= 70:
            raise ValueError(f"malformed message: the number before byte {at} has more than ten bytes")


def fields(data: bytes, skip: int = 0) -> Iterator[tuple[int, int, int | bytes]]:
    """Yield (field number, wire type, value) of a serialised message; fixed-size values are bytes.

    Byte fields with the number `skip` are passed over without copying them. Raises ValueError where the bytes are no
    protobuf message. Groups, which proto3 lacks, count as malformed.
    """
    at, end = 0, len(data)
    while at < end:
        tag, at = (data[at], at + 1) if data[at] < 0x80 else _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise ValueError(f"malformed message: field number {number} before byte {at}")
        if kind == VARINT:
            value, at = _varint(data, at)
            yield number, kind, value
            continue
        if kind == BYTES:
            size, at = (data[at], at + 1) if at < end and data[at] < 0x80 else _varint(data, at)
        elif kind in {FIXED64, FIXED32}:
            size = 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"malformed message: wire type {kind} before byte {at}")
        if size > end - at:
            raise ValueError(f"truncated message: field {number} says {size} bytes, {end - at} are left")
        if number != skip or kind != BYTES:
            yield number, kind, data[at : at + size]
        at += size


def as_bytes(name: str, kind: int, value: int | bytes) -> bytes:
    """The value of a field that has to be bytes; `name` is for the error."""
    if kind != BYTES or isinstance(value, int):
        raise ValueError(f"{name} has wire type {kind}, not {BYTES}: the client speaks another protocol")
    return value


def as_text(name: str, kind: int, value: int | bytes) -> str:
    """The value of a field that has to be a string; `name` is for the error."""
    try:
        return as_bytes(name, kind, value).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8: {error.reason} at byte {error.start}") from None


def as_number(name: str, kind: int, value: int | bytes) -> int:
    """The value of a field that has to be a varint; `name` is for the error."""
    if isinstance(value, bytes):
        raise ValueError(f"{name} has wire type {kind}, not {VARINT}: the client speaks another protocol")
    return value


def _encode_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_field(number: int, value: bytes | str) -> bytes:
    """One length-delimited field: tag, length, value."""
    data = value.encode() if isinstance(value, str) else value
    return _encode_varint(number << 3 | BYTES) + _encode_varint(len(data)) + data


def encode_number(number: int, value: int) -> bytes:
    """One varint field: tag, value. `value` is not negative."""
    return _encode_varint(number << 3 | VARINT) + _encode_varint(value)
