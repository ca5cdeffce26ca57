"""The HTTP connection manager of every listener: transparent, and with its routes from RDS or inside."""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.listener.v3 import Filter
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerCodecType,
    HttpConnectionManagerForwardClientCertDetails,
    HttpConnectionManagerServerHeaderTransformation,
    HttpConnectionManagerUpgradeConfig,
    HttpFilter,
    Rds,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManagerPathWithEscapedSlashesAction as EscapedSlashes,
)

from xds.compile import access_log
from xds.compile.ads import ads
from xds.compile.encode import pack
from xds.compile.local_reply import local_replies
from xds.compile.transparent import FOREVER, MAX_HEADERS_KB, common_options, http1_options, http2_options
from xds.registry.unrouted import UPGRADES

DELAYED_CLOSE = timedelta(milliseconds=150)
"""How long the peer may take to read an answer that came before its request was complete, until the connection is
closed under it. An answer that breaks off is held back for as long, at each of the listeners that it passes: with
Envoy's default of a second, a client would learn two seconds late that its stream has ended.
"""


def connection_manager(
    stat_prefix: str, *, rds: str = "", routes: RouteConfiguration | None = None, mark_away: bool = False
) -> Filter:
    """A connection manager with the route configuration of that name, or with these routes.

    The one whose routes come by name is what clients connect to: it tells the manager of intercepted requests.
    `mark_away`: its own answers to requests that nobody has seen are marked, for whoever sent them to go on with.
    """
    manager = transparent_manager(stat_prefix, mark_away=mark_away)
    if routes is not None:
        manager.route_config = routes
    else:
        manager.rds = by_rds(rds)
        manager.access_log = [access_log.access_log()]
        manager.access_log_options = access_log.options()
    return as_filter(manager)


def as_filter(manager: HttpConnectionManager) -> Filter:
    """A connection manager as a listener takes it."""
    return Filter(name="http", typed_config=pack(manager))


def by_rds(name: str) -> Rds:
    """The route configuration of that name, waited for without a limit of time: a listener that came up without its
    routes would answer 404 for the app.
    """
    return Rds(config_source=ads(wait=True), route_config_name=name)


def transparent_manager(stat_prefix: str, *, mark_away: bool = False) -> HttpConnectionManager:
    """A connection manager that changes nothing, still without routes."""
    return HttpConnectionManager(
        stat_prefix=stat_prefix,
        codec_type=HttpConnectionManagerCodecType.AUTO,
        http_filters=[HttpFilter(name="router", typed_config=pack(Router(suppress_envoy_headers=True)))],
        common_http_protocol_options=common_options(),
        http_protocol_options=http1_options(),
        http2_protocol_options=http2_options(),
        server_header_transformation=HttpConnectionManagerServerHeaderTransformation.PASS_THROUGH,
        forward_client_cert_details=HttpConnectionManagerForwardClientCertDetails.ALWAYS_FORWARD_ONLY,
        max_request_headers_kb=MAX_HEADERS_KB,
        delayed_close_timeout=DELAYED_CLOSE,
        stream_idle_timeout=FOREVER,
        request_timeout=FOREVER,
        use_remote_address=False,
        skip_xff_append=True,
        generate_request_id=False,
        preserve_external_request_id=True,
        proxy_100_continue=True,
        normalize_path=False,
        merge_slashes=False,
        path_with_escaped_slashes_action=EscapedSlashes.KEEP_UNCHANGED,
        upgrade_configs=[HttpConnectionManagerUpgradeConfig(upgrade_type=upgrade) for upgrade in UPGRADES],
        local_reply_config=local_replies(mark_away=mark_away),
    )
