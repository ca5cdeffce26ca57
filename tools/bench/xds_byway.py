"""The manager to be measured, without its disk and its API: `python -m bench.xds_server byway`."""

from __future__ import annotations

import grpc

from bench import xds_seed
from xds.compile import names
from xds.compile.warm import warm_up
from xds.serve import Metadata, Node, View, XdsServer


class Byway:
    """The manager, but for its disk and its API."""

    def __init__(self, groups: int, instances: int, existing: int) -> None:
        warm_up()
        self._manager = xds_seed.manager(workloads=groups, instances=instances, existing=existing)
        self._existing = existing
        self._groups = groups
        self._xds = XdsServer(
            self._manager.store, authenticate=self._admit, identifier="bench", observer=self._manager.delivery
        )
        self._manager.sidecars.server = self._xds
        self._manager.store.complete()

    async def _admit(self, node: Node, metadata: Metadata) -> View:  # noqa: ARG002  the library's shape
        key = xds_seed.workload_id(int(node.cluster[1:]))
        return View(str(key), names.node(key, f"i{int(node.id[1:]) // self._groups}"))

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        return self._xds.handlers()

    def change(self, number: int, group: int) -> dict[str, float]:
        spent = xds_seed.add(self._manager, group=group, number=self._existing + number)
        return {"registry": spent.registry, "commit": spent.commit}
