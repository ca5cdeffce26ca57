"""byway.manager.v1.Debug: what the xDS debugging tool asks."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

import betterproto2
import grpc

from xds.api.byway.manager import v1
from xds.api.rpc import Context, Handler, Handlers, Unary
from xds.api.services import Debug as Methods
from xds.compile import names
from xds.compile.encode import encode
from xds.manager.core import Manager
from xds.manager.identity.redact import shown
from xds.manager.service.callers import Callers
from xds.manager.service.inspection import TYPES, Inspection, newest, transport, type_urls
from xds.manager.service.manager import _guarded, _guarded_stream
from xds.registry.intercept import Disposition
from xds.serve.resource import content_version
from xds.serve.status import ClientStatus, TypeStatus
from xds.serve.store import View

Q = TypeVar("Q", bound=betterproto2.Message)
R = TypeVar("R", bound=betterproto2.Message)


class DebugService:
    """Only for the administrator."""

    def __init__(self, manager: Manager, callers: Callers) -> None:
        self._manager = manager
        self._callers = callers
        self._inspection = Inspection(manager)

    def handlers(self) -> Handlers:
        """What the server registers."""
        return Handlers(
            [
                _handler(Methods.LIST_SIDECARS, self._list_sidecars),
                _handler(Methods.GET_RESOURCES, self._get_resources),
                _handler(Methods.GET_HISTORY, self._get_history),
                _handler(Methods.COMPARE, self._compare),
                Methods.TAP.handler(_guarded_stream(self._tap)),
            ]
        )

    async def _list_sidecars(self, _: v1.ListSidecarsRequest, context: Context) -> v1.ListSidecarsReply:
        self._callers.admin(context)
        now = time.time()
        clients = self._inspection.streams()
        nodes = {
            names.node(key, instance)
            for key, workload in self._manager.state.workloads.items()
            for instance in workload.instances
        }
        return v1.ListSidecarsReply(
            sidecars=[self._sidecar(node, clients[node], now) for node in sorted(clients)],
            absent=sorted(nodes - clients.keys()),
            rejected=list(self._rejected()),
        )

    def _rejected(self) -> Iterable[v1.Rejection]:
        for one in sorted(self._manager.state.intercepts.values(), key=lambda one: one.sequence):
            if one.disposition is Disposition.REJECTED:
                yield v1.Rejection(
                    intercept_id=one.id,
                    name=one.spec.name,
                    owner=one.owner,
                    workload=str(one.spec.workload),
                    reason=one.reason,
                )

    def _sidecar(self, node: str, clients: list[ClientStatus], now: float) -> v1.Sidecar:
        last = clients[-1].stream
        types = newest(clients)
        return v1.Sidecar(
            node=node,
            envoy_version=last.user_agent.removeprefix("envoy/"),
            transport=transport(last),
            connected_seconds=max(0.0, now - last.connected),
            types=[
                _type_state(name, types[type_url], self._intended(last.view, types[type_url]), last.connected, now)
                for name, type_url in TYPES.items()
                if type_url in types
            ],
            peer=last.peer,
        )

    def _intended(self, view: View, status: TypeStatus) -> dict[str, str]:
        """Name and version of each resource that a client asked for and is meant to have now."""
        found = self._manager.store.snapshot(view, status.type_url).resources
        return {name: one.version for name, one in found.items() if status.wildcard or name in status.names}

    async def _get_resources(self, request: v1.GetResourcesRequest, context: Context) -> v1.GetResourcesReply:
        self._callers.admin(context)
        (type_url,) = type_urls([request.type])
        view = self._inspection.view(request.node)
        status = newest(self._inspection.streams().get(view.node, [])).get(type_url)
        acked = status.acked if status else {}
        found = self._manager.store.snapshot(view, type_url).resources
        return v1.GetResourcesReply(
            resources=[
                v1.Resource(
                    name=one.name,
                    version=one.version,
                    type_url=one.type_url,
                    body=shown(one),
                    acked_version=acked.get(one.name, ""),
                )
                for _, one in sorted(found.items())
            ]
        )

    async def _get_history(self, request: v1.GetHistoryRequest, context: Context) -> v1.GetHistoryReply:
        self._callers.admin(context)
        return self._inspection.history(request.node)

    def _tap(self, request: v1.TapRequest, context: Context) -> AsyncIterator[v1.TapEvent]:
        self._callers.admin(context)
        return self._inspection.tap(request.node, list(request.types))

    async def _compare(self, request: v1.CompareRequest, context: Context) -> v1.CompareReply:
        self._callers.admin(context)
        return self._inspection.compare(request.node, list(request.types), bodies=request.bodies)


def _handler(method: Unary[Q, R], behaviour: Callable[[Q, Context], Awaitable[R]]) -> tuple[str, Handler]:
    """What a server registers. Ten thousand resources would hold up laptops' heartbeats for a second if betterproto2
    serialised them."""
    parse: Callable[[bytes], Q] = method.request.parse
    return method.path, grpc.unary_unary_rpc_method_handler(_guarded(behaviour), parse, encode)


def _type_state(
    name: str, status: TypeStatus, intended: Mapping[str, str], connected: float, now: float
) -> v1.TypeState:
    sent = status.last_sent
    since = max(sent.at if sent else connected, status.nack.at if status.nack else 0.0)
    acked = dict(status.acked)
    return v1.TypeState(
        type=name,
        state=status.state,
        nack=status.nack.text if status.nack else "",
        age_seconds=max(0.0, now - since),
        resources=len(acked),
        sent_version=_digest(intended),
        acked_version=_digest(acked),
        intended=len(intended),
        behind=sorted(one for one in intended.keys() | acked.keys() if intended.get(one) != acked.get(one)),
    )


def _digest(versions: Mapping[str, str]) -> str:
    """One version for a set of resources; empty for none."""
    listing = "".join(f"{name}\0{versions[name]}\0" for name in sorted(versions))
    return content_version(listing.encode()) if versions else ""
