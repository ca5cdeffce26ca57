"""What passed between the manager and a node, what passes now, and what it has beside what it should have."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable

import grpc

from xds.api.byway.manager import v1
from xds.compile import names
from xds.manager.core import Manager
from xds.manager.identity.redact import shown
from xds.manager.service.callers import CallError
from xds.serve.journal import Journal, TooManyWatchersError
from xds.serve.push import Pushed
from xds.serve.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET
from xds.serve.server import XdsServer
from xds.serve.status import ClientStatus, StreamInfo, SyncState, TypeStatus
from xds.serve.store import View
from xds.serve.tap import Asked, Came, Event, Lost, Went

TYPES = {"listeners": LISTENER, "routes": ROUTE, "clusters": CLUSTER, "endpoints": ENDPOINT, "secrets": SECRET}
NAMES = {type_url: name for name, type_url in TYPES.items()}


def type_urls(kinds: Iterable[str]) -> list[str]:
    """The type URLs of types by name. Raises CallError."""
    for kind in kinds:
        if kind not in TYPES:
            raise CallError(grpc.StatusCode.INVALID_ARGUMENT, f"TYPE: {kind!r} is none of {', '.join(TYPES)}")
    return [TYPES[kind] for kind in kinds]


def newest(clients: Iterable[ClientStatus]) -> dict[str, TypeStatus]:
    """Each type's state on the newest of a node's streams that asked for it."""
    return {type_url: status for client in clients for type_url, status in client.types.items()}


def transport(stream: StreamInfo) -> str:
    """How a stream speaks, for people."""
    return f"{stream.variant}, {'aggregated' if stream.aggregated else 'per type'}"


class Inspection:
    """Reads the store, the streams and the journal of the xDS server."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    def server(self) -> XdsServer:
        """The xDS server. Raises CallError before there is one."""
        if self._manager.sidecars.server is None:
            raise CallError(grpc.StatusCode.UNAVAILABLE, "the manager doesn't serve sidecars yet")
        return self._manager.sidecars.server

    def _journal(self) -> Journal:
        return self.server().journal

    def streams(self) -> dict[str, list[ClientStatus]]:
        """Streams by node id, the newest last: one that was cut off may be there until its end is noticed."""
        found: dict[str, list[ClientStatus]] = {}
        for client in self._manager.sidecars.server.clients() if self._manager.sidecars.server else []:
            found.setdefault(client.stream.view.node, []).append(client)
        return found

    def view(self, node: str) -> View:
        """Who is meant by a node's or an instance's id. Raises CallError."""
        found = [
            View(str(key), names.node(key, instance))
            for key, workload in self._manager.state.workloads.items()
            for instance in workload.instances
            if node in {names.node(key, instance), instance}
        ]
        # Gateways are no instances of a workload.
        found = found or [client.stream.view for client in self.streams().get(node, [])[-1:]]
        if not found:
            raise CallError(grpc.StatusCode.NOT_FOUND, f"there is no node {node!r}; `xdsctl status` lists them")
        if len(found) > 1:
            several = ", ".join(sorted(view.node for view in found))
            raise CallError(grpc.StatusCode.INVALID_ARGUMENT, f"NODE: {node!r} may be any of {several}")
        return found[0]

    def history(self, node: str) -> v1.GetHistoryReply:
        """The last pushes to a node, which may have been taken out of the file meanwhile. Raises CallError."""
        journal = self._journal()
        journal.forget_old(time.time())
        key = node if journal.knows(node) else self.view(node).node
        return v1.GetHistoryReply(
            node=key, connected=key in self.streams(), pushes=[push_message(one) for one in journal.history(key)]
        )

    async def tap(self, node: str, kinds: list[str]) -> AsyncIterator[v1.TapEvent]:
        """What passes on a node's streams from now on. Raises CallError."""
        key, wanted = self.view(node).node, type_urls(kinds)
        try:
            with self._journal().tap(key, wanted) as tap:
                yield v1.TapEvent(watching=key)
                while True:
                    yield event_message(await tap.next())
        except TooManyWatchersError as error:
            raise CallError(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error)) from None

    def compare(self, node: str, kinds: list[str], *, bodies: bool) -> v1.CompareReply:
        """What a node is meant to have beside what it has acknowledged. Raises CallError."""
        view, wanted = self.view(node), type_urls(kinds or list(TYPES))
        clients = self.streams().get(view.node, [])
        statuses = newest(clients)
        return v1.CompareReply(
            node=view.node,
            connected=bool(clients),
            types=[self._compared(view, type_url, statuses.get(type_url), bodies=bodies) for type_url in wanted],
        )

    def _compared(self, view: View, type_url: str, status: TypeStatus | None, *, bodies: bool) -> v1.ComparedType:
        found = self._manager.store.snapshot(view, type_url).resources
        acked = status.acked if status else {}
        # What was never asked for is not missed, but for a type of which nothing was.
        asked = {name: one for name, one in found.items() if status is None or status.wildcard or name in status.names}
        compared = []
        for name in sorted(asked.keys() | acked.keys()):
            meant, version = asked.get(name), acked.get(name, "")
            differs = meant is None or meant.version != version
            old = self._manager.store.past(type_url, name, version) if differs and version else None
            compared.append(
                v1.ComparedResource(
                    name=name,
                    type_url=type_url,
                    version=meant.version if meant else "",
                    acked_version=version,
                    body=shown(meant) if meant and (bodies or differs) else b"",
                    acked_body=shown(old) if old else b"",
                )
            )
        return v1.ComparedType(
            type=NAMES[type_url],
            requested=status is not None,
            state=status.state if status else SyncState.NOT_REQUESTED,
            nack=status.nack.text if status and status.nack else "",
            resources=compared,
        )


def push_message(push: Pushed) -> v1.Push:
    """A push for the API."""
    contents = push.contents
    return v1.Push(
        at=push.at,
        type=NAMES.get(push.type_url, push.type_url),
        nonce=push.nonce,
        version=contents.version,
        revision=push.revision,
        size=push.size,
        resources=[v1.PushedResource(name=one.name, version=one.version, size=one.size) for one in contents.items],
        removed=list(contents.removed),
        more_resources=contents.more_items,
        more_removed=contents.more_removed,
        reasons=list(push.reasons),
        outcome=push.outcome,
        answered_seconds=push.answered - push.at if push.answered is not None else 0.0,
        nack=push.nack,
    )


def event_message(event: Event) -> v1.TapEvent:
    """An event for the API."""
    match event:
        case Pushed():
            return v1.TapEvent(response=push_message(event))
        case Asked():
            return v1.TapEvent(request=_request_message(event))
        case Came(at, stream):
            return v1.TapEvent(connected=v1.TapStream(at=at, transport=transport(stream), peer=stream.peer))
        case Went(at, stream):
            return v1.TapEvent(disconnected=v1.TapStream(at=at, transport=transport(stream), peer=stream.peer))
        case Lost(count):
            return v1.TapEvent(lost=count)


def _request_message(asked: Asked) -> v1.TapRequestSeen:
    return v1.TapRequestSeen(
        at=asked.at,
        type=NAMES.get(asked.type_url, asked.type_url),
        meaning=asked.meaning,
        nonce=asked.nonce,
        version=asked.version,
        size=asked.size,
        names=list(asked.names),
        more_names=asked.more_names,
        unsubscribed=list(asked.unsubscribed),
        kept=asked.kept,
        after_seconds=asked.after,
        error=asked.error,
    )
