"""byway.manager.v1.Debug: what the xDS debugging tool asks."""

from __future__ import annotations

import time

import grpc

from xds.api.byway.manager import v1
from xds.api.rpc import Context, Handlers
from xds.api.services import Debug as Methods
from xds.compile import names
from xds.manager.core import Manager
from xds.manager.service.callers import CallError, Callers
from xds.manager.service.manager import _guarded
from xds.serve.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE
from xds.serve.status import ClientStatus, TypeStatus
from xds.serve.store import View

TYPES = {"listeners": LISTENER, "routes": ROUTE, "clusters": CLUSTER, "endpoints": ENDPOINT}


class DebugService:
    """Only for the administrator."""

    def __init__(self, manager: Manager, callers: Callers) -> None:
        self._manager = manager
        self._callers = callers

    def handlers(self) -> Handlers:
        """What the server registers."""
        return Handlers(
            [
                Methods.LIST_SIDECARS.handler(_guarded(self._list_sidecars)),
                Methods.GET_RESOURCES.handler(_guarded(self._get_resources)),
            ]
        )

    def _clients(self) -> list[ClientStatus]:
        return self._manager.server.clients() if self._manager.server else []

    async def _list_sidecars(self, _: v1.ListSidecarsRequest, context: Context) -> v1.ListSidecarsReply:
        self._callers.admin(context)
        now = time.time()
        return v1.ListSidecarsReply(sidecars=[_sidecar(client, now) for client in self._clients()])

    async def _get_resources(self, request: v1.GetResourcesRequest, context: Context) -> v1.GetResourcesReply:
        self._callers.admin(context)
        type_url = TYPES.get(request.type)
        if type_url is None:
            raise CallError(grpc.StatusCode.INVALID_ARGUMENT, f"TYPE: {request.type!r} is none of {', '.join(TYPES)}")
        view = self._view(request.node)
        acked = self._acked(request.node, type_url)
        found = self._manager.store.snapshot(view, type_url).resources
        return v1.GetResourcesReply(
            resources=[
                v1.Resource(
                    name=one.name,
                    version=one.version,
                    type_url=one.type_url,
                    body=one.body,
                    acked_version=acked.get(one.name, ""),
                )
                for _, one in sorted(found.items())
            ]
        )

    def _view(self, node: str) -> View:
        for key, workload in self._manager.state.workloads.items():
            for instance in workload.instances:
                if node in {names.node(key, instance), instance}:
                    return View(str(key), names.node(key, instance))
        raise CallError(grpc.StatusCode.NOT_FOUND, f"there is no node {node!r}; `xdsctl status` lists them")

    def _acked(self, node: str, type_url: str) -> dict[str, str]:
        for client in self._clients():
            if client.stream.view.node == self._view(node).node and type_url in client.types:
                return dict(client.types[type_url].acked)
        return {}


def _sidecar(client: ClientStatus, now: float) -> v1.Sidecar:
    stream = client.stream
    return v1.Sidecar(
        node=stream.node_id,
        envoy_version=stream.user_agent.removeprefix("envoy/"),
        transport=f"{stream.variant}{'' if stream.aggregated else ', per type'}",
        connected_seconds=max(0.0, now - stream.connected),
        types=[
            _type_state(name, client.types[type_url], stream.connected, now)
            for name, type_url in TYPES.items()
            if type_url in client.types
        ],
    )


def _type_state(name: str, status: TypeStatus, connected: float, now: float) -> v1.TypeState:
    sent = status.last_sent
    since = max(sent.at if sent else connected, status.nack.at if status.nack else 0.0)
    return v1.TypeState(
        type=name,
        state=status.state,
        nack=status.nack.text if status.nack else "",
        age_seconds=max(0.0, now - since),
        resources=len(status.acked),
        sent_version=_digest(dict(sent.resources)) if sent else "",
        acked_version=_digest(dict(status.acked)),
    )


def _digest(versions: dict[str, str]) -> str:
    """One short version for a set of resources: their own where there is one, else how many there are."""
    if len(versions) == 1:
        return next(iter(versions.values()))
    return f"{len(versions)} resources" if versions else ""
