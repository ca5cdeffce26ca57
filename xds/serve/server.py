"""The gRPC side: who may connect, and waking streams when the store changes.

gRPC methods are registered with raw bytes, as generic handlers, so that one `grpc.aio` server can host other services
too. Peers are authenticated in the method and not in an interceptor, because only the first message says who the node
is.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

import grpc

from xds.serve.journal import Journal
from xds.serve.limits import Limits, Refused
from xds.serve.resource import CLUSTER, ROUTE
from xds.serve.services import PREFIXES, SERVICES
from xds.serve.session import Context, Pacer, Session
from xds.serve.status import ClientStatus, Lag, Nack, Observer, StreamInfo, Variant
from xds.serve.store import Store, View
from xds.serve.stream import DeltaStream, SotwStream
from xds.serve.wire import Node, decode_delta_request, decode_node, decode_sotw_request

log = logging.getLogger(__name__)

Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]
Authenticate: TypeAlias = Callable[[Node, Metadata], Awaitable[View]]
"""Says what a peer may see, from the node it claims to be and the call's metadata. Raises `Refused`."""

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    # Envoy pings idle connections; by default a grpc server hangs up after the second ping within five minutes.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    # A peer that vanished is found by pings and not by send timeouts, which cut pushes in half
    # (https://github.com/istio/istio/pull/48543).
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_concurrent_streams", 2**31 - 1),
    # Reconnecting spreads clients over replicas, and costs next to nothing in delta.
    ("grpc.max_connection_age_ms", 30 * 60_000),
    ("grpc.max_connection_age_grace_ms", 10_000),
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    # Responses are as long as the configuration is.
    ("grpc.max_send_message_length", -1),
    ("grpc.http2.bdp_probe", 0),
)
"""Options for the `grpc.aio.server` that hosts the handlers."""

COALESCE = 0.020
"""Seconds within which further changes of a group go out together, after the first went out at once."""
SETTLE = 5.0
"""Seconds that a client has to ask for everything after it connected, before it is sent removals."""


class XdsServer:
    """Serves a store to authenticated clients: both variants, aggregated and per type.

    `identifier` is what clients show as the control plane they are connected to (Envoy's `control_plane.identifier`).
    All methods belong to the event loop's thread.
    """

    def __init__(
        self,
        store: Store,
        *,
        authenticate: Authenticate,
        identifier: str,
        observer: Observer | None = None,
        limits: Limits | None = None,
        journal: Journal | None = None,
        coalesce: float = COALESCE,
        settle: float = SETTLE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.limits = limits or Limits()
        self.journal = journal or Journal()
        self._authenticate = authenticate
        self._identifier = identifier
        self._observers: tuple[Observer, ...] = () if observer is None else (observer,)
        self._settle = settle
        self._clock = clock
        self._pacer = Pacer(coalesce)
        self._sessions: dict[int, Session] = {}
        self._groups: dict[str, dict[int, Session]] = {}
        self._calls = 0
        self._numbers = itertools.count(1)
        self._run = secrets.token_hex(4)

    def __repr__(self) -> str:
        return f"<XdsServer {self._identifier} streams={len(self._sessions)} {self.store!r}>"

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """What to give to `add_generic_rpc_handlers` of a `grpc.aio` server."""
        return [
            grpc.method_handlers_generic_handler(
                service,
                {
                    f"{prefix}{method}": grpc.stream_stream_rpc_method_handler(self._method(variant, type_url))
                    for variant, prefix in PREFIXES.items()
                },
            )
            for service, method, type_url in SERVICES
        ]

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Tell one more observer of what happens, until the returned function is called."""
        self._observers = (*self._observers, observer)

        def stop() -> None:
            self._observers = tuple(one for one in self._observers if one is not observer)

        return stop

    def clients(self, wanted: Callable[[str], bool] | None = None) -> list[ClientStatus]:
        """Every open stream, in order of connection; or those of nodes that are wanted."""
        streams = (session.stream for session in self._sessions.values())
        return [stream.status() for stream in streams if wanted is None or wanted(stream.info.view.node)]

    def expel(self, node: str, refusal: Refused) -> None:
        """End the streams of a node, after what is ready to be sent on them."""
        for session in self._sessions.values():
            if session.stream.info.view.node == node:
                session.end(refusal)

    def lagging(self, group: str, revision: int, types: Iterable[str] = (CLUSTER, ROUTE)) -> list[Lag]:
        """What streams of this group have not acknowledged of these types, of all that changed up to this revision.

        Empty means: in force everywhere. A type without a change since the last acknowledgement is not listed.
        """
        wanted = tuple(types)
        sessions = self._groups.get(group, {}).values()
        return [lag for session in sessions for lag in session.stream.lag(revision, wanted)]

    def lag(self, group: str, stream: int, revision: int, types: Iterable[str] = (CLUSTER, ROUTE)) -> list[Lag]:
        """As `lagging`, of one stream of this group by its number; empty where there is no such stream."""
        session = self._groups.get(group, {}).get(stream)
        return session.stream.lag(revision, types) if session is not None else []

    def statistics(self) -> dict[str, int]:
        """Counts of what runs: calls (admitted or not), streams, the store's watchers, groups that changes pace."""
        return {
            "calls": self._calls,
            "streams": len(self._sessions),
            "watchers": self.store.watchers,
            "paced": len(self._pacer),
        }

    def _method(self, variant: Variant, type_url: str | None) -> Callable[[Any, Context], Awaitable[None]]:
        async def method(_requests: Any, context: Context) -> None:
            self._calls += 1
            try:
                await self._serve(context, variant, type_url)
            except Refused as refusal:
                await context.abort(refusal.status, refusal.text)
            except ValueError as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            finally:
                self._calls -= 1

        return method

    async def _serve(self, context: Context, variant: Variant, type_url: str | None) -> None:
        if not self.store.is_complete:
            # Served from an incomplete state, a client that reconnects would lose what it has
            # (https://github.com/istio/istio/issues/25495).
            raise Refused(grpc.StatusCode.UNAVAILABLE, "the first state is not complete yet; try again")
        if self._calls > self.limits.streams:
            text = f"{self.limits.streams} streams are open, which is the limit; raise it or add a replica"
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        try:
            async with asyncio.timeout(self.limits.first_request):
                first = await context.read()
                if not isinstance(first, bytes):
                    return
                node, view = await self._admit(first, variant, context)
        except TimeoutError:
            text = f"no first request, or no answer to who it is from, within {self.limits.first_request:g} s"
            raise Refused(grpc.StatusCode.DEADLINE_EXCEEDED, text) from None
        info = StreamInfo(
            number=next(self._numbers),
            view=view,
            node_id=node.id,
            user_agent=f"{node.user_agent_name}/{node.user_agent_version}",
            peer=context.peer(),
            variant=variant,
            aggregated=type_url is None,
            connected=self._clock(),
        )
        with self._session(info, type_url) as session:
            session.receive(first)
            del first, node  # 61 kB of an Envoy's, which this frame would keep for as long as the stream lasts.
            await session.run(context)

    async def _admit(self, first: bytes, variant: Variant, context: Context) -> tuple[Node, View]:
        decode = decode_delta_request if variant is Variant.DELTA else decode_sotw_request
        node = decode_node(decode(first).node)
        if not node.id:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "the first request has no node id; set node.id")
        return node, await self._authenticate(node, tuple(context.invocation_metadata() or ()))

    @contextmanager
    def _session(self, info: StreamInfo, type_url: str | None) -> Iterator[Session]:
        """A session for as long as it lasts. It listens before its first state is read, so that no change is missed."""
        kind = DeltaStream if info.variant is Variant.DELTA else SotwStream
        stream = kind(
            self.store,
            info,
            type_url=type_url,
            identifier=self._identifier,
            nonces=f"{self._run}-{info.number:x}",
            limits=self.limits,
            scribe=self.journal.open(info),
        )
        session = Session(
            stream,
            clock=self._clock,
            on_response=partial(self._tell, "on_response", info),
            on_verdict=partial(self._tell, "on_verdict", info),
            on_ack=partial(self._tell, "on_ack", info),
            on_nack=partial(self._tell, "on_nack", info),
        )

        def changed(types: frozenset[str], revision: int, reason: str) -> None:
            if stream.on_change(types, revision, reason):
                self._pacer.changed(info.view.group, revision, session)

        self._sessions[info.number] = session
        self._groups.setdefault(info.view.group, {})[info.number] = session
        unwatch = self.store.watch(info.view, changed)
        settling = asyncio.get_running_loop().call_later(self._settle, session.settle)
        log.info("%s of %s at %s connected", info, info.user_agent, info.peer)
        self._tell("on_connect", info)
        try:
            yield session
        finally:
            settling.cancel()
            unwatch()
            self._pacer.forget(info.view.group, session)
            del self._sessions[info.number], self._groups[info.view.group][info.number]
            if not self._groups[info.view.group]:
                del self._groups[info.view.group]
            stream.close(self._clock())
            log.info("%s is gone", info)
            self._tell("on_disconnect", info)

    def _tell(self, what: str, *arguments: object) -> None:
        if what == "on_nack" and isinstance(nack := arguments[-1], Nack):
            log.warning("%s refused %s: %s", *arguments[:-1], nack.text)
        for observer in self._observers:
            try:
                getattr(observer, what)(*arguments)
            except Exception:
                log.exception("an observer failed in %s; the stream goes on", what)
