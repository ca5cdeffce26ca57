"""Gateways: what they are given, the same for all of them but the addresses at which each listens.

    sidecars ──TLS, both sides──▶ listener `sidecars` ──▶ route of an intercept's port ──▶ cluster `laptops`: a tunnel
    laptops ──TLS and a token──▶ listener `laptops` ──CONNECT──▶ cluster `accept`: the laptop's tunnel begins
                                                    ──CONNECT──▶ a service of the cluster

What needs fields that our messages don't know is in the gateway's bootstrap: the clusters `laptops`, `accept` and
`jwks`, and the listener behind `accept`, which checks that the token is for the very tunnel.

Nobody reaches a laptop without an intercept that says so: a route names the one workload whose sidecars may take it,
which they prove by their certificates, and the tunnel and target to which it leads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from envoy_data_plane.envoy.config.core.v3 import TransportSocket
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerCodecType,
    HttpConnectionManagerUpgradeConfig,
)

from xds.compile import cluster, endpoint, names, tls
from xds.compile.admission import admitting
from xds.compile.connection_manager import as_filter, by_rds, transparent_manager
from xds.compile.encode import encode
from xds.compile.gateway_routes import Passage, to_laptops, to_sidecars
from xds.compile.peer import naming_the_peer
from xds.compile.transparent import tunnel_http2_options
from xds.compile.workload import Named
from xds.registry.gateway import Gateway
from xds.registry.unrouted import UPGRADES
from xds.registry.workload import Address, AppProtocol, Workload


@dataclass(frozen=True, slots=True)
class GatewayState:
    """The gateways, the passages that there are to laptops, the names of the tunnels that may be there, and what
    laptops may call.
    """

    gateways: tuple[Gateway, ...]
    passages: tuple[Passage, ...] = ()
    tunnels: frozenset[str] = frozenset()
    workloads: tuple[Workload, ...] = ()


@dataclass(slots=True)
class CompiledGateways:
    """The resources that gateways share, and each gateway's own listeners by its name."""

    clusters: Named = field(default_factory=dict)
    endpoints: Named = field(default_factory=dict)
    routes: Named = field(default_factory=dict)
    listeners: dict[str, Named] = field(default_factory=dict)


def compile_gateways(state: GatewayState) -> CompiledGateways:
    """Compile what the gateways need."""
    out = CompiledGateways()
    for gateway in state.gateways:
        out.listeners[gateway.name] = {
            names.TO_SIDECARS: _sidecars_listener(gateway.sidecars),
            names.TO_LAPTOPS: _laptops_listener(gateway.tunnel),
        }
    out.routes[names.TO_SIDECARS] = to_sidecars(state.passages)
    out.routes[names.TO_LAPTOPS] = to_laptops(state.tunnels, state.workloads)
    for workload in state.workloads:
        for port in workload.ports:
            if port.protocol is not AppProtocol.UDP:
                name = names.service_cluster(workload.id, port.number)
                addresses = tuple(one.listen[port.number] for one in workload.instances.values())
                out.clusters[name] = _service(name)
                out.endpoints[name] = endpoint.assignment(name, [endpoint.instances_locality(addresses)])
    return out


@lru_cache(maxsize=64)
def _sidecars_listener(address: Address) -> bytes:
    manager = _manager("sidecars", [*UPGRADES, "CONNECT"], mark_away=True)
    manager.early_header_mutation_extensions = [naming_the_peer()]
    manager.rds = by_rds(names.TO_SIDECARS)
    return _listener(names.TO_SIDECARS, address, manager, tls.from_sidecar())


@lru_cache(maxsize=64)
def _laptops_listener(address: Address) -> bytes:
    manager = _manager("laptops", ["CONNECT"])
    manager.http_filters = [*admitting(), *manager.http_filters]
    manager.rds = by_rds(names.TO_LAPTOPS)
    return _listener(names.TO_LAPTOPS, address, manager, tls.from_laptop())


def _manager(stat_prefix: str, upgrades: Sequence[str], *, mark_away: bool = False) -> HttpConnectionManager:
    manager = transparent_manager(stat_prefix, mark_away=mark_away)
    manager.codec_type = HttpConnectionManagerCodecType.HTTP2
    manager.http2_protocol_options = tunnel_http2_options()
    manager.upgrade_configs = [HttpConnectionManagerUpgradeConfig(upgrade_type=one) for one in upgrades]
    return manager


def _listener(name: str, address: Address, manager: HttpConnectionManager, socket: TransportSocket) -> bytes:
    filters: list[Filter] = [as_filter(manager)]
    chain = FilterChain(filters=filters, transport_socket=socket)
    return encode(Listener(name=name, address=endpoint.socket_address(address), filter_chains=[chain]))


@lru_cache(maxsize=8192)
def _service(name: str) -> bytes:
    return encode(cluster.service(name))
