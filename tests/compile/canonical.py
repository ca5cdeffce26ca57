"""Compiled resources as YAML that people can read, and the message type of each kind of resource."""

from __future__ import annotations

from typing import Any

import betterproto2
import yaml
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration

from xds.compile.workload import Compiled, Named

Yaml = dict[str, Any]
MESSAGES: dict[str, type[betterproto2.Message]] = {
    "routes": RouteConfiguration,
    "endpoints": ClusterLoadAssignment,
    "clusters": Cluster,
    "hops": Listener,
    "listeners": Listener,
}


def sections(compiled: Compiled) -> dict[str, Named]:
    """Every resource by kind and name; those of an instance have its id in front."""
    return {
        "routes": compiled.routes,
        "endpoints": _of_instances(compiled.endpoints),
        "clusters": compiled.clusters,
        "hops": compiled.hops,
        "listeners": _of_instances(compiled.listeners),
    }


def _of_instances(named: dict[str, Named]) -> Named:
    return {f"{instance}: {name}": data for instance, found in named.items() for name, data in found.items()}


def canonical(compiled: Compiled, *, show: list[str]) -> str:
    """As YAML: of the kinds in `show` everything, of the others the names."""
    out: Yaml = {}
    for kind, named in sections(compiled).items():
        if kind in show:
            out[kind] = {name: decoded(kind, data) for name, data in sorted(named.items())}
        else:
            out[f"{kind} (names)"] = sorted(named)
    return yaml.dump(out, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110)


def decoded(kind: str, data: bytes) -> Yaml:
    """A resource as a dictionary, fields in the order of their numbers."""
    found: Yaml = MESSAGES[kind].parse(data).to_dict(casing=betterproto2.Casing.SNAKE)
    return found


class _Plain(yaml.SafeDumper):
    """Without anchors: equal parts are written out."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
