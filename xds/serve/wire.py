"""The bytes of xDS messages: what the server reads of a request, and how a response is put together.

Envoy's first request is 61 kB, of which 60 kB list its extensions, and a general parser spends 9 ms on it. So requests
are read here by hand: fields that the server does not use are skipped, the node stays bytes until somebody asks.

A response is spliced: a repeated field of a protobuf message is the concatenation of its elements, each with its tag
and length, so a resource that is bytes already is copied and never parsed. Everything that streams share comes first
(`*_prefix`) and the nonce last: fields of a message may stand in any order (protobuf encoding guide, "Field Order").

Whatever the input, decoders raise ValueError and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from struct import unpack
from typing import TypeAlias

from xds.serve.protobuf import FIXED64, as_bytes, as_number, as_text, encode_field, fields
from xds.serve.resource import Resource

JSON: TypeAlias = None | bool | float | str | list["JSON"] | dict[str, "JSON"]

_MAX_DEPTH = 64
_EXTENSIONS = 9


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


@dataclass(slots=True)
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


@dataclass(slots=True)
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
                version = as_text("version_info", kind, value)
            case 2:  # A message field that comes twice is merged, and concatenation is what merges.
                node += as_bytes("node", kind, value)
            case 3:
                names.append(as_text("resource_names", kind, value))
            case 4:
                type_url = as_text("type_url", kind, value)
            case 5:
                nonce = as_text("response_nonce", kind, value)
            case 6:
                error = (error or b"") + as_bytes("error_detail", kind, value)
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
                node += as_bytes("node", kind, value)
            case 2:
                type_url = as_text("type_url", kind, value)
            case 3:
                subscribe.append(as_text("resource_names_subscribe", kind, value))
            case 4:
                unsubscribe.append(as_text("resource_names_unsubscribe", kind, value))
            case 5:
                name, version = _decode_entry(as_bytes("initial_resource_versions", kind, value))
                versions[name] = version
            case 6:
                nonce = as_text("response_nonce", kind, value)
            case 7:
                error = (error or b"") + as_bytes("error_detail", kind, value)
    return DeltaRequest(type_url, tuple(subscribe), tuple(unsubscribe), versions, nonce, _decode_error(error), node)


def _decode_entry(data: bytes) -> tuple[str, str]:
    name = version = ""
    for number, kind, value in fields(data):
        if number == 1:
            name = as_text("a name in initial_resource_versions", kind, value)
        elif number == 2:
            version = as_text("a version in initial_resource_versions", kind, value)
    return name, version


def _decode_error(data: bytes | None) -> ErrorDetail | None:
    if data is None:
        return None
    code, message = 0, ""
    for number, kind, value in fields(data):
        if number == 1:
            code = as_number("error_detail.code", kind, value)
        elif number == 2:
            # The text is for people: a client whose message quotes broken bytes must not lose its NACK for that.
            message = as_bytes("error_detail.message", kind, value).decode(errors="replace")
    return ErrorDetail(code, message)


def decode_node(data: bytes) -> Node:
    """Read a Node, without its metadata (decoded when asked for) and its extensions (never)."""
    node_id = cluster = agent = version = ""
    metadata = b""
    for number, kind, value in fields(data, skip=_EXTENSIONS):
        match number:
            case 1:
                node_id = as_text("node.id", kind, value)
            case 2:
                cluster = as_text("node.cluster", kind, value)
            case 3:
                metadata += as_bytes("node.metadata", kind, value)
            case 6:
                agent = as_text("node.user_agent_name", kind, value)
            case 7:
                version = as_text("node.user_agent_version", kind, value)
            case 8:
                version = _decode_build_version(as_bytes("node.user_agent_build_version", kind, value))
    return Node(node_id, cluster, agent, version, metadata)


def _decode_build_version(data: bytes) -> str:
    parts = [0, 0, 0]
    for number, kind, value in fields(data):
        if number != 1:
            continue
        for part, part_kind, part_value in fields(as_bytes("user_agent_build_version.version", kind, value)):
            if 1 <= part <= 3:
                parts[part - 1] = as_number("user_agent_build_version.version", part_kind, part_value)
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
        for part, part_kind, part_value in fields(as_bytes("node.metadata", kind, value)):
            if part == 1:
                name = as_text("a key of node.metadata", part_kind, part_value)
            elif part == 2:
                content += as_bytes("a value of node.metadata", part_kind, part_value)
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
                if kind != FIXED64 or isinstance(value, int):
                    raise ValueError(f"{what} has wire type {kind}, not {FIXED64}")
                result = float(unpack("<d", value)[0])
            case 3:
                result = as_text(what, kind, value)
            case 4:
                result = bool(as_number(what, kind, value))
            case 5:
                result = _decode_struct(as_bytes(what, kind, value), depth + 1)
            case 6:
                if depth >= _MAX_DEPTH:
                    raise ValueError(f"node.metadata is nested more than {_MAX_DEPTH} deep")
                elements = fields(as_bytes(what, kind, value))
                result = [_decode_value(as_bytes(what, k, v), depth + 1) for n, k, v in elements if n == 1]
    return result


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
