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
    RetryPolicy,
    RetryPolicyRetryBackOff,
    RetryPolicyRetryPriority,
    Route,
    RouteAction,
    RouteMatch,
)
from envoy_data_plane.envoy.extensions.retry.priority.previous_priorities.v3 import PreviousPrioritiesConfig
from envoy_data_plane.google.protobuf import Struct, Value

from xds.compile import names
from xds.compile.encode import pack
from xds.compile.state import Routed
from xds.compile.transparent import FOREVER
from xds.registry.intercept import Intercept

SERVED_BY = "x-byway-intercept"
"""The response header that says which intercept took the request, and who answered."""

REPLAY_LIMIT = 16 << 20
"""How much of a request's body is kept for a replay on the app, in case the laptop refuses the connection; bytes."""

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
        route=_falling_back(cluster),
        metadata=_facts(intercept, routed.away_since),
        response_headers_to_add=[header(SERVED_BY, f"{intercept.id}; served-by=cluster", IF_ABSENT)],
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
        metadata=_facts(intercept, ""),
        response_headers_to_add=[
            header(SERVED_BY, f"{intercept.id}; served-by=%UPSTREAM_METADATA(byway:served-by)%", OVERWRITE),
            header("cache-control", "%UPSTREAM_METADATA(byway:cache-control)%", OVERWRITE),
        ],
        request_body_buffer_limit=REPLAY_LIMIT,
    )


def _facts(intercept: Intercept, away_since: str) -> Metadata:
    return metadata(
        {
            "intercept": intercept.id,
            "name": intercept.spec.name,
            "owner": intercept.owner,
            "when-down": intercept.spec.when_down,
            "since": away_since or "just now",
        }
    )


def _falling_back(cluster: str) -> RouteAction:
    """On to the next priority when the connection was refused: only then has nobody seen anything of the request."""
    priorities = RetryPolicyRetryPriority(
        name="envoy.retry_priorities.previous_priorities",
        typed_config=pack(PreviousPrioritiesConfig(update_frequency=1)),
    )
    at_once = timedelta(milliseconds=1)
    policy = RetryPolicy(
        retry_on="connect-failure,refused-stream,reset-before-request",
        num_retries=1,
        retry_priority=priorities,
        # Envoy's default waits up to 25 ms, for the sake of a server that is the same one again.
        retry_back_off=RetryPolicyRetryBackOff(base_interval=at_once, max_interval=at_once),
    )
    return RouteAction(cluster=cluster, timeout=FOREVER, idle_timeout=FOREVER, retry_policy=policy)
