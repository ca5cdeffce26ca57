"""Random messages, read and written by `xds.serve` and by betterproto2: both have to say the same.

Requests are made as bytes, so that they are stranger than anything the library writes: fields in any order and more
than once, numbers longer than needed, unknown fields of every kind, text that is none, cut off or with a byte changed.
The writer here shares nothing with `xds.serve.protobuf`.
"""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from envoy_data_plane.envoy.config.core.v3 import ControlPlane, Node
from envoy_data_plane.envoy.service.discovery.v3 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from envoy_data_plane.envoy.service.discovery.v3 import Resource as ResourceMessage
from envoy_data_plane.google.protobuf import Any as AnyMessage

from xds.serve import CLUSTER, LISTENER, ROUTE, Resource
from xds.serve.client.messages import decode_delta_response, decode_sotw_response
from xds.serve.wire import (
    DeltaRequest,
    SotwRequest,
    decode_delta_request,
    decode_node,
    decode_sotw_request,
    delta_prefix,
    sotw_prefix,
    with_nonce,
)

WORDS = ["", "*", "a", "dev/deployment/orders/8080", "ü", "\N{PILE OF POO}", "x" * 130, CLUSTER, ROUTE]
NOT_TEXT = [b"\xff", b"\xc3", b"\xed\xa0\x80", b"a\x80b"]


def varint(rng: random.Random, value: int) -> bytes:
    """Sometimes with more bytes than it needs, which every reader has to take."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    if len(out) < 5 and rng.random() < 0.02:
        out[-1] |= 0x80
        out.append(0)
    return bytes(out)


def chunk(rng: random.Random, number: int, data: bytes | str) -> bytes:
    """A length-delimited field."""
    raw = data.encode() if isinstance(data, str) else data
    return varint(rng, number << 3 | 2) + varint(rng, len(raw)) + raw


def unknown(rng: random.Random) -> bytes:
    """A field that no message has, of any wire type but groups."""
    number = rng.choice([90, 15, 16, 2047, 2048, (1 << 29) - 1])
    kind = rng.choice([0, 1, 2, 5])
    tag = varint(rng, number << 3 | kind)
    if kind == 0:
        return tag + varint(rng, rng.choice([0, 1, 127, 128, 2**32, 2**63 - 1]))
    if kind == 2:
        return chunk(rng, number, rng.randbytes(rng.randrange(5)))
    return tag + rng.randbytes(8 if kind == 1 else 4)


def text(rng: random.Random) -> bytes:
    if rng.random() < 0.002:
        return rng.choice(NOT_TEXT)
    return rng.choice(WORDS).encode()


Maker = Callable[[random.Random], bytes]


def mixed(rng: random.Random, texts: Iterable[tuple[int, Maker]], messages: Iterable[tuple[int, Maker]] = ()) -> bytes:
    """A message with each text up to twice and each message up to once, in any order.

    A message that comes twice is to be merged (protobuf encoding, "Last One Wins"), as ours are; betterproto2 takes the
    last, so nothing could be compared.
    """
    parts = [chunk(rng, number, make(rng)) for number, make in texts for _ in range(rng.randrange(3))]
    parts += [chunk(rng, number, make(rng)) for number, make in messages if rng.random() < 0.5]
    parts += [unknown(rng) for _ in range(rng.choice([0, 0, 0, 1, 2]))]
    rng.shuffle(parts)
    return b"".join(parts)


def status(rng: random.Random) -> bytes:
    code = b"\x08" + varint(rng, rng.randrange(17)) if rng.random() < 0.7 else b""
    return code + mixed(rng, [(2, text)])


def value(rng: random.Random, depth: int = 0) -> bytes:
    """A google.protobuf.Value."""
    kind = rng.randrange(6 if depth < 2 else 4)
    if kind == 0:
        return b"\x08\x00"
    if kind == 1:
        return b"\x11" + rng.choice([b"\0" * 8, b"\0\0\0\0\0\0\xf0?", b"\x9a\x99\x99\x99\x99\x99\xb9?"])
    if kind == 2:
        return chunk(rng, 3, rng.choice(WORDS))
    if kind == 3:
        return b"\x20" + bytes([rng.randrange(2)])
    if kind == 4:
        return chunk(rng, 5, struct_of(rng, depth + 1))
    return chunk(rng, 6, b"".join(chunk(rng, 1, value(rng, depth + 1)) for _ in range(rng.randrange(3))))


def struct_of(rng: random.Random, depth: int = 0) -> bytes:
    """A google.protobuf.Struct."""
    entries = (chunk(rng, 1, rng.choice(WORDS)) + chunk(rng, 2, value(rng, depth)) for _ in range(rng.randrange(3)))
    return b"".join(chunk(rng, 1, entry) for entry in entries)


def version_of(rng: random.Random) -> bytes:
    parts = (varint(rng, number << 3) + varint(rng, rng.randrange(300)) for number in (1, 2, 3) if rng.random() < 0.7)
    return chunk(rng, 1, b"".join(parts))


def node(rng: random.Random) -> bytes:
    return mixed(rng, [(1, text), (2, text), (6, text), (9, entry)], [(3, struct_of), (8, version_of)])


def entry(rng: random.Random) -> bytes:
    return chunk(rng, 1, text(rng)) + chunk(rng, 2, text(rng))


def sotw(rng: random.Random) -> bytes:
    return mixed(rng, [(1, text), (3, text), (4, text), (5, text)], [(2, node), (6, status)])


def delta(rng: random.Random) -> bytes:
    return mixed(rng, [(2, text), (3, text), (4, text), (5, entry), (6, text)], [(1, node), (7, status)])


def spoilt(rng: random.Random, data: bytes) -> bytes:
    """Cut off, or with a byte changed, inserted or left out."""
    if not data:
        return data
    at = rng.randrange(len(data))
    return rng.choice(
        [
            data[:at],
            data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :],
            data[:at] + bytes([rng.randrange(256)]) + data[at:],
            data[:at] + data[at + 1 :],
        ]
    )


@dataclass(slots=True)
class Tally:
    """What has been compared, and what was not the same."""

    messages: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    apart: list[str] = field(default_factory=list)

    def compare(self, what: str, data: bytes, ours: object, theirs: object) -> None:
        """Note whether both are the same."""
        if ours != theirs:
            self.apart.append(f"{what} of {data.hex()}: {ours!r}, and the library says {theirs!r}")


def _of_sotw(request: SotwRequest) -> tuple[object, ...]:
    return request.type_url, request.names, request.version_info, request.nonce, _error(request)


def _of_delta(request: DeltaRequest) -> tuple[object, ...]:
    versions = dict(request.initial_versions)
    return request.type_url, request.subscribe, request.unsubscribe, versions, request.nonce, _error(request)


def _error(request: SotwRequest | DeltaRequest) -> tuple[int, str] | None:
    return None if request.error is None else (request.error.code, request.error.message)


def _library_error(message: Any) -> tuple[int, str] | None:
    found = message.error_detail
    return None if found is None else (int(found.code), found.message)


def _library_sotw(message: Any) -> tuple[object, ...]:
    names = tuple(message.resource_names)
    return message.type_url, names, message.version_info, message.response_nonce, _library_error(message)


def _library_delta(message: Any) -> tuple[object, ...]:
    return (
        message.type_url,
        tuple(message.resource_names_subscribe),
        tuple(message.resource_names_unsubscribe),
        dict(message.initial_resource_versions),
        message.response_nonce,
        _library_error(message),
    )


def read_one(rng: random.Random, tally: Tally) -> None:
    """One request of either variant, read by both."""
    variant = rng.choice(("sotw", "delta"))
    data = sotw(rng) if variant == "sotw" else delta(rng)
    broken = rng.random() < 0.3
    data = spoilt(rng, data) if broken else data
    tally.messages += 1
    try:
        request = decode_sotw_request(data) if variant == "sotw" else decode_delta_request(data)
        who = decode_node(request.node)
        metadata = who.metadata
    except ValueError as error:
        tally.seen["refused"] += 1
        if not broken and "UTF-8" not in str(error):
            tally.apart.append(f"{variant} {data.hex()} is well formed, and refused: {error}")
        return
    try:
        message: Any = (DiscoveryRequest if variant == "sotw" else DeltaDiscoveryRequest).parse(data)
        theirs = message.node or Node()
        their_metadata = theirs.metadata.to_dict() if theirs.metadata is not None else {}
    except Exception as error:
        tally.seen["refused by the library alone"] += 1
        # Text that is none does not matter to us in a NACK's message, nor in extensions, which are not read.
        if not broken and not isinstance(error, UnicodeDecodeError):
            tally.apart.append(f"{variant} {data.hex()} is read, and the library refuses it: {error!r}")
        return
    tally.seen[variant if not broken else f"{variant}, spoilt"] += 1
    if isinstance(request, SotwRequest):
        tally.compare(variant, data, _of_sotw(request), _library_sotw(message))
    else:
        tally.compare(variant, data, _of_delta(request), _library_delta(message))
    tally.compare("node", data, (who.id, who.cluster, who.user_agent_name), _library_node(theirs))
    tally.compare("metadata", data, metadata, their_metadata)


def _library_node(message: Any) -> tuple[str, str, str]:
    return message.id, message.cluster, message.user_agent_name


def write_one(rng: random.Random, tally: Tally) -> None:
    """One response of either variant, written by both, and read back by our client."""
    url = rng.choice([CLUSTER, LISTENER, ROUTE])
    names = rng.sample(WORDS[1:], rng.randrange(4))
    resources = [Resource.of(ROUTE, name, chunk(rng, 1, name) + chunk(rng, 9, rng.randbytes(50))) for name in names]
    removed = rng.sample(WORDS[1:], rng.randrange(3))
    version, nonce, who = (rng.choice(WORDS[1:]) for _ in range(3))
    bodies = [AnyMessage(type_url=each.type_url, value=each.body) for each in resources]
    plane = ControlPlane(identifier=who)
    message: Any
    if rng.random() < 0.5:
        data = with_nonce(sotw_prefix(url, version, resources, who), nonce)
        message = DiscoveryResponse(
            version_info=version, resources=bodies, type_url=url, nonce=nonce, control_plane=plane
        )
        read = decode_sotw_response(bytes(message))
        tally.compare(
            "sotw response",
            data,
            (read.version, [each.body for each in read.resources]),
            (version, [each.body for each in resources]),
        )
    else:
        data = with_nonce(delta_prefix(url, resources, removed, who), nonce)
        wrapped = [
            ResourceMessage(name=each.name, version=each.version, resource=body)
            for each, body in zip(resources, bodies, strict=True)
        ]
        message = DeltaDiscoveryResponse(
            resources=wrapped, type_url=url, removed_resources=removed, nonce=nonce, control_plane=plane
        )
        read = decode_delta_response(bytes(message))
        tally.compare(
            "delta response",
            data,
            (read.removed, [(each.name, each.version, each.body) for each in read.resources]),
            (tuple(removed), [(each.name, each.version, each.body) for each in resources]),
        )
    tally.messages += 1
    tally.seen["responses"] += 1
    tally.compare("what is read back", data, (read.type_url, read.nonce, read.control_plane), (url, nonce, who))
    # Fields come in another order (the nonce last, so that streams can share the rest) and are the same bytes.
    tally.compare("bytes of a response", data, _in_order(data), _in_order(bytes(message)))


def _in_order(data: bytes) -> list[tuple[int, object]]:
    """The fields of a response by number, and those of the resources in it likewise."""
    return [(number, _fields(value) if number == 2 else value) for number, value in _fields(data)]


def _fields(data: bytes) -> list[tuple[int, bytes]]:
    """The fields of a message that has only length-delimited ones, by number."""
    found, at = [], 0
    while at < len(data):
        tag, at = _read(data, at)
        assert tag & 7 == 2
        size, at = _read(data, at)
        found.append((tag >> 3, data[at : at + size]))
        at += size
    return sorted(found, key=lambda each: each[0])


def _read(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while data[at] & 0x80:
        result |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return result | data[at] << shift, at + 1


def fuzz(seed: str, messages: int, tally: Tally) -> None:
    """Compare this many; one in ten is a response."""
    rng = random.Random(seed)
    # betterproto2 warns of enum values that it does not know.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(messages):
            (write_one if rng.random() < 0.1 else read_one)(rng, tally)
