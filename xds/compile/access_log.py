"""What sidecars tell the manager of the requests that take an intercept's route: an access log by gRPC.

The listener has it for ever and its filter goes by the route's metadata, so that nothing of it changes when intercepts
come and go. Ordinary requests, and those that a twin answers, have no such metadata and are not told of. The listeners
behind a hop have no such log: each request is told of once, by the listener that the client connected to.

Envoy keeps a megabyte of records while the manager does not take them (the stream's window in the bootstrap is what
bounds that), and drops what is more: requests never wait for the manager. https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/stats
"""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog, AccessLogFilter, ExtensionFilter
from envoy_data_plane.envoy.config.core.v3 import ApiVersion, GrpcService, GrpcServiceEnvoyGrpc
from envoy_data_plane.envoy.extensions.access_loggers.filters.cel.v3 import ExpressionFilter
from envoy_data_plane.envoy.extensions.access_loggers.grpc.v3 import CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManagerHcmAccessLogOptions as AccessLogOptions,
)

from xds.compile.encode import pack
from xds.compile.route import SERVED_BY

MANAGER_CLUSTER = "byway-manager"
"""The cluster of the manager in the sidecars' bootstrap. What goes there bears the sidecar's token."""

LOG_NAME = "requests"
METHOD = ":method"
GRPC_STATUS = "grpc-status"

OURS = "'byway' in xds.route_metadata.filter_metadata"
"""Routes of intercepts, in CEL. Where there is no metadata the expression has no value, which is no match."""

FLUSH = timedelta(milliseconds=100)
BUFFER = 16 << 10
"""Records go out after that time, or when there are so many bytes of them."""

STILL_OPEN = timedelta(milliseconds=500)
"""A request that lasts is told of after this time, and as often again, with what is known of its answer by then."""


def by_route(expression: str = OURS) -> AccessLogFilter:
    """A filter in CEL; a key that is missing from the metadata is no match."""
    cel = pack(ExpressionFilter(expression=expression))
    return AccessLogFilter(extension_filter=ExtensionFilter(name="cel", typed_config=cel))


def access_log() -> AccessLog:
    """The log, with the route's metadata, who answered, and how a gRPC call ended."""
    service = GrpcService(envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=MANAGER_CLUSTER))
    config = HttpGrpcAccessLogConfig(
        common_config=CommonGrpcAccessLogConfig(
            log_name=LOG_NAME,
            grpc_service=service,
            transport_api_version=ApiVersion.V3,
            buffer_flush_interval=FLUSH,
            buffer_size_bytes=BUFFER,
        ),
        # The record's own field has a number for nine methods, and none for PROPFIND.
        additional_request_headers_to_log=[METHOD],
        # The status of a call that is refused at once is in its headers, else it is in the trailers.
        additional_response_headers_to_log=[SERVED_BY, GRPC_STATUS],
        additional_response_trailers_to_log=[GRPC_STATUS],
    )
    return AccessLog(name="requests", filter=by_route(), typed_config=pack(config))


def options() -> AccessLogOptions:
    """When a request is told of before it ends. An upgraded connection is as soon as it is one."""
    return AccessLogOptions(
        access_log_flush_interval=STILL_OPEN,
        flush_log_on_tunnel_successfully_established=True,
    )
