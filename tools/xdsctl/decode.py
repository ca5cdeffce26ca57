"""Serialised resources as canonical JSON with the names of Envoy's protos, every Any expanded.

The names are those of Envoy's own config dump (`type_url`, not `typeUrl`), so that both can be compared.

betterproto2 takes ten milliseconds for each route to parse it and to make JSON of it, since it validates each nested
message twice. So the wire format is read here, led by the fields that its messages declare, and JSON comes out at
once. A test compares both ways over everything that is compiled. What an Any holds may be of any type: its module is
imported when the type is met, which is quicker than importing all of them.
https://protobuf.dev/programming-guides/encoding/ https://protobuf.dev/programming-guides/json/
"""

from __future__ import annotations

import base64
import importlib
import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import betterproto2
from betterproto2 import Casing, Message
from envoy_data_plane.google.protobuf import Any as AnyMessage
from envoy_data_plane.google.protobuf import Int64Value, UInt64Value
from envoy_data_plane.message_pool import default_message_pool

from xds.api.byway.manager import v1
from xdsctl.resources import Resource

Json = Any
_MESSAGES = "envoy_data_plane"
_LENGTH_DELIMITED = 2
_STRUCTS = {
    betterproto2.TYPE_DOUBLE: "<d",
    betterproto2.TYPE_FLOAT: "<f",
    betterproto2.TYPE_FIXED32: "<I",
    betterproto2.TYPE_SFIXED32: "<i",
    betterproto2.TYPE_FIXED64: "<Q",
    betterproto2.TYPE_SFIXED64: "<q",
}
_SIZES = {1: 8, 5: 4}


class UnreadableError(ValueError):
    """The bytes are not what their type says, or nobody knows the type."""


def resource(message: v1.Resource) -> Resource:
    """A resource of the manager's reply."""
    return Resource(message.name, decode(message.type_url, message.body), message.version, message.acked_version)


def decode(type_url: str, body: bytes) -> dict[str, Json]:
    """The JSON of a message in an Any. What can't be read is shown as its bytes, in base64, and why."""
    try:
        kind = message_type(type_url)
        found = to_json(kind, body)
    except UnreadableError as error:
        return {"@type": type_url, "unreadable": str(error), "value": base64.b64encode(body).decode()}
    return {"@type": type_url, **(found if _is_plain(kind) else {"value": found})}


def message_type(type_url: str) -> type[Message]:
    """The class for a type URL. Raises UnreadableError."""
    known: dict[str, type[Message]] = default_message_pool.url_to_type
    package = type_url.rpartition("/")[2].rpartition(".")[0]
    # A nested message's package is that of the outermost one.
    while type_url not in known and package:
        try:
            importlib.import_module(f"{_MESSAGES}.{package}")
        except ModuleNotFoundError:
            package = package.rpartition(".")[0]
            continue
        break
    if type_url not in known:
        raise UnreadableError(f"the type {type_url} is not known")
    return known[type_url]


def to_json(kind: type[Message], body: bytes) -> Json:
    """The JSON of a serialised message. Raises UnreadableError."""
    if issubclass(kind, AnyMessage):
        parts = dict(_records(body))
        return decode(_text(parts[1]), _bytes(parts.get(2, b""))) if 1 in parts else {}
    return _message(kind, body) if _is_plain(kind) else _special(kind, body)


def _is_plain(kind: type[Message]) -> bool:
    """Whether JSON knows nothing particular of it, as it does of durations and wrappers."""
    return kind.to_dict is Message.to_dict


@lru_cache(maxsize=4096)
def _special(kind: type[Message], body: bytes) -> Json:
    try:
        found = kind.parse(body).to_dict(casing=Casing.SNAKE)
    except (ValueError, EOFError, TypeError) as error:
        raise UnreadableError(f"{kind.__name__}: {error}") from error
    # JSON has these as strings, as it has all numbers of 64 bits; betterproto2 forgets that of its wrappers.
    return str(found) if kind in {Int64Value, UInt64Value} else found


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a message: its name in JSON, and what makes JSON of a value on the wire."""

    name: str
    read: Callable[[Json], Json]
    repeated: bool = False
    packed: str = ""
    shown_empty: bool = True
    entry: _Field | None = None
    """The value of a map's entry."""


@cache
def _fields(kind: type[Message]) -> dict[int, _Field]:
    """The fields of a message by number, in the order in which they are shown."""
    meta: Any = getattr(kind, "_betterproto")  # noqa: B009  mypy takes it for a bound property
    return {
        each.number: _field(name.rstrip("_"), each, meta.cls_by_field[name])
        for name, each in meta.meta_by_field_name.items()
    }


def _field(name: str, meta: betterproto2.FieldMetadata, kind: Any) -> _Field:
    if meta.map_meta:
        value = _field("value", meta.map_meta[1], getattr(kind, "_betterproto").cls_by_field["value"])  # noqa: B009
        return _Field(name, lambda entry: _message(kind, _bytes(entry)), entry=value)
    if meta.proto_type == betterproto2.TYPE_MESSAGE:
        held = meta.unwrap() if meta.unwrap else kind
        return _Field(name, lambda value: to_json(held, _bytes(value)), repeated=bool(meta.repeated))
    packed = meta.proto_type if meta.proto_type in betterproto2.PACKED_TYPES else ""
    shown_empty = bool(meta.optional or meta.repeated)
    return _Field(name, _scalar(meta.proto_type, kind), bool(meta.repeated), packed, shown_empty)


def _message(kind: type[Message], body: bytes) -> dict[str, Json]:
    fields = _fields(kind)
    found: dict[str, Json] = {}
    for number, value in _records(body):
        field = fields.get(number)
        if field is None:
            continue
        if field.entry:
            entry = field.read(value)
            found.setdefault(field.name, {})[str(entry.get("key", ""))] = entry.get("value", _empty(field.entry))
        elif field.repeated:
            values = _unpacked(field.packed, value) if field.packed and isinstance(value, bytes) else [value]
            found.setdefault(field.name, []).extend(map(field.read, values))
        else:
            found[field.name] = field.read(value)
    kept = ((field, found[field.name]) for field in fields.values() if field.name in found)
    return {field.name: value for field, value in kept if field.shown_empty or value not in ("", 0, False, "0")}


def _empty(field: _Field) -> Json:
    """What a map's entry without a value has."""
    if field.packed in _STRUCTS:
        return field.read(bytes(struct.calcsize(_STRUCTS[field.packed])))
    return field.read(0 if field.packed else b"")


_SCALARS: dict[str, Callable[[Json], Json]] = {
    betterproto2.TYPE_STRING: lambda value: _text(value),
    betterproto2.TYPE_BYTES: lambda value: base64.b64encode(_bytes(value)).decode(),
    betterproto2.TYPE_BOOL: lambda value: bool(_number(value)),
    betterproto2.TYPE_INT32: lambda value: _signed(value, 32),
    betterproto2.TYPE_UINT32: lambda value: _number(value) & 0xFFFFFFFF,
    betterproto2.TYPE_SINT32: lambda value: _zigzag(value),
    # JSON's numbers are doubles: 64 bits are written as strings.
    betterproto2.TYPE_INT64: lambda value: str(_signed(value, 64)),
    betterproto2.TYPE_UINT64: lambda value: str(_number(value)),
    betterproto2.TYPE_SINT64: lambda value: str(_zigzag(value)),
}


def _scalar(proto_type: str, kind: Any) -> Callable[[Json], Json]:
    """What makes JSON of a value on the wire: an integer, or bytes."""
    if proto_type == betterproto2.TYPE_ENUM:
        names = {int(member): member.proto_name or member.name for member in kind}
        return lambda value: names.get(number := _signed(value, 32), number)
    if proto_type in _STRUCTS:
        return lambda value: _fixed(proto_type, value)
    return _SCALARS[proto_type]


def _fixed(proto_type: str, value: Json) -> Json:
    if len(_bytes(value)) != struct.calcsize(_STRUCTS[proto_type]):
        raise UnreadableError(f"{len(value)} bytes where its type has a {proto_type}")
    number = struct.unpack(_STRUCTS[proto_type], value)[0]
    if isinstance(number, float):
        if math.isnan(number):
            return "NaN"
        return number if math.isfinite(number) else "Infinity" if number > 0 else "-Infinity"
    return str(number) if proto_type in {betterproto2.TYPE_FIXED64, betterproto2.TYPE_SFIXED64} else number


def _number(value: Json) -> int:
    if not isinstance(value, int):
        raise UnreadableError("bytes where its type has a number")
    return value & 0xFFFFFFFFFFFFFFFF


def _signed(value: Json, bits: int) -> int:
    number = _number(value) & ((1 << bits) - 1)
    return number - (1 << bits) if number >> (bits - 1) else number


def _zigzag(value: Json) -> int:
    number = _number(value)
    return (number >> 1) ^ -(number & 1)


def _text(value: Json) -> str:
    try:
        return _bytes(value).decode()
    except UnicodeDecodeError as error:
        raise UnreadableError(f"a string is not UTF-8: {error}") from error


def _bytes(value: Json) -> bytes:
    if not isinstance(value, bytes):
        raise UnreadableError("a number where its type has bytes")
    return value


def _unpacked(proto_type: str, body: bytes) -> Iterator[Json]:
    if proto_type in _STRUCTS:
        size = struct.calcsize(_STRUCTS[proto_type])
        yield from (body[at : at + size] for at in range(0, len(body), size))
        return
    at = 0
    while at < len(body):
        value, at = _varint(body, at)
        yield value


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(body) and shift < 70:
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise UnreadableError("a number is cut off")


def _records(body: bytes) -> Iterator[tuple[int, Json]]:
    """Number and value of each field on the wire: an integer for a varint, else bytes."""
    at = 0
    while at < len(body):
        tag, at = _varint(body, at)
        wire_type = tag & 7
        if wire_type == 0:
            value, at = _varint(body, at)
            yield tag >> 3, value
            continue
        if wire_type == _LENGTH_DELIMITED:
            size, at = _varint(body, at)
        elif wire_type in _SIZES:
            size = _SIZES[wire_type]
        else:
            raise UnreadableError(f"there is no wire type {wire_type}")
        if at + size > len(body):
            raise UnreadableError("a field is cut off")
        yield tag >> 3, body[at : at + size]
        at += size
