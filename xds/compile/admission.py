"""Which laptops a gateway lets in: those with a valid token for a tunnel that may be there.

The signature is checked against the manager's keys, which the gateway's own process fetches for its Envoy. What the
token says of tunnel and namespaces is written into headers, over whatever the laptop sent. Sessions end, and daemons
follow each other, sooner than tokens expire; so the tunnels that may be there are listed beside the routes, where a
change reaches the next request and touches no connection.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import HttpUri
from envoy_data_plane.envoy.config.rbac.v3 import Permission, Policy, Principal, PrincipalSet
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
from envoy_data_plane.envoy.extensions.filters.http.rbac.v3 import Rbac, RbacPerRoute
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any

from xds.compile.encode import pack

ISSUER = "byway"
AUDIENCE = "byway-tunnel"
NODE = "x-byway-node"
"""The header with the tunnel's name: the token's `sub`."""
NAMESPACES = "x-byway-ns"
"""The header with the namespaces that the user may call into, separated by blanks, `*` for all: the token's `ns`."""

_LIST = "tunnels"
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


def listed(tunnels: Collection[str]) -> dict[str, Any]:
    """`typed_per_filter_config` of a route configuration: the tunnels that may be there."""
    if not tunnels:
        return {_LIST: pack(RbacPerRoute(rbac=Rbac(rules=Rules())))}
    each = [
        Principal(header=HeaderMatcher(name=NODE, string_match=StringMatcher(exact=one))) for one in sorted(tunnels)
    ]
    policy = Policy(permissions=[Permission(any=True)], principals=[Principal(or_ids=PrincipalSet(ids=each))])
    return {_LIST: pack(RbacPerRoute(rbac=Rbac(rules=Rules(policies={_LIST: policy}))))}
