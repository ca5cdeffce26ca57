"""The bytes of xDS messages from the client's side: requests are written, responses read.

A resource stays the bytes that it came as. Whatever the input, decoders raise ValueError and nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from struct import pack

from xds.serve.protobuf import BYTES, FIXED64, as_bytes, as_text, encode_field, encode_number, fields
from xds.serve.wire import JSON, Node

WRAPPER = "type.googleapis.com/envoy.service.discovery.v3.Resource"
"""In state of the world a server may wrap a resource in this, to say its name or how long it lives."""
INVALID_ARGUMENT = 3


@dataclass(frozen=True, slots=True)
class Received:
    """A resource as it came. `version` is empty in state of the world, where the response has one for all.

    A heartbeat has no type and no body: it prolongs the life of what the client has (xDS protocol, "TTL").
    """

    name: str
    version: str
    type_url: str
    body: bytes = field(repr=False)

    @property
    def is_heartbeat(self) -> bool:
        """Whether it says nothing but that the resource lives on."""
        return not self.type_url


@dataclass(frozen=True, slots=True)
class Response:
    """A response of either variant. `size` is in bytes, `control_plane` is who the server says it is.

    `removed` are the names that exist no more, or never did. In state of the world the client finds them by comparing.
    """

    type_url: str
    version: str
    nonce: str
    resources: tuple[Received, ...] = ()
    removed: tuple[str, ...] = ()
    control_plane: str = ""
    size: int = 0

    @property
    def problem(self) -> str:
        """Why a client has to refuse it; empty where it is well formed."""
        names = Counter(each.name for each in self.resources)
        twice = sorted(name for name, count in names.items() if count > 1)
        if twice:
            # xDS protocol, "Knowing When a Requested Resource Does Not Exist", on duplicate names.
            return f"{twice[0]!r} comes more than once in one response"
        if "" in names:
            return "a resource has no name"
        strange = next((each for each in self.resources if each.type_url not in {"", self.type_url}), None)
        return f"{strange.name!r} is a {strange.type_url} in a response of {self.type_url}" if strange else ""


def node(
    *,
    id: str,  # noqa: A002  the field's name
    cluster: str = "",
    metadata: Mapping[str, JSON] | None = None,
    user_agent: str = "byway",
    version: str = "",
) -> Node:
    """Who the client says it is. `metadata` is whatever the server wants to know."""
    return Node(id, cluster, user_agent, version, encode_struct(metadata or {}))


def encode_node(who: Node) -> bytes:
    """A serialised config.core.v3.Node."""
    texts = ((1, who.id), (2, who.cluster), (6, who.user_agent_name), (7, who.user_agent_version))
    parts = [encode_field(number, text) for number, text in texts if text]
    parts += [encode_field(3, who.raw_metadata)] if who.raw_metadata else []
    return b"".join(parts)


def encode_struct(values: Mapping[str, JSON]) -> bytes:
    """A serialised google.protobuf.Struct, its keys sorted."""
    return b"".join(
        encode_field(1, encode_field(1, key) + encode_field(2, _encode_value(values[key]))) for key in sorted(values)
    )


def _encode_value(value: JSON) -> bytes:
    match value:
        case None:
            return encode_number(1, 0)
        case bool():
            return encode_number(4, int(value))
        case int() | float():
            return bytes([2 << 3 | FIXED64]) + pack("<d", value)
        case str():
            return encode_field(3, value)
        case list():
            return encode_field(6, b"".join(encode_field(1, _encode_value(each)) for each in value))
        case _:
            return encode_field(5, encode_struct(value))


def encode_sotw_request(
    type_url: str, names: Iterable[str] = (), *, version: str = "", nonce: str = "", error: str = "", who: bytes = b""
) -> bytes:
    """A DiscoveryRequest; `who` is the serialised node, `error` why the response of that nonce is refused."""
    parts = [encode_field(1, version)] if version else []
    parts += [encode_field(2, who)] if who else []
    parts += [encode_field(3, name) for name in names]
    parts.append(encode_field(4, type_url))
    parts += [encode_field(5, nonce)] if nonce else []
    parts += [encode_field(6, _status(error))] if error else []
    return b"".join(parts)


def encode_delta_request(
    type_url: str,
    subscribe: Iterable[str] = (),
    unsubscribe: Iterable[str] = (),
    *,
    versions: Mapping[str, str] | None = None,
    nonce: str = "",
    error: str = "",
    who: bytes = b"",
) -> bytes:
    """A DeltaDiscoveryRequest; `versions` are those that the client has kept from an earlier stream."""
    parts = [encode_field(1, who)] if who else []
    parts.append(encode_field(2, type_url))
    parts += [encode_field(3, name) for name in subscribe]
    parts += [encode_field(4, name) for name in unsubscribe]
    parts += [
        encode_field(5, encode_field(1, name) + encode_field(2, version)) for name, version in (versions or {}).items()
    ]
    parts += [encode_field(6, nonce)] if nonce else []
    parts += [encode_field(7, _status(error))] if error else []
    return b"".join(parts)


def _status(text: str) -> bytes:
    return encode_number(1, INVALID_ARGUMENT) + encode_field(2, text)


def decode_delta_response(data: bytes) -> Response:
    """Read a DeltaDiscoveryResponse."""
    version = type_url = nonce = control_plane = ""
    resources: list[Received] = []
    removed: list[str] = []
    for number, kind, value in fields(data):
        match number:
            case 1:
                version = as_text("system_version_info", kind, value)
            case 2:
                resources.append(_resource(as_bytes("a resource", kind, value)))
            case 4:
                type_url = as_text("type_url", kind, value)
            case 5:
                nonce = as_text("nonce", kind, value)
            case 6:
                removed.append(as_text("removed_resources", kind, value))
            case 7:
                control_plane = _identifier(as_bytes("control_plane", kind, value))
    return Response(type_url, version, nonce, tuple(resources), tuple(removed), control_plane, len(data))


def decode_sotw_response(data: bytes) -> Response:
    """Read a DiscoveryResponse."""
    version = type_url = nonce = control_plane = ""
    resources: list[Received] = []
    for number, kind, value in fields(data):
        match number:
            case 1:
                version = as_text("version_info", kind, value)
            case 2:
                resources.append(_named(*_any(as_bytes("a resource", kind, value))))
            case 4:
                type_url = as_text("type_url", kind, value)
            case 5:
                nonce = as_text("nonce", kind, value)
            case 6:
                control_plane = _identifier(as_bytes("control_plane", kind, value))
    return Response(type_url, version, nonce, tuple(resources), (), control_plane, len(data))


def _resource(data: bytes) -> Received:
    """Read a service.discovery.v3.Resource."""
    name = version = type_url = ""
    body = b""
    for number, kind, value in fields(data):
        match number:
            case 1:
                version = as_text("a resource's version", kind, value)
            case 2:
                type_url, body = _any(as_bytes("a resource", kind, value))
            case 3:
                name = as_text("a resource's name", kind, value)
            case 8:  # ResourceName, which may come in place of `name`.
                name = name or _identifier(as_bytes("a resource's name", kind, value))
    return Received(name, version, type_url, body)


def _named(type_url: str, body: bytes) -> Received:
    """A resource of the state of the world: unless it is wrapped, its name is in itself, in field 1 of every type."""
    return _resource(body) if type_url == WRAPPER else Received(_identifier(body), "", type_url, body)


def _any(data: bytes) -> tuple[str, bytes]:
    type_url, body = "", b""
    for number, kind, value in fields(data):
        if number == 1:
            type_url = as_text("a type_url", kind, value)
        elif number == 2:
            body = as_bytes("a resource's value", kind, value)
    return type_url, body


def _identifier(data: bytes) -> str:
    """The string in field 1: a control plane's identifier, a resource's name."""
    for number, kind, value in fields(data):
        if number == 1 and kind == BYTES:
            return as_text("a name", kind, value)
    return ""
