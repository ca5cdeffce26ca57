"""Clusters: the app of a workload port, and those that take an intercept's requests.

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
    OutlierDetection,
    UpstreamConnectionOptions,
)
from envoy_data_plane.envoy.config.core.v3 import TcpKeepalive, TransportSocket
from envoy_data_plane.envoy.extensions.transport_sockets.internal_upstream.v3 import InternalUpstreamTransport
from envoy_data_plane.envoy.extensions.transport_sockets.raw_buffer.v3 import RawBuffer
from envoy_data_plane.envoy.type.v3 import Percent

from xds.compile import names, tls
from xds.compile.ads import ads
from xds.compile.encode import pack
from xds.compile.transparent import http2_upstream_options, single_use_options, upstream_options

APP_CONNECT_TIMEOUT = timedelta(seconds=10)
LAPTOP_CONNECT_TIMEOUT = timedelta(seconds=1.5)
"""Long enough for one lost SYN, which is sent again after a second; then the app answers."""

ASIDE = timedelta(milliseconds=200)
"""How long a laptop that refused a connection is not asked again: the daemon takes as long to tell the manager."""

UNLIMITED = (1 << 32) - 1
"""Envoy's default of 1,024 connections and requests would refuse what the app alone would take, and its default of
three concurrent retries would fail requests when a busy laptop stops listening."""


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


def tcp_laptop(name: str) -> Cluster:
    """A laptop that takes connections as they are.

    A try of the TCP proxy can't ask for another priority than the one before did. So the first refusal puts the laptop
    aside for a moment, and the next try finds the app. https://github.com/envoyproxy/envoy/issues/31217
    """
    cluster = laptop(name)
    cluster.outlier_detection = OutlierDetection(
        split_external_local_origin_errors=True,
        consecutive_local_origin_failure=1,
        interval=ASIDE,
        base_ejection_time=ASIDE,
        max_ejection_time=ASIDE,
        max_ejection_percent=100,
    )
    return cluster


def gateways() -> Cluster:
    """The gateways, for sidecars: HTTP/2, since tunnels carry nothing else, and each side shows who it is."""
    cluster = _eds(names.GATEWAYS, LAPTOP_CONNECT_TIMEOUT)
    cluster.typed_extension_protocol_options = http2_upstream_options()
    cluster.transport_socket = tls.to_gateway()
    return cluster


def service(name: str) -> Cluster:
    """A workload's port, for laptops that call into the cluster: a connection there for each of theirs."""
    cluster = _eds(name, APP_CONNECT_TIMEOUT)
    cluster.typed_extension_protocol_options = single_use_options()
    return cluster


def hop(name: str) -> Cluster:
    """An internal listener of the same process."""
    return _through_hop(name, LAPTOP_CONNECT_TIMEOUT)


def tcp(name: str) -> Cluster:
    """Whoever takes a port's connections as they are: an internal listener of the same process, or the app."""
    return _through_hop(name, APP_CONNECT_TIMEOUT)


def _through_hop(name: str, connect_timeout: timedelta) -> Cluster:
    cluster = _eds(name, connect_timeout)
    raw = TransportSocket(name="raw", typed_config=pack(RawBuffer()))
    cluster.transport_socket = TransportSocket(
        name="internal", typed_config=pack(InternalUpstreamTransport(transport_socket=raw))
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
        common_lb_config=ClusterCommonLbConfig(
            # Without this Envoy goes on sending to an unhealthy laptop as soon as that is most of what it has.
            healthy_panic_threshold=Percent(value=0),
            # By default a second change of health within a second is kept until that is over, or lost.
            update_merge_window=timedelta(0),
        ),
        circuit_breakers=CircuitBreakers(thresholds=[limits]),
        typed_extension_protocol_options=upstream_options(),
    )
