"""What gateways are given: who may reach which laptop, and which laptops may come in."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import betterproto2
import yaml
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration

from tests.compile.goldens import GOLDEN, golden_state
from xds.compile import names
from xds.compile.gateway import CompiledGateways, GatewayState, compile_gateways
from xds.compile.gateway_routes import Passage
from xds.registry.intercept import Target

EXPECTED = Path(__file__).parent / "golden" / "gateways.yaml"
STATE = golden_state("tunnel")


def state() -> GatewayState:
    """The gateways of the golden file `tunnel`."""
    passages = tuple(
        Passage(one.intercept, port, Target(reach.address.host, reach.address.port), reach.tunnel)
        for one in STATE.routed
        for port, reach in one.laptops.items()
        if reach.tunnel
    )
    return GatewayState(STATE.gateways, passages, frozenset(one.tunnel for one in passages), (STATE.workload,))


def decoded(kind: type[betterproto2.Message], data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = kind.parse(data).to_dict(casing=betterproto2.Casing.SNAKE)
    return found


def shown(compiled: CompiledGateways) -> str:
    out = {
        "routes": {name: decoded(RouteConfiguration, data) for name, data in compiled.routes.items()},
        "listeners": {name: decoded(Listener, data) for name, data in compiled.listeners["gw-1"].items()},
        "endpoints": {name: decoded(ClusterLoadAssignment, data) for name, data in compiled.endpoints.items()},
        "clusters (names)": sorted(decoded(Cluster, data)["name"] for data in compiled.clusters.values()),
    }
    return yaml.safe_dump(out, sort_keys=False, width=110)


def test_golden() -> None:
    found = shown(compile_gateways(state()))
    if os.environ.get("BYWAY_REWRITE_GOLDENS") == "1":
        EXPECTED.write_text(found)
    assert found == EXPECTED.read_text(), "BYWAY_REWRITE_GOLDENS=1 writes it anew"
    assert EXPECTED.parent == GOLDEN


def test_an_intercept_changes_one_route_configuration_and_a_session_the_other() -> None:
    """Listeners never change, so nobody's tunnel is cut."""
    before = compile_gateways(state())
    fewer = compile_gateways(replace(state(), passages=state().passages[:1]))
    assert fewer.routes[names.TO_SIDECARS] != before.routes[names.TO_SIDECARS]
    assert fewer.routes[names.TO_LAPTOPS] == before.routes[names.TO_LAPTOPS]
    ended = compile_gateways(replace(state(), tunnels=frozenset({"s-alice.0011aabb"})))
    assert ended.routes[names.TO_SIDECARS] == before.routes[names.TO_SIDECARS]
    assert ended.routes[names.TO_LAPTOPS] != before.routes[names.TO_LAPTOPS]
    assert before.listeners == fewer.listeners == ended.listeners


def test_without_a_session_no_tunnel_is_admitted() -> None:
    compiled = compile_gateways(replace(state(), tunnels=frozenset()))
    found = decoded(RouteConfiguration, compiled.routes[names.TO_LAPTOPS])
    assert found["typed_per_filter_config"]["tunnels"]["rbac"]["rules"] == {}
