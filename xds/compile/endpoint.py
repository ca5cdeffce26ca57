"""Endpoints: the addresses behind a cluster, for one instance of the workload.

An intercept's cluster has the way to the laptop as first priority and the instance's own app as second; the app's
address differs from instance to instance, so endpoints belong to a node. The app is reached at its own address, not
at the loopback of the pod: an app that trusts what comes from localhost must not be opened to everybody.
"""

from __future__ import annotations

from functools import lru_cache

from envoy_data_plane.envoy.config.core.v3 import Address as EnvoyAddress
from envoy_data_plane.envoy.config.core.v3 import EnvoyInternalAddress, HealthStatus, SocketAddress
from envoy_data_plane.envoy.config.endpoint.v3 import Endpoint, LbEndpoint, LocalityLbEndpoints

from xds.compile import wire
from xds.compile.encode import encode
from xds.compile.route import metadata
from xds.registry.gateway import Gateway
from xds.registry.workload import Address

LAPTOP_FACTS = {"served-by": "laptop", "cache-control": "no-store"}
APP_FACTS = {"served-by": "cluster"}


def socket_address(address: Address) -> EnvoyAddress:
    """An address as Envoy takes it."""
    return EnvoyAddress(socket_address=SocketAddress(address=address.host, port_value=address.port))


@lru_cache(maxsize=65536)
def app_locality(address: Address, *, priority: int) -> bytes:
    """The app."""
    return _locality(socket_address(address), priority=priority, facts=APP_FACTS)


@lru_cache(maxsize=65536)
def laptop_locality(address: Address) -> bytes:
    """A laptop's target."""
    return _locality(socket_address(address), priority=0, facts=LAPTOP_FACTS)


@lru_cache(maxsize=65536)
def hop_locality(listener: str, *, up: bool) -> bytes:
    """An internal listener of the sidecar."""
    address = EnvoyAddress(
        envoy_internal_address=EnvoyInternalAddress(server_listener_name=listener, endpoint_id=listener)
    )
    return _locality(address, priority=0, up=up)


@lru_cache(maxsize=64)
def gateways_locality(gateways: tuple[Gateway, ...]) -> bytes:
    """Every gateway, where sidecars reach it."""
    each = [LbEndpoint(endpoint=Endpoint(address=socket_address(one.sidecars))) for one in gateways]
    return encode(LocalityLbEndpoints(lb_endpoints=each, priority=0))


@lru_cache(maxsize=8192)
def instances_locality(addresses: tuple[Address, ...]) -> bytes:
    """A workload's port at each of its instances."""
    each = [LbEndpoint(endpoint=Endpoint(address=socket_address(one))) for one in addresses]
    return encode(LocalityLbEndpoints(lb_endpoints=each, priority=0))


def _locality(address: EnvoyAddress, *, priority: int, up: bool = True, facts: dict[str, str] | None = None) -> bytes:
    one = LbEndpoint(
        endpoint=Endpoint(address=address),
        health_status=HealthStatus.HEALTHY if up else HealthStatus.UNHEALTHY,
        metadata=metadata(facts) if facts else None,
    )
    return encode(LocalityLbEndpoints(lb_endpoints=[one], priority=priority))


def assignment(cluster: str, localities: list[bytes]) -> bytes:
    """A ClusterLoadAssignment of serialised localities: cluster_name = 1, endpoints = 2."""
    return wire.text(1, cluster) + wire.repeated(2, localities)
