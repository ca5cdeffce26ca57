"""From a file to each instance's resources, without a manager.

The same reading, the same rules and the same compilation as the manager's, so that names and versions are the same too.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from xds.compile import names
from xds.compile.state import workload_state
from xds.compile.workload import Compiled, Named, compile_workload
from xds.config import StateFile
from xds.registry.workload import Workload
from xds.serve.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, content_version
from xds.terminal.output import styled
from xdsctl.decode import decode
from xdsctl.resources import Listing, Resource
from xdsctl.tables import listing_table


@dataclass(frozen=True, slots=True)
class Translated:
    """What one instance's sidecar would be given, by type."""

    node: str
    resources: Mapping[str, list[Resource]]

    def listing(self, kind: str) -> Listing:
        """One type, to be shown."""
        endpoints = self.resources["endpoints"] if kind == "clusters" else []
        return Listing(self.node, kind, "file", self.resources[kind], endpoints=endpoints)


def translate_state(found: StateFile) -> list[Translated]:
    """Every instance of every workload, in the order of the file."""
    return [one for workload in found.config.workloads for one in _workload(found, workload)]


def _workload(found: StateFile, workload: Workload) -> list[Translated]:
    ids = [one.id for one in found.state.of_workload(workload.id)]
    wanted = workload_state(found.state, workload, ids, when=_moment)
    compiled = compile_workload(replace(wanted, gateways=found.config.gateways))
    return [Translated(names.node(workload.id, each), _resources(compiled, each)) for each in workload.instances]


def _moment(at: float) -> str:
    """A file says that a laptop is away, and not since when."""
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(at))


def _resources(compiled: Compiled, instance: str) -> dict[str, list[Resource]]:
    found: dict[str, tuple[str, Named]] = {
        "listeners": (LISTENER, compiled.hops | compiled.listeners[instance]),
        "routes": (ROUTE, compiled.routes),
        "clusters": (CLUSTER, compiled.clusters),
        "endpoints": (ENDPOINT, compiled.endpoints[instance]),
    }
    return {
        kind: [Resource(name, decode(url, named[name]), content_version(named[name])) for name in sorted(named)]
        for kind, (url, named) in found.items()
    }


def as_dict(nodes: list[Translated], kinds: tuple[str, ...], warnings: tuple[str, ...]) -> dict[str, Any]:
    """What `-o json` and `-o yaml` print."""
    shown = []
    for one in nodes:
        types = {
            kind: [{"name": each.name, "version": each.version, "resource": each.body} for each in one.resources[kind]]
            for kind in kinds
        }
        shown.append({"node": one.node, **types})
    return {"instances": shown, **({"warnings": list(warnings)} if warnings else {})}


def text(nodes: list[Translated], kinds: tuple[str, ...], *, wide: bool) -> str:
    """The tables, under the name of each instance and type."""
    parts = []
    for one in nodes:
        for kind in kinds:
            count = len(one.resources[kind])
            title = f"{styled(f'{one.node} {kind}', bold=True)}: {count or 'none'}\n"
            parts.append(title + (listing_table(one.listing(kind), wide=wide) if count else ""))
    return "\n".join(parts)
