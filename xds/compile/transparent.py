"""The settings that keep a sidecar from changing what passes through it, for both of its sides.

Each undoes a default that was seen to change requests or responses; README, “What the sidecar changes”, lists the
rest that no setting undoes.
"""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import (
    Http1ProtocolOptions,
    Http1ProtocolOptionsHeaderKeyFormat,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    KeepaliveSettings,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.extensions.http.header_formatters.preserve_case.v3 import PreserveCaseFormatterConfig
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptions as UpstreamHttpProtocolOptions
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptionsExplicitHttpConfig,
    HttpProtocolOptionsUseDownstreamHttpConfig,
)
from envoy_data_plane.google.protobuf import Any

from xds.compile.encode import pack

FOREVER = timedelta(0)
"""Envoy reads a time limit of zero as none: somebody may sit at a breakpoint."""

MAX_HEADERS = 10_000
"""Envoy's default of 100 is less than most servers take. The app's own limit is the one that counts."""

MAX_HEADERS_KB = 8192
"""The most that Envoy allows, for requests and for responses."""

HOST_OF_HTTP_10 = "localhost"
"""What a request of HTTP/1.0 without Host gets, which Envoy would refuse without such a name: health checks send
those.
"""

UPSTREAM_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

MANY_STREAMS = 10_000
STREAM_WINDOW = 1 << 20
CONNECTION_WINDOW = 64 << 20
PING_EVERY = timedelta(seconds=2)


def http1_options() -> Http1ProtocolOptions:
    """HTTP/1: header case, reason phrases and trailers kept; HTTP/1.0 and any method accepted."""
    formatter = TypedExtensionConfig(
        name="envoy.http.stateful_header_formatters.preserve_case",
        typed_config=pack(PreserveCaseFormatterConfig(forward_reason_phrase=True)),
    )
    return Http1ProtocolOptions(
        accept_http_10=True,
        default_host_for_http_10=HOST_OF_HTTP_10,
        allow_custom_methods=True,
        enable_trailers=True,
        header_key_format=Http1ProtocolOptionsHeaderKeyFormat(stateful_formatter=formatter),
    )


def http2_options() -> Http2ProtocolOptions:
    """HTTP/2: extended CONNECT (RFC 8441) allowed, which WebSocket over HTTP/2 needs."""
    return Http2ProtocolOptions(allow_connect=True)


def common_options() -> HttpProtocolOptions:
    """Either version: no idle limit, many headers."""
    return HttpProtocolOptions(idle_timeout=FOREVER, max_headers_count=MAX_HEADERS)


def upstream_options() -> dict[str, Any]:
    """`typed_extension_protocol_options` of every cluster: speak upstream what the client spoke."""
    common = common_options()
    common.max_response_headers_kb = MAX_HEADERS_KB
    options = UpstreamHttpProtocolOptions(
        common_http_protocol_options=common,
        use_downstream_protocol_config=HttpProtocolOptionsUseDownstreamHttpConfig(
            http_protocol_options=http1_options(), http2_protocol_options=http2_options()
        ),
    )
    return {UPSTREAM_OPTIONS: pack(options)}


def single_use_options() -> dict[str, Any]:
    """`typed_extension_protocol_options` of a cluster to which CONNECT leads. Envoy would give a TCP connection to the
    next stream when the service has ended its side of it first, and nobody would ever answer that stream."""
    common = common_options()
    common.max_requests_per_connection = 1
    options = UpstreamHttpProtocolOptions(
        common_http_protocol_options=common,
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=http1_options()),
    )
    return {UPSTREAM_OPTIONS: pack(options)}


def http2_upstream_options() -> dict[str, Any]:
    """`typed_extension_protocol_options` of a cluster whose endpoints speak HTTP/2 whatever the client spoke."""
    common = common_options()
    common.max_response_headers_kb = MAX_HEADERS_KB
    options = UpstreamHttpProtocolOptions(
        common_http_protocol_options=common,
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=tunnel_http2_options()),
    )
    return {UPSTREAM_OPTIONS: pack(options)}


def tunnel_http2_options() -> Http2ProtocolOptions:
    """HTTP/2 where the requests of many share a connection.

    Envoy's default windows let three slow downloads stall everybody else's requests on the same connection; these
    don't, for thirty of them. Pings notice within five seconds that the other side is gone without a word.
    """
    return Http2ProtocolOptions(
        allow_connect=True,
        max_concurrent_streams=MANY_STREAMS,
        initial_stream_window_size=STREAM_WINDOW,
        initial_connection_window_size=CONNECTION_WINDOW,
        connection_keepalive=KeepaliveSettings(interval=PING_EVERY, timeout=PING_EVERY),
    )
