"""Clusters: the app of a workload port, and one for each laptop target that takes requests from it.

All are EDS over the aggregated stream, so that going away and coming back is a health flip and never a cluster edit.
"""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterCommonLbConfig,
    ClusterDiscoveryType,
    ClusterEdsClusterConfig,
    UpstreamConnectionOptions,
)
from envoy_data_plane.envoy.config.core.v3 import (
    AggregatedConfigSource,
    ApiVersion,
    ConfigSource,
    TcpKeepalive,
)
from envoy_data_plane.envoy.type.v3 import Percent

from xds.compile.transparent import upstream_options

APP_CONNECT_TIMEOUT = timedelta(seconds=10)
LAPTOP_CONNECT_TIMEOUT = timedelta(seconds=1.5)
"""Long enough for one lost SYN, which is sent again after a second; then the app answers."""

UNLIMITED = 1 << 30
"""Envoy's default of 1,024 connections and requests would refuse what the app alone would take."""


def ads() -> ConfigSource:
    """From the stream that everything comes by."""
    return ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)


def app(name: str) -> Cluster:
    """The app itself, at the instance's own address."""
    return _eds(name, APP_CONNECT_TIMEOUT)


def laptop(name: str) -> Cluster:
    """A laptop that is reached directly. Keepalives notice within 5 s that its machine is gone without a word."""
    cluster = _eds(name, LAPTOP_CONNECT_TIMEOUT)
    cluster.upstream_connection_options = UpstreamConnectionOptions(
        tcp_keepalive=TcpKeepalive(keepalive_time=2, keepalive_interval=1, keepalive_probes=3)
    )
    return cluster


def _eds(name: str, connect_timeout: timedelta) -> Cluster:
    limits = CircuitBreakersThresholds(
        max_connections=UNLIMITED, max_pending_requests=UNLIMITED, max_requests=UNLIMITED, max_retries=UNLIMITED
    )
    return Cluster(
        name=name,
        type=ClusterDiscoveryType.EDS,
        eds_cluster_config=ClusterEdsClusterConfig(eds_config=ads()),
        connect_timeout=connect_timeout,
        # Without this Envoy goes on sending to an unhealthy laptop as soon as that is most of what it has.
        common_lb_config=ClusterCommonLbConfig(healthy_panic_threshold=Percent(value=0)),
        circuit_breakers=CircuitBreakers(thresholds=[limits]),
        typed_extension_protocol_options=upstream_options(),
    )
