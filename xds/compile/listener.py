"""Listeners: one for each port of a workload, at the address where this instance's sidecar accepts connections.

Declared HTTP goes to the connection manager without sniffing, declared TCP and TLS to the TCP proxy. Where nothing is
declared the first bytes decide; a protocol in which the server speaks first costs its clients the sniffing time once.
"""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import Http1ProtocolOptions
from envoy_data_plane.envoy.config.listener.v3 import (
    Filter,
    FilterChain,
    FilterChainMatch,
    Listener,
    ListenerFilter,
)
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.listener.http_inspector.v3 import HttpInspector
from envoy_data_plane.envoy.extensions.filters.listener.tls_inspector.v3 import TlsInspector
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerCodecType,
    HttpConnectionManagerForwardClientCertDetails,
    HttpConnectionManagerPathWithEscapedSlashesAction,
    HttpConnectionManagerServerHeaderTransformation,
    HttpConnectionManagerUpgradeConfig,
    HttpFilter,
    Rds,
)
from envoy_data_plane.envoy.extensions.filters.network.tcp_proxy.v3 import TcpProxy
from envoy_data_plane.google.protobuf import Any

from xds.compile.endpoint import socket_address
from xds.compile.local_reply import local_replies
from xds.compile.transparent import FOREVER, common_options, http1_options, http2_options
from xds.registry.workload import Address, AppProtocol

SNIFF_TIME = timedelta(milliseconds=200)
BUFFER_LIMIT = 32 << 10
"""Bytes kept for each side of a connection before the other side is asked to wait."""


def listener(name: str, address: Address, protocol: AppProtocol, app_cluster: str) -> Listener:
    """The listener of one port of one instance; `name` is also that of its route configuration."""
    http = FilterChain(filters=[_connection_manager(name)])
    tcp = FilterChain(filters=[_tcp_proxy(name, app_cluster)])
    built = Listener(
        name=name,
        address=socket_address(address),
        per_connection_buffer_limit_bytes=BUFFER_LIMIT,
        enable_reuse_port=True,
    )
    if protocol.is_http:
        built.filter_chains = [http]
    elif protocol is AppProtocol.UNKNOWN:
        http.filter_chain_match = FilterChainMatch(
            transport_protocol="raw_buffer", application_protocols=["http/1.0", "http/1.1", "h2c"]
        )
        built.filter_chains = [http]
        built.default_filter_chain = tcp
        built.listener_filters = [
            ListenerFilter(name="tls_inspector", typed_config=Any.pack(TlsInspector())),
            ListenerFilter(name="http_inspector", typed_config=Any.pack(HttpInspector())),
        ]
        built.listener_filters_timeout = SNIFF_TIME
        built.continue_on_listener_filters_timeout = True
    else:
        built.filter_chains = [tcp]
    return built


def _connection_manager(name: str) -> Filter:
    manager = HttpConnectionManager(
        stat_prefix=name.replace("/", "."),
        codec_type=HttpConnectionManagerCodecType.AUTO,
        # No time limit on the first routes: a listener without routes would answer 404 for the app.
        rds=Rds(config_source=ads_waiting(), route_config_name=name),
        http_filters=[HttpFilter(name="router", typed_config=Any.pack(Router(suppress_envoy_headers=True)))],
        common_http_protocol_options=common_options(),
        http_protocol_options=_downstream_http1(),
        http2_protocol_options=http2_options(),
        server_header_transformation=HttpConnectionManagerServerHeaderTransformation.PASS_THROUGH,
        forward_client_cert_details=HttpConnectionManagerForwardClientCertDetails.ALWAYS_FORWARD_ONLY,
        max_request_headers_kb=8192,
        stream_idle_timeout=FOREVER,
        request_timeout=FOREVER,
        use_remote_address=False,
        skip_xff_append=True,
        generate_request_id=False,
        preserve_external_request_id=True,
        proxy_100_continue=True,
        normalize_path=False,
        merge_slashes=False,
        path_with_escaped_slashes_action=HttpConnectionManagerPathWithEscapedSlashesAction.KEEP_UNCHANGED,
        upgrade_configs=[HttpConnectionManagerUpgradeConfig(upgrade_type="websocket")],
        local_reply_config=local_replies(),
    )
    return Filter(name="http", typed_config=Any.pack(manager))


def _downstream_http1() -> Http1ProtocolOptions:
    return http1_options()


def _tcp_proxy(name: str, cluster: str) -> Filter:
    proxy = TcpProxy(stat_prefix=name.replace("/", "."), cluster=cluster, idle_timeout=FOREVER)
    return Filter(name="tcp", typed_config=Any.pack(proxy))
