"""The bytes of xDS messages: what the server reads of a request, and how a response is put together.

Envoy's first request is 61 kB, of which 60 kB list its extensions, and a general parser spends 9 ms on it. So requests
are read here by hand: fields that the server does not use are skipped, the node stays bytes until somebody asks.

A response is spliced: a repeated field of a protobuf message is the concatenation of its elements, each with its tag
and length, so a resource that is bytes already is copied and never parsed. Everything that streams share comes first
(`*_prefix`) and the nonce last: fields of a message may stand in any order (protobuf encoding guide, "Field Order").

Whatever the input, decoders raise ValueError and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from struct import unpack
from typing import TypeAlias

from xds.serve.resource import Resource

JSON: TypeAlias = None | bool | float | str | list["JSON"] | dict[str, "JSON"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 64


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


def fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Yield (field number, wire type, value) of a serialised message; fixed-size values are bytes.

    Raises ValueError where the bytes are no protobuf message. Groups, which proto3 lacks, count as malformed.
    """
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise ValueError(f"malformed message: field number {number} before byte {at}")
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, kind, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in {_FIXED64, _FIXED32}:
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"malformed message: wire type {kind} before byte {at}")
        if size > end - at:
            raise ValueError(f"truncated message: field {number} says {size} bytes, {end - at} are left")
        yield number, kind, data[at : at + size]
        at += size


def _bytes(name: str, kind: int, value: int | bytes) -> bytes:
    if kind != _BYTES or isinstance(value, int):
        raise ValueError(f"{name} has wire type {kind}, not {_BYTES}: the client speaks another protocol")
    return value


def _text(name: str, kind: int, value: int | bytes) -> str:
    try:
        return _bytes(name, kind, value).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8: {error.reason} at byte {error.start}") from None


def _number(name: str, kind: int, value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError(f"{name} has wire type {kind}, not {_VARINT}: the client speaks another protocol")
    return value


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """Why a client refused a response (google.rpc.Status)."""

    code: int = 0
    message: str = ""


@dataclass(frozen=True)
class Node:
    """Who the client says it is (config.core.v3.Node). A claim, until something proves it."""

    id: str = ""
    cluster: str = ""
    user_agent_name: str = ""
    user_agent_version: str = ""
    """As in `1.40.0`; empty if the client does not say."""
    raw_metadata: bytes = field(default=b"", repr=False)

    @cached_property
    def metadata(self) -> dict[str, JSON]:
        """The node's metadata, decoded at first use. Raises ValueError if it is malformed."""
        return _decode_struct(self.raw_metadata, 0)


@dataclass(frozen=True, slots=True)
class SotwRequest:
    """What the server uses of a DiscoveryRequest. `node` stays serialised: see `decode_node`."""

    type_url: str = ""
    names: tuple[str, ...] = ()
    version_info: str = ""
    nonce: str = ""
    error: ErrorDetail | None = None
    node: bytes = field(default=b"", repr=False)

    @property
    def mentions(self) -> int:
        """How many names are in it."""
        return len(self.names)


@dataclass(frozen=True, slots=True)
class DeltaRequest:
    """What the server uses of a DeltaDiscoveryRequest. `node` stays serialised: see `decode_node`."""

    type_url: str = ""
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict)
    nonce: str = ""
    error: ErrorDetail | None = None
    node: bytes = field(default=b"", repr=False)

    @property
    def mentions(self) -> int:
        """How many names are in it."""
        return len(self.subscribe) + len(self.unsubscribe) + len(self.initial_versions)


def decode_sotw_request(data: bytes) -> SotwRequest:
    """Read a DiscoveryRequest."""
    version = type_url = nonce = ""
    names: list[str] = []
    node = b""
    error: bytes | None = None
    for number, kind, value in fields(data):
        match number:
            case 1:
                version = _text("version_info", kind, value)
            case 2:  # A message field that comes twice is merged, and concatenation is what merges.
                node += _bytes("node", kind, value)
            case 3:
                names.append(_text("resource_names", kind, value))
            case 4:
                type_url = _text("type_url", kind, value)
            case 5:
                nonce = _text("response_nonce", kind, value)
            case 6:
                error = (error or b"") + _bytes("error_detail", kind, value)
    return SotwRequest(type_url, tuple(names), version, nonce, _decode_error(error), node)


def decode_delta_request(data: bytes) -> DeltaRequest:
    """Read a DeltaDiscoveryRequest."""
    type_url = nonce = ""
    subscribe: list[str] = []
    unsubscribe: list[str] = []
    versions: dict[str, str] = {}
    node = b""
    error: bytes | None = None
    for number, kind, value in fields(data):
        match number:
            case 1:
                node += _bytes("node", kind, value)
            case 2:
                type_url = _text("type_url", kind, value)
            case 3:
                subscribe.append(_text("resource_names_subscribe", kind, value))
            case 4:
                unsubscribe.append(_text("resource_names_unsubscribe", kind, value))
            case 5:
                name, version = _decode_entry(_bytes("initial_resource_versions", kind, value))
                versions[name] = version
            case 6:
                nonce = _text("response_nonce", kind, value)
            case 7:
                error = (error or b"") + _bytes("error_detail", kind, value)
    return DeltaRequest(type_url, tuple(subscribe), tuple(unsubscribe), versions, nonce, _decode_error(error), node)


def _decode_entry(data: bytes) -> tuple[str, str]:
    name = version = ""
    for number, kind, value in fields(data):
        if number == 1:
            name = _text("a name in initial_resource_versions", kind, value)
        elif number == 2:
            version = _text("a version in initial_resource_versions", kind, value)
    return name, version


def _decode_error(data: bytes | None) -> ErrorDetail | None:
    if data is None:
        return None
    code, message = 0, ""
    for number, kind, value in fields(data):
        if number == 1:
            code = _number("error_detail.code", kind, value)
        elif number == 2:
            # The text is for people: a client whose message quotes broken bytes must not lose its NACK for that.
            message = _bytes("error_detail.message", kind, value).decode(errors="replace")
    return ErrorDetail(code, message)


def decode_node(data: bytes) -> Node:
    """Read a Node, without its metadata (decoded when asked for) and its extensions (never)."""
    node_id = cluster = agent = version = ""
    metadata = b""
    for number, kind, value in fields(data):
        match number:
            case 1:
                node_id = _text("node.id", kind, value)
            case 2:
                cluster = _text("node.cluster", kind, value)
            case 3:
                metadata += _bytes("node.metadata", kind, value)
            case 6:
                agent = _text("node.user_agent_name", kind, value)
            case 7:
                version = _text("node.user_agent_version", kind, value)
            case 8:
                version = _decode_build_version(_bytes("node.user_agent_build_version", kind, value))
    return Node(node_id, cluster, agent, version, metadata)


def _decode_build_version(data: bytes) -> str:
    parts = [0, 0, 0]
    for number, kind, value in fields(data):
        if number != 1:
            continue
        for part, part_kind, part_value in fields(_bytes("user_agent_build_version.version", kind, value)):
            if 1 <= part <= 3:
                parts[part - 1] = _number("user_agent_build_version.version", part_kind, part_value)
    return ".".join(map(str, parts))


def _decode_struct(data: bytes, depth: int) -> dict[str, JSON]:
    """Read a google.protobuf.Struct."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"node.metadata is nested more than {_MAX_DEPTH} deep")
    result: dict[str, JSON] = {}
    for number, kind, value in fields(data):
        if number != 1:
            continue
        name, content = "", b""
        for part, part_kind, part_value in fields(_bytes("node.metadata", kind, value)):
            if part == 1:
                name = _text("a key of node.metadata", part_kind, part_value)
            elif part == 2:
                content += _bytes("a value of node.metadata", part_kind, part_value)
        result[name] = _decode_value(content, depth)
    return result


def _decode_value(data: bytes, depth: int) -> JSON:
    """Read a google.protobuf.Value; the last member of its oneof wins."""
    result: JSON = None
    for number, kind, value in fields(data):
        what = "a value of node.metadata"
        match number:
            case 1:
                result = None
            case 2:
                if kind != _FIXED64 or isinstance(value, int):
                    raise ValueError(f"{what} has wire type {kind}, not {_FIXED64}")
                result = float(unpack("<d", value)[0])
            case 3:
                result = _text(what, kind, value)
            case 4:
                result = bool(_number(what, kind, value))
            case 5:
                result = _decode_struct(_bytes(what, kind, value), depth + 1)
            case 6:
                if depth >= _MAX_DEPTH:
                    raise ValueError(f"node.metadata is nested more than {_MAX_DEPTH} deep")
                elements = fields(_bytes(what, kind, value))
                result = [_decode_value(_bytes(what, k, v), depth + 1) for n, k, v in elements if n == 1]
    return result


def endpoint_name(cluster: Resource) -> str | None:
    """The name under which a Cluster asks for its endpoints, or None if it gets them otherwise.

    That is `eds_cluster_config.service_name`, or else the cluster's name (config.cluster.v3.Cluster, field 3).
    """
    config: bytes | None = None
    for number, _, value in fields(cluster.body):
        if number == 3 and isinstance(value, bytes):
            config = (config or b"") + value
    if config is None:
        return None
    service = ""
    for number, kind, value in fields(config):
        if number == 2:
            service = _text("eds_cluster_config.service_name", kind, value)
    return service or cluster.name


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
    return _encode_varint(number << 3 | _BYTES) + _encode_varint(len(data)) + data


def _any(resource: Resource) -> bytes:
    return encode_field(1, resource.type_url) + encode_field(2, resource.body)


def sotw_prefix(type_url: str, version: str, resources: Iterable[Resource], identifier: str) -> bytes:
    """A DiscoveryResponse without its nonce. `identifier` says which control plane it is."""
    parts = [encode_field(1, version)]
    parts += [encode_field(2, _any(resource)) for resource in resources]
    parts += [encode_field(4, type_url), encode_field(6, encode_field(1, identifier))]
    return b"".join(parts)


def delta_prefix(type_url: str, resources: Iterable[Resource], removed: Iterable[str], identifier: str) -> bytes:
    """A DeltaDiscoveryResponse without its nonce. `identifier` says which control plane it is."""
    parts = [
        encode_field(2, encode_field(1, each.version) + encode_field(2, _any(each)) + encode_field(3, each.name))
        for each in resources
    ]
    parts.append(encode_field(4, type_url))
    parts += [encode_field(6, name) for name in removed]
    parts.append(encode_field(7, encode_field(1, identifier)))
    return b"".join(parts)


def with_nonce(prefix: bytes, nonce: str) -> bytes:
    """The whole response of either variant: both have the nonce in field 5."""
    return prefix + encode_field(5, nonce)
