"""Which laptops a gateway lets in: those with a valid token for a tunnel that may be there.

The signature is checked against the manager's keys, which the gateway's own process fetches for its Envoy. What the
token says of tunnel and namespaces is written into headers, over whatever the laptop sent. Sessions end, and daemons
follow each other, sooner than tokens expire; so the tunnels that may be there are listed beside the routes, where a
change reaches the next request and touches no connection.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from functools import lru_cache

from envoy_data_plane.envoy.config.core.v3 import HttpUri
from envoy_data_plane.envoy.config.rbac.v3 import Permission, Principal
from envoy_data_plane.envoy.config.rbac.v3 import Rbac as Rules
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher, RouteMatch, RouteMatchConnectMatcher
from envoy_data_plane.envoy.extensions.filters.http.jwt_authn.v3 import (
    JwtAuthentication,
    JwtClaimToHeader,
    JwtProvider,
    JwtRequirement,
    RemoteJwks,
    RequirementRule,
)
from envoy_data_plane.envoy.extensions.filters.http.rbac.v3 import Rbac
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from xds.compile import wire
from xds.compile.encode import encode, pack

ISSUER = "byway"
AUDIENCE = "byway-tunnel"
NODE = "x-byway-node"
"""The header with the tunnel's name: the token's `sub`."""
NAMESPACES = "x-byway-ns"
"""The header with the namespaces that the user may call into, separated by blanks, `*` for all: the token's `ns`."""

_LIST = "tunnels"
_PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute"
_KEYS_FOR = timedelta(seconds=5)
"""How long Envoy goes on with the keys it has before it asks again: a new key signs much later than it is shown."""


def admitting() -> list[HttpFilter]:
    """The filters that let laptops in; the second one admits nobody unless the routes list tunnels."""
    provider = JwtProvider(
        issuer=ISSUER,
        audiences=[AUDIENCE],
        require_expiration=True,
        clear_route_cache=True,
        remote_jwks=RemoteJwks(
            http_uri=HttpUri(uri="http://jwks/jwks.json", cluster="jwks", timeout=timedelta(seconds=2)),
            cache_duration=_KEYS_FOR,
        ),
        claim_to_headers=[
            JwtClaimToHeader(header_name=NODE, claim_name="sub"),
            JwtClaimToHeader(header_name=NAMESPACES, claim_name="ns"),
        ],
    )
    connects = RouteMatch(connect_matcher=RouteMatchConnectMatcher())
    everything = RouteMatch(prefix="/")
    needs = JwtRequirement(provider_name=ISSUER)
    authentication = JwtAuthentication(
        providers={ISSUER: provider},
        rules=[RequirementRule(match=one, requires=needs) for one in (connects, everything)],
    )
    return [
        HttpFilter(name="token", typed_config=pack(authentication)),
        HttpFilter(name=_LIST, typed_config=pack(Rbac(rules=Rules()))),
    ]


def listed(tunnels: Collection[str]) -> bytes:
    """The field `typed_per_filter_config` of a route configuration: the tunnels that may be there.

    typed_per_filter_config = 16 {key = 1, value = 2 Any {type_url = 1, value = 2 RBACPerRoute}}
    RBACPerRoute {rbac = 2 RBAC {rules = 1 {policies = 2 {key = 1, value = 2 Policy}}}}
    Policy {permissions = 1, principals = 2}: any of its principals will do. Without a policy nobody is admitted.
    """
    rules = b""
    if tunnels:
        policy = wire.field(1, _anything()) + wire.repeated(2, map(_named, sorted(tunnels)))
        rules = wire.field(2, wire.text(1, _LIST) + wire.field(2, policy))
    per_route = wire.field(2, wire.field(1, rules))
    return wire.field(16, wire.text(1, _LIST) + wire.field(2, wire.text(1, _PER_ROUTE) + wire.field(2, per_route)))


@lru_cache(maxsize=1)
def _anything() -> bytes:
    return encode(Permission(any=True))


@lru_cache(maxsize=65536)
def _named(tunnel: str) -> bytes:
    return encode(Principal(header=HeaderMatcher(name=NODE, string_match=StringMatcher(exact=tunnel))))
