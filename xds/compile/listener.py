"""Listeners: one for each port of a workload, at the address where this instance's sidecar accepts connections.

Declared HTTP goes to the connection manager without sniffing, declared TCP and TLS to the TCP proxy. Where nothing is
declared the first bytes decide; a protocol in which the server speaks first costs its clients the sniffing time once.
"""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.listener.v3 import (
    FilterChain,
    FilterChainMatch,
    Listener,
    ListenerFilter,
)
from envoy_data_plane.envoy.extensions.filters.listener.http_inspector.v3 import HttpInspector
from envoy_data_plane.envoy.extensions.filters.listener.tls_inspector.v3 import TlsInspector

from xds.compile.connection_manager import connection_manager
from xds.compile.encode import pack
from xds.compile.endpoint import socket_address
from xds.compile.tcp import tcp_proxy
from xds.registry.workload import Address, AppProtocol

SNIFF_TIME = timedelta(milliseconds=200)
BUFFER_LIMIT = 32 << 10
"""Bytes kept for each side of a connection before the other side is asked to wait."""


def listener(name: str, address: Address, protocol: AppProtocol, tcp_cluster: str) -> Listener:
    """The listener of one port of one instance; `name` is also that of its route configuration.

    `tcp_cluster` takes the connections that carry no HTTP, where there may be such.
    """
    built = Listener(name=name, address=socket_address(address), per_connection_buffer_limit_bytes=BUFFER_LIMIT)
    stat_prefix = name.replace("/", ".")
    tcp = FilterChain(filters=[tcp_proxy(stat_prefix, tcp_cluster)])
    if not protocol.may_be_http:
        built.filter_chains = [tcp]
        return built
    http = FilterChain(filters=[connection_manager(stat_prefix, rds=name)])
    built.filter_chains = [http]
    if protocol is AppProtocol.UNKNOWN:
        http.filter_chain_match = FilterChainMatch(
            transport_protocol="raw_buffer", application_protocols=["http/1.0", "http/1.1", "h2c"]
        )
        built.default_filter_chain = tcp
        built.listener_filters = [
            ListenerFilter(name="tls_inspector", typed_config=pack(TlsInspector())),
            ListenerFilter(name="http_inspector", typed_config=pack(HttpInspector())),
        ]
        built.listener_filters_timeout = SNIFF_TIME
        built.continue_on_listener_filters_timeout = True
    return built
