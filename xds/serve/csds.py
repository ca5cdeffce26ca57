"""CSDS: what every client has, for tools that speak the standard, envoy.service.status.v3.

A management server says of each resource both how far it is itself (`config_status`) and what the client made of it
(`client_status`), as far as the client has told by acknowledging and refusing:

    acknowledged in the newest version                 SYNCED    ACKED
    refused in the newest version                      ERROR     NACKED
    an older version acknowledged, or none yet         STALE     ACKED, or REQUESTED
    asked for, and there is no such resource           NOT_SENT  DOES_NOT_EXIST

`version_info` and `xds_config` are what the client runs with, and of a refusal `error_state` has the other one. What a
client never asked for isn't listed. A node with several streams is listed once. Like everything here it is spliced from
bytes: betterproto2 would take a second for a thousand routes, on the loop that serves streams.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/status/v3/csds.proto
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc
import re2

from xds.serve.limits import Refused
from xds.serve.protobuf import as_bytes, as_number, as_text, encode_field, encode_number, fields
from xds.serve.resource import SECRET, Resource
from xds.serve.status import ClientStatus, Nack, StreamInfo, TypeStatus
from xds.serve.store import Store

if TYPE_CHECKING:
    from xds.serve.server import Metadata, XdsServer

SERVICE: Final = "envoy.service.status.v3.ClientStatusDiscoveryService"
MOST_BYTES: Final = 64 * 1024 * 1024
"""Of one response. More is refused: it would hold up the streams."""

SYNCED, NOT_SENT, STALE, ERROR = 1, 2, 3, 4
"""envoy.service.status.v3.ConfigStatus"""
REQUESTED, DOES_NOT_EXIST, ACKED, NACKED = 1, 2, 3, 4
"""envoy.admin.v3.ClientResourceStatus"""

Authorize = Callable[["Metadata"], Awaitable[None]]
"""Says from a call's metadata whether the caller may ask. Raises `Refused`."""
Shown = Callable[[Resource], bytes]
NodeTest = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Query:
    """What of a ClientStatusRequest counts: which nodes, and whether without contents."""

    wanted: NodeTest
    without_contents: bool


def read_query(data: bytes) -> Query:
    """Read a ClientStatusRequest. Raises ValueError for what is none, or matches by what isn't known of nodes."""
    matchers: list[NodeTest] = []
    without_contents = False
    for number, kind, value in fields(data):
        if number == 1:
            matchers.append(_node_matcher(as_bytes("node_matchers", kind, value)))
        elif number == 3:
            without_contents = bool(as_number("exclude_resource_contents", kind, value))
    # Any of them is enough, and none asks for everything.
    return Query(lambda node: not matchers or any(fits(node) for fits in matchers), without_contents)


def _node_matcher(data: bytes) -> NodeTest:
    by_id = b""
    for number, kind, value in fields(data):
        if number == 1:
            by_id += as_bytes("node_matchers.node_id", kind, value)
        elif number == 2:
            raise ValueError("node_matchers.node_metadatas is not supported: nodes are told apart by node_id alone")
    return _string_matcher(by_id) if by_id else lambda _: True


_PATTERNS: dict[int, tuple[str, Callable[[str, str], bool]]] = {
    1: ("exact", lambda text, pattern: text == pattern),
    2: ("prefix", lambda text, pattern: text.startswith(pattern)),
    3: ("suffix", lambda text, pattern: text.endswith(pattern)),
    7: ("contains", lambda text, pattern: pattern in text),
}


def _string_matcher(data: bytes) -> NodeTest:
    """envoy.type.matcher.v3.StringMatcher; the last member of its oneof wins, and none matches nothing."""
    test: Callable[[str, str], bool] | None = None
    pattern, ignore_case = "", False
    for number, kind, value in fields(data):
        if number in _PATTERNS:
            name, test = _PATTERNS[number]
            pattern = as_text(f"node_id.{name}", kind, value)
        elif number == 5:
            test, pattern = _regex(as_bytes("node_id.safe_regex", kind, value)), ""
        elif number == 6:
            ignore_case = bool(as_number("node_id.ignore_case", kind, value))
        elif number == 8:
            raise ValueError("node_id.custom is not supported")
    if test is None:
        raise ValueError("node_id says nothing to match; set exact or prefix")
    found = test
    if ignore_case and pattern:
        return lambda node: found(node.lower(), pattern.lower())
    return lambda node: found(node, pattern)


def _regex(data: bytes) -> Callable[[str, str], bool]:
    """What tests a whole text by a regular expression, for which `ignore_case` doesn't count."""
    texts = [as_text("node_id.safe_regex.regex", kind, value) for number, kind, value in fields(data) if number == 2]
    options = re2.Options()
    options.log_errors = False
    try:
        expression = re2.compile(texts[-1] if texts else "", options)
    except re2.error as error:
        said = error.args[0] if error.args else error
        text = said.decode(errors="replace") if isinstance(said, bytes) else said
        raise ValueError(f"node_id.safe_regex: {text}") from None
    return lambda text, _: expression.fullmatch(text) is not None


class ClientStatusService:
    """Both methods of CSDS over what an XdsServer knows.

    `shown` makes the body of a resource fit to be shown; what it gives is of the same type. Without it, of secrets
    nothing is shown.
    """

    def __init__(self, xds: XdsServer, *, authorize: Authorize, shown: Shown | None = None) -> None:
        self._xds = xds
        self._authorize = authorize
        self._shown = shown or without_secrets

    def handlers(self) -> grpc.GenericRpcHandler:
        """What to give to `add_generic_rpc_handlers` of a `grpc.aio` server."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "FetchClientStatus": grpc.unary_unary_rpc_method_handler(self._fetch),
                "StreamClientStatus": grpc.stream_stream_rpc_method_handler(self._stream),
            },
        )

    async def _fetch(self, request: bytes, context: Any) -> bytes:
        return await self._guarded(context, lambda: self._answer(request))

    async def _stream(self, _: Any, context: Any) -> None:
        """One answer to each request."""

        async def converse() -> bytes:
            while isinstance(request := await context.read(), bytes):
                await context.write(await self._answer(request))
            return b""

        await self._guarded(context, converse)

    async def _guarded(self, context: Any, behaviour: Callable[[], Awaitable[bytes]]) -> bytes:
        try:
            await self._authorize(tuple(context.invocation_metadata() or ()))
            return await behaviour()
        except Refused as refusal:
            await context.abort(refusal.status, refusal.text)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        raise AssertionError("abort raises")

    async def _answer(self, request: bytes) -> bytes:
        query = read_query(request)
        by_node: dict[str, list[ClientStatus]] = {}
        for client in self._xds.clients(query.wanted):
            by_node.setdefault(client.stream.view.node, []).append(client)
        parts: list[bytes] = []
        size = 0
        for node in sorted(by_node):
            shown = None if query.without_contents else self._shown
            config = client_config(self._xds.store, by_node[node], shown)
            size += len(config)
            if size > MOST_BYTES:
                text = f"the answer has more than {MOST_BYTES >> 20} MB; narrow node_matchers, or ask without contents"
                raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
            parts.append(encode_field(1, config))
            # Streams have their turn between two nodes.
            await asyncio.sleep(0)
        return b"".join(parts)


def without_secrets(resource: Resource) -> bytes:
    """The body of a resource; nothing of a secret's."""
    return b"" if resource.type_url == SECRET else resource.body


def client_config(store: Store, clients: Iterable[ClientStatus], shown: Shown | None) -> bytes:
    """A ClientConfig of one node, from its streams, the newest last. Without `shown` it has no contents."""
    listed = list(clients)
    newest = listed[-1].stream
    types = {type_url: (client.stream, status) for client in listed for type_url, status in client.types.items()}
    parts = [encode_field(1, _node(newest))]
    for type_url in sorted(types):
        for generic in _resources(store, *types[type_url], shown):
            parts.append(encode_field(3, generic))
    return b"".join(parts)


def _node(stream: StreamInfo) -> bytes:
    name, _, version = stream.user_agent.partition("/")
    return encode_field(1, stream.view.node) + encode_field(6, name) + encode_field(7, version)


def _resources(store: Store, stream: StreamInfo, status: TypeStatus, shown: Shown | None) -> Iterator[bytes]:
    """A GenericXdsConfig of each resource of a type that a client asked for, or still has."""
    found = store.snapshot(stream.view, status.type_url).resources
    wanted = {name for name in found if status.wildcard or name in status.names}
    for name in sorted(wanted | status.names | status.acked.keys()):
        meant = found.get(name) if name in wanted else None
        yield _resource(store, status, name, meant, shown)


def _resource(store: Store, status: TypeStatus, name: str, meant: Resource | None, shown: Shown | None) -> bytes:
    acked, nack = status.acked.get(name, ""), status.nack
    refused = nack.resources.get(name, "") if nack else ""
    is_refused = bool(refused) and refused != acked and (meant is None or meant.version == refused)
    config_status, client_status = _statuses(meant.version if meant else "", acked, is_refused=is_refused)
    parts = [encode_field(1, status.type_url), encode_field(2, name)]
    if acked:
        parts.append(encode_field(3, acked))
        if shown and (one := _in_version(store, status.type_url, name, acked, meant)):
            parts.append(encode_field(4, _any(one, shown)))
    if status.last_sent and name in status.last_sent.resources:
        parts.append(encode_field(5, _timestamp(status.last_sent.at)))
    parts += [encode_number(6, config_status), encode_number(7, client_status)]
    if nack and is_refused:
        failed = _in_version(store, status.type_url, name, refused, meant) if shown else None
        contents = _any(failed, shown) if failed and shown else b""
        parts.append(encode_field(8, _error_state(nack, refused, contents)))
    return b"".join(parts)


def _statuses(meant: str, acked: str, *, is_refused: bool) -> tuple[int, int]:
    """ConfigStatus and ClientResourceStatus; versions are empty where there is no resource."""
    if is_refused:
        return ERROR, NACKED
    if meant == acked:
        return (SYNCED, ACKED) if meant else (NOT_SENT, DOES_NOT_EXIST)
    return STALE, ACKED if acked else REQUESTED


def _in_version(store: Store, type_url: str, name: str, version: str, meant: Resource | None) -> Resource | None:
    return meant if meant and meant.version == version else store.past(type_url, name, version)


def _any(resource: Resource, shown: Shown) -> bytes:
    return encode_field(1, resource.type_url) + encode_field(2, shown(resource))


def _timestamp(at: float) -> bytes:
    return encode_number(1, int(at)) + encode_number(2, int(at % 1 * 1e9))


def _error_state(nack: Nack, version: str, failed: bytes) -> bytes:
    """envoy.admin.v3.UpdateFailureState"""
    contents = encode_field(1, failed) if failed else b""
    return contents + encode_field(2, _timestamp(nack.at)) + encode_field(3, nack.text) + encode_field(4, version)
