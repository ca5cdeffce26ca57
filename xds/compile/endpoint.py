"""Endpoints: the addresses behind a cluster, for one instance of the workload.

A laptop's cluster has the laptop as first priority and the instance's own app as second; the app's address differs from
instance to instance, so endpoints belong to a node. The app is reached at its own address, not at the loopback of the
pod: an app that trusts what comes from localhost must not be opened to everybody.
"""

from __future__ import annotations

from functools import lru_cache

from envoy_data_plane.envoy.config.core.v3 import Address as EnvoyAddress
from envoy_data_plane.envoy.config.core.v3 import HealthStatus, SocketAddress
from envoy_data_plane.envoy.config.endpoint.v3 import Endpoint, LbEndpoint, LocalityLbEndpoints

from xds.compile import wire
from xds.compile.route import metadata
from xds.compile.state import Reach
from xds.registry.workload import Address

LAPTOP_FACTS = {"served-by": "laptop", "cache-control": "no-store"}
APP_FACTS = {"served-by": "cluster"}


def socket_address(address: Address) -> EnvoyAddress:
    """An address as Envoy takes it."""
    return EnvoyAddress(socket_address=SocketAddress(address=address.host, port_value=address.port))


@lru_cache(maxsize=65536)
def locality(address: Address, *, laptop: bool, priority: int, up: bool) -> bytes:
    """One endpoint in a locality of its own, serialised."""
    endpoint = LbEndpoint(
        endpoint=Endpoint(address=socket_address(address)),
        health_status=HealthStatus.HEALTHY if up else HealthStatus.UNHEALTHY,
        metadata=metadata(LAPTOP_FACTS if laptop else APP_FACTS),
    )
    return bytes(LocalityLbEndpoints(lb_endpoints=[endpoint], priority=priority))


def app(cluster: str, address: Address) -> bytes:
    """The assignment of the app's cluster."""
    return assignment(cluster, [locality(address, laptop=False, priority=0, up=True)])


def laptop(cluster: str, reach: Reach, fallback: Address | None) -> bytes:
    """The assignment of a laptop's cluster; without a fallback, nobody else answers."""
    localities = [locality(reach.address, laptop=True, priority=0, up=reach.up)]
    if fallback is not None:
        localities.append(locality(fallback, laptop=False, priority=1, up=True))
    return assignment(cluster, localities)


def assignment(cluster: str, localities: list[bytes]) -> bytes:
    """A ClusterLoadAssignment of serialised localities: cluster_name = 1, endpoints = 2."""
    return wire.text(1, cluster) + wire.repeated(2, localities)
