"""What Envoy answers itself on an intercept's route: an error in JSON that names the intercept, mostly a 503.

One static mapper for all intercepts, which takes its facts from the route's metadata: the listener never changes.
Routes without that metadata keep Envoy's own replies. The first mapper whose filter holds decides.
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    ComparisonFilterOp,
    ResponseFlagFilter,
    StatusCodeFilter,
)
from envoy_data_plane.envoy.config.core.v3 import HeaderValueOption, RuntimeUInt32, SubstitutionFormatString
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    LocalReplyConfig,
    ResponseMapper,
)
from envoy_data_plane.google.protobuf import Struct, Value

from xds.compile.access_log import OURS, by_route
from xds.compile.route import AWAY, OVERWRITE, SERVED_BY, header
from xds.registry.unrouted import UPGRADES

_FACTS = {
    "intercept": "%METADATA(ROUTE:byway:intercept)%",
    "name": "%METADATA(ROUTE:byway:name)%",
    "owner": "%METADATA(ROUTE:byway:owner)%",
}
_BEGUN = "the laptop that had begun to answer this request went away"
_TOO_LARGE = "the laptop did not accept the connection, and the request's body is too large to be replayed on the app"


def local_replies(*, mark_away: bool = False) -> LocalReplyConfig:
    """The mappers; `mark_away` marks the replies to requests that nobody has seen."""
    away = [header(AWAY, "unreachable", OVERWRITE)] if mark_away else []
    return LocalReplyConfig(
        mappers=[
            # Envoy says 507 where the limit is passed between two tries, and gives up the second where it is passed
            # during the first, which then fails.
            _mapper(_and(_status(507), by_route(OURS)), _TOO_LARGE),
            # The connection ended, or the stream was reset, after the request had gone out.
            _mapper(_and(_status(503), _flag("UC", "UR"), by_route(OURS)), _BEGUN),
            _mapper(
                _and(_status(503), by_route("xds.route_metadata.filter_metadata['byway']['when-down'] == 'fail'")),
                "the laptop that takes these requests is away, and its owner chose --when-down fail",
                away,
                since="%METADATA(ROUTE:byway:since)%",
            ),
            _mapper(
                _and(_status(503), _flag("UF"), by_route(f"{OURS} && upstream.request_attempt_count < 2u")),
                _TOO_LARGE,
                away,
            ),
            _mapper(
                _and(_status(503), _flag("UF"), by_route(OURS)),
                "the laptop did not accept the connection, nor did the app",
                away,
            ),
            _mapper(
                _and(_status(503), by_route(OURS)),
                "this request could be given neither to the laptop nor to the app",
                away,
            ),
            _mapper(_and(_status(403), by_route(OURS)), f"of upgrades, only {', '.join(UPGRADES)} pass", status=403),
        ]
    )


def _mapper(
    condition: AccessLogFilter,
    error: str,
    more: Sequence[HeaderValueOption] = (),
    *,
    status: int = 503,
    **facts: str,
) -> ResponseMapper:
    body = {"error": error, **_FACTS, **facts, "detail": "%RESPONSE_CODE_DETAILS%"}
    fields = {key: Value(string_value=body[key]) for key in sorted(body)}
    return ResponseMapper(
        filter=condition,
        status_code=status,
        body_format_override=SubstitutionFormatString(json_format=Struct(fields=fields)),
        headers_to_add=[
            header(SERVED_BY, "%METADATA(ROUTE:byway:intercept)%; served-by=none", OVERWRITE),
            header("cache-control", "no-store", OVERWRITE),
            *more,
        ],
    )


def _status(code: int) -> AccessLogFilter:
    value = RuntimeUInt32(default_value=code, runtime_key="byway.none")
    comparison = ComparisonFilter(op=ComparisonFilterOp.EQ, value=value)
    return AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=comparison))


def _flag(*flags: str) -> AccessLogFilter:
    """Any of Envoy's response flags."""
    return AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=list(flags)))


def _and(*filters: AccessLogFilter) -> AccessLogFilter:
    return AccessLogFilter(and_filter=AndFilter(filters=list(filters)))
