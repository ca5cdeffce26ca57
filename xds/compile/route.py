"""Routes: single ones, to the app and to laptops. `xds.compile.workload` puts them in order.

Every route of an intercept bears its id as name, and id and owner as metadata, which is what error replies, access
logs and statistics go by.
"""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import (
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
    Metadata,
)
from envoy_data_plane.envoy.config.route.v3 import (
    HeaderMatcher,
    RetryPolicy,
    RetryPolicyRetryBackOff,
    RetryPolicyRetryHostPredicate,
    RetryPolicyRetryPriority,
    Route,
    RouteAction,
    RouteMatch,
)
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate
from envoy_data_plane.envoy.extensions.retry.priority.previous_priorities.v3 import PreviousPrioritiesConfig
from envoy_data_plane.google.protobuf import Struct, Value

from xds.compile import names
from xds.compile.encode import pack
from xds.compile.state import Routed
from xds.compile.transparent import FOREVER
from xds.registry.intercept import Intercept

SERVED_BY = "x-byway-intercept"
"""The response header that says which intercept took the request, and who answered."""

AWAY = "x-byway-away"
"""The response header of a 503 that says: nobody has seen anything of this request, somebody else may have it.

Gateways set it where there is no tunnel, laptops where nothing listens, hops where there is no gateway.
"""

TO = "x-byway-to"
"""The request header by which a sidecar tells a gateway whose target a request is for. Whoever may reach it is the
gateway's to decide."""

PROTOCOL = "x-byway-protocol"
"""The request header that says what the client spoke, since tunnels carry HTTP/2 only."""

REPLAY_LIMIT = 16 << 20
"""How much of a request's body is kept for a replay on the app, in case the laptop refuses the connection; bytes."""

MORE_GATEWAYS = 2
"""How many gateways are asked after the first one. With more gateways than three, those that are down are few."""

OVERWRITE = HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
IF_ABSENT = HeaderValueOptionHeaderAppendAction.ADD_IF_ABSENT


def metadata(values: dict[str, str]) -> Metadata:
    """Filter metadata under our own key; keys sorted, since protobuf maps are written in insertion order."""
    struct = Struct(fields={key: Value(string_value=values[key]) for key in sorted(values)})
    return Metadata(filter_metadata={names.METADATA: struct})


def header(name: str, value: str, action: HeaderValueOptionHeaderAppendAction) -> HeaderValueOption:
    """A header to set on a message; one whose value comes out empty is not set."""
    return HeaderValueOption(header=HeaderValue(key=name, value=value), append_action=action)


def app_route(cluster: str, match: RouteMatch) -> Route:
    """A route to the app, with no limit on time: the app's own limits are the app's business."""
    return Route(name=names.APP, match=match, route=RouteAction(cluster=cluster, timeout=FOREVER))


def intercept_route(routed: Routed, cluster: str, match: RouteMatch) -> Route:
    """A route into an intercept's cluster. What comes through its hop has the header already, see `hop_route`.

    Envoy counts its requests, as `vhost.all.route.ID.upstream_rq_…`. The hop's route must not count them again.
    """
    intercept = routed.intercept
    return Route(
        name=intercept.id,
        stat_prefix=intercept.id,
        match=match,
        # What is marked comes from the hop: a laptop's process can mark nothing.
        route=_falling_back(cluster, marked=True),
        metadata=facts(intercept, routed.away_since),
        response_headers_to_add=[header(SERVED_BY, f"{intercept.id}; served-by=cluster", IF_ABSENT)],
        response_headers_to_remove=[AWAY],
        request_body_buffer_limit=REPLAY_LIMIT,
    )


def hop_route(intercept: Intercept, cluster: str) -> Route:
    """The only route behind a hop: the laptop. Who answered is in the metadata of the endpoint that did; what a
    laptop answered must not live on in a cache.
    """
    return Route(
        name=intercept.id,
        match=RouteMatch(prefix=""),
        route=_falling_back(cluster),
        metadata=facts(intercept, ""),
        response_headers_to_add=[
            header(SERVED_BY, f"{intercept.id}; served-by=%UPSTREAM_METADATA(byway:served-by)%", OVERWRITE),
            header("cache-control", "%UPSTREAM_METADATA(byway:cache-control)%", OVERWRITE),
        ],
        # A process on the laptop can't have its requests given to the app.
        response_headers_to_remove=[AWAY],
        request_body_buffer_limit=REPLAY_LIMIT,
    )


def gateway_hop_route(intercept: Intercept, port: int) -> Route:
    """The only route behind a hop to a laptop that has a tunnel: the gateways, one after the other.

    Which one has the tunnel doesn't matter, and when none has, the answer is marked and the route before the hop goes
    on to the app.
    """
    return Route(
        name=intercept.id,
        match=RouteMatch(prefix=""),
        route=_trying_gateways(),
        metadata=facts(intercept, ""),
        request_headers_to_add=to_gateway(intercept, port),
        request_body_buffer_limit=REPLAY_LIMIT,
    )


def to_gateway(intercept: Intercept, port: int) -> list[HeaderValueOption]:
    """What a sidecar tells a gateway of a request, whatever the client said."""
    return [
        header(TO, names.target(intercept.id, port), OVERWRITE),
        header(PROTOCOL, "%PROTOCOL%", OVERWRITE),
    ]


def facts(intercept: Intercept, away_since: str) -> Metadata:
    """What error replies, access logs and statistics go by."""
    return metadata(
        {
            "intercept": intercept.id,
            "name": intercept.spec.name,
            "owner": intercept.owner,
            "when-down": intercept.spec.when_down,
            "since": away_since or "just now",
        }
    )


def _falling_back(cluster: str, *, marked: bool = False) -> RouteAction:
    """On to the next priority when the connection was refused, or the answer is marked: only then has nobody seen
    anything of the request.
    """
    priorities = RetryPolicyRetryPriority(
        name="envoy.retry_priorities.previous_priorities",
        typed_config=pack(PreviousPrioritiesConfig(update_frequency=1)),
    )
    policy = _retry(1, marked=marked)
    policy.retry_priority = priorities
    return RouteAction(cluster=cluster, timeout=FOREVER, idle_timeout=FOREVER, retry_policy=policy)


def _trying_gateways() -> RouteAction:
    """On to another gateway when nobody has seen anything of the request."""
    policy = _retry(MORE_GATEWAYS, marked=True)
    previous = RetryPolicyRetryHostPredicate(
        name="envoy.retry_host_predicates.previous_hosts", typed_config=pack(PreviousHostsPredicate())
    )
    policy.retry_host_predicate = [previous]
    policy.host_selection_retry_max_attempts = 16
    return RouteAction(cluster=names.GATEWAYS, timeout=FOREVER, idle_timeout=FOREVER, retry_policy=policy)


def _retry(times: int, *, marked: bool) -> RetryPolicy:
    at_once = timedelta(milliseconds=1)
    policy = RetryPolicy(
        retry_on="connect-failure,refused-stream,reset-before-request",
        num_retries=times,
        # Envoy's default waits up to 25 ms, for the sake of a server that is the same one again.
        retry_back_off=RetryPolicyRetryBackOff(base_interval=at_once, max_interval=at_once),
    )
    if marked:
        policy.retry_on += ",retriable-headers"
        policy.retriable_headers = [HeaderMatcher(name=AWAY, present_match=True)]
    return policy
