"""The same bytes as betterproto2's `bytes(message)`, about a hundred times faster.

betterproto2 validates a message again for each nested message when it serialises (a pydantic validator is built each
time), which costs 0.8 ms for a small route. Messages are validated when they are constructed; that is where a
misspelt field or a wrong type is to be found. So here each class is looked at once and becomes a list of field
writers.

This reads betterproto2's field metadata, which is not public: a test compares the bytes over every message that we
author. https://github.com/danielgtaylor/python-betterproto/issues/153
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from typing import Any

import betterproto2
from envoy_data_plane.google.protobuf import Any as AnyMessage
from envoy_data_plane.message_pool import default_message_pool

from xds.compile.wire import varint

Encode = Callable[[Any], bytes]
_VARINTS = frozenset(
    {
        betterproto2.TYPE_ENUM,
        betterproto2.TYPE_BOOL,
        betterproto2.TYPE_INT32,
        betterproto2.TYPE_INT64,
        betterproto2.TYPE_UINT32,
        betterproto2.TYPE_UINT64,
    }
)
_FIXED = {betterproto2.TYPE_DOUBLE: (1, "<d"), betterproto2.TYPE_FLOAT: (5, "<f")}


def encode(message: betterproto2.Message) -> bytes:
    """Serialise a message."""
    parts: list[bytes] = []
    for name, default, write in _plan(type(message)):
        value = getattr(message, name)
        if value is not None and value != default:
            parts.append(write(value))
    return b"".join(parts)


def pack(message: betterproto2.Message) -> AnyMessage:
    """The message as google.protobuf.Any."""
    return AnyMessage(type_url=default_message_pool.type_to_url[type(message)], value=encode(message))


@cache
def _plan(cls: type[betterproto2.Message]) -> list[tuple[str, Any, Encode]]:
    """Name, default and writer of each field, in the order in which betterproto2 writes them."""
    meta: Any = getattr(cls, "_betterproto")  # noqa: B009  mypy takes it for a bound property
    return [(name, meta.default_gen[name](), _writer(field)) for name, field in meta.meta_by_field_name.items()]


def _writer(field: betterproto2.FieldMetadata) -> Encode:
    if field.map_meta:
        return _map_writer(field)
    tag, payload = _single(field)
    if not field.repeated:
        return lambda value: tag + payload(value)
    if field.proto_type in betterproto2.PACKED_TYPES:
        packed = varint(field.number << 3 | 2)

        def write_packed(values: Any) -> bytes:
            body = b"".join(map(payload, values))
            return packed + varint(len(body)) + body

        return write_packed
    return lambda values: b"".join(tag + payload(value) for value in values)


def _map_writer(field: betterproto2.FieldMetadata) -> Encode:
    """Entries in insertion order, as betterproto2 has them: whoever authors a map sorts it."""
    if field.map_meta is None:
        raise TypeError("not a map")
    tag = varint(field.number << 3 | 2)
    (key_tag, key), (value_tag, value) = (_single(part) for part in field.map_meta)

    def write(entries: Any) -> bytes:
        out = bytearray()
        for name, entry in entries.items():
            body = key_tag + key(name) + value_tag + value(entry)
            out += tag + varint(len(body)) + body
        return bytes(out)

    return write


def _single(field: betterproto2.FieldMetadata) -> tuple[bytes, Encode]:
    """The tag of one value of a field, and what follows it."""
    kind = field.proto_type
    if kind in _VARINTS:
        return varint(field.number << 3), _signed
    if kind in _FIXED:
        wire_type, code = _FIXED[kind]
        return varint(field.number << 3 | wire_type), struct.Struct(code).pack
    tag = varint(field.number << 3 | 2)
    if kind == betterproto2.TYPE_STRING:
        return tag, lambda value: _delimited(value.encode())
    if kind == betterproto2.TYPE_BYTES:
        return tag, _delimited
    if kind != betterproto2.TYPE_MESSAGE:
        raise NotImplementedError(f"fields of type {kind}")
    if field.unwrap is None:
        return tag, lambda value: _delimited(encode(value))
    wrapper: Any = field.unwrap()
    return tag, lambda value: _delimited(encode(wrapper.from_wrapped(value)))


def _delimited(body: bytes) -> bytes:
    return varint(len(body)) + body


def _signed(value: int) -> bytes:
    """Negative numbers are written as their 64-bit two's complement."""
    return varint(int(value) & 0xFFFFFFFFFFFFFFFF)
