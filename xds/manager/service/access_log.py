"""envoy.service.accesslog.v3.AccessLogService: sidecars tell of the requests that took an intercept's route.

Who tells is proved as on the discovery streams: by the token, which has to be that of the node that the first message
names. Messages are read one at a time, so gRPC slows down a sidecar that tells more than can be taken in, and its Envoy
drops what it can't keep.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from typing import Any

import grpc

from xds.api.rpc import Context, Handlers
from xds.compile import names
from xds.manager.core import Manager
from xds.manager.requests.records import Record, read_records
from xds.registry.workload import WorkloadId
from xds.serve.limits import Refused
from xds.serve.protobuf import as_bytes, fields
from xds.serve.server import Metadata
from xds.serve.store import View
from xds.serve.wire import Node, decode_node

PATH = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
SLICE = 100
"""Records after which others have their turn."""
FIRST = 30.0
"""Seconds that a client may take to say who it is."""

Authenticate = Callable[[Node, Metadata], Awaitable[View]]


class AccessLogService:
    """Takes in what sidecars tell."""

    def __init__(self, manager: Manager, authenticate: Authenticate) -> None:
        """`authenticate` raises Refused."""
        self._manager = manager
        self._authenticate = authenticate

    def handlers(self) -> Handlers:
        """What the server registers; messages stay bytes."""
        return Handlers([(PATH, grpc.stream_unary_rpc_method_handler(self._stream))])

    async def _stream(self, _requests: Any, context: Context) -> bytes:
        try:
            async with asyncio.timeout(FIRST):
                message = await context.read()
                view = await self._admit(message, context) if isinstance(message, bytes) else None
            while view is not None and isinstance(message, bytes):
                await self._take(view, message)
                message = await context.read()
        except Refused as refusal:
            await context.abort(refusal.status, refusal.text)
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"no first message within {FIRST:g} s")
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return b""

    async def _admit(self, first: bytes, context: Context) -> View:
        """Who tells: identifier = 1 {node = 1}."""
        identifier = b"".join(as_bytes("identifier", kind, value) for n, kind, value in fields(first) if n == 1)
        node = b"".join(as_bytes("node", kind, value) for n, kind, value in fields(identifier) if n == 1)
        view = await self._authenticate(decode_node(node), tuple(context.invocation_metadata() or ()))
        if view.group == names.GATEWAYS:
            # Whatever passes a gateway has passed a sidecar, which tells of it.
            raise Refused(grpc.StatusCode.PERMISSION_DENIED, f"{view.node} is no sidecar; only those tell of requests")
        return view

    async def _take(self, view: View, message: bytes) -> None:
        workload = WorkloadId.parse(view.group)
        records = read_records(message)
        while batch := _some(records):
            self._manager.ledger.note(workload, view.node, batch, self._manager.clock.now())
            if len(batch) == SLICE:
                await asyncio.sleep(0)


def _some(records: Iterator[Record]) -> list[Record]:
    return list(islice(records, SLICE))
