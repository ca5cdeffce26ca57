"""The HTTP connection manager on the laptop's end of a tunnel: as transparent as a sidecar's, and the only place where
`x-byway-*` headers are read and taken away.

The routes have chosen by these headers before the filters take them away; what an error's body says of them is kept in
the request's metadata.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLogFilter,
    ResponseFlagFilter,
)
from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation as Mutation
from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutationRemoveOnMatch
from envoy_data_plane.envoy.config.core.v3 import (
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import HeaderMutation, Mutations
from envoy_data_plane.envoy.extensions.filters.http.header_to_metadata.v3 import (
    Config,
    ConfigKeyValuePair,
    ConfigRule,
    ConfigValueType,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerCodecType,
    HttpConnectionManagerUpgradeConfig,
    HttpFilter,
    LocalReplyConfig,
    ResponseMapper,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatchAndSubstitute, RegexMatcher, StringMatcher
from envoy_data_plane.google.protobuf import Struct, Value

from xds.client.tunnel.contract import (
    AWAY,
    AWAY_HEADER,
    HEADER_PREFIX,
    NAME_HEADER,
    OWNER_HEADER,
    TARGET_HEADER,
    TO_HEADER,
)
from xds.client.tunnel.envoy_targets import ROUTES, STRIP, http2_options, keepalive
from xds.compile.connection_manager import by_rds, transparent_manager
from xds.compile.encode import pack
from xds.compile.route import OVERWRITE, header
from xds.registry.unrouted import UPGRADES

_METADATA = "byway"
_FACTS = {"intercept": TO_HEADER, "name": NAME_HEADER, "owner": OWNER_HEADER, "target": TARGET_HEADER}
BROKEN_OFF = "the process on the laptop ended the connection before its answer was complete"


def connection_manager() -> HttpConnectionManager:
    """Takes requests on a tunnel, where this Envoy is the server."""
    http2 = http2_options()
    # Notices a path that has gone silent behind a carrier that hasn't.
    http2.connection_keepalive = keepalive(2, 2)
    manager = transparent_manager("laptop")
    manager.codec_type = HttpConnectionManagerCodecType.HTTP2
    manager.http2_protocol_options = http2
    manager.rds = by_rds(ROUTES)
    manager.http_filters = [
        HttpFilter(name="facts", typed_config=pack(_facts())),
        HttpFilter(name=STRIP, typed_config=pack(_strip())),
        *manager.http_filters,
    ]
    manager.upgrade_configs = [HttpConnectionManagerUpgradeConfig(upgrade_type=each) for each in (*UPGRADES, "CONNECT")]
    manager.local_reply_config = LocalReplyConfig(
        mappers=[
            _mapper(_flags("UF", "UH"), AWAY, status=503, away=True),
            _mapper(_flags("UC", "UR", "UPE"), BROKEN_OFF, status=503, away=False),
        ]
    )
    return manager


def _facts() -> Config:
    """Keeps what an error's body says. An intercept's id is what `x-byway-to` has before the slash."""
    identity = RegexMatchAndSubstitute(pattern=RegexMatcher(regex="^([^/]*)/.*$"), substitution="\\1")
    return Config(
        request_rules=[
            ConfigRule(
                header=name,
                on_header_present=ConfigKeyValuePair(
                    metadata_namespace=_METADATA,
                    key=key,
                    type=ConfigValueType.STRING,
                    regex_value_rewrite=identity if name == TO_HEADER else None,
                ),
            )
            for key, name in _FACTS.items()
        ]
    )


def _strip() -> HeaderMutation:
    ours = HeaderMutationRemoveOnMatch(key_matcher=StringMatcher(prefix=HEADER_PREFIX, ignore_case=True))
    return HeaderMutation(mutations=Mutations(request_mutations=[Mutation(remove_on_match=ours)]))


def _mapper(condition: AccessLogFilter, error: str, *, status: int, away: bool) -> ResponseMapper:
    body = {"error": error, "detail": "%RESPONSE_CODE_DETAILS%"}
    body |= {key: f"%DYNAMIC_METADATA({_METADATA}:{key})%" for key in _FACTS}
    fields = {key: Value(string_value=body[key]) for key in sorted(body)}
    return ResponseMapper(
        filter=condition,
        status_code=status,
        body_format_override=SubstitutionFormatString(json_format=Struct(fields=fields)),
        headers_to_add=[header(AWAY_HEADER, "target", OVERWRITE)] if away else [],
    )


def _flags(*flags: str) -> AccessLogFilter:
    return AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=list(flags)))
