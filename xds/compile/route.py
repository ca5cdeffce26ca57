"""Routes: which cluster answers which request.

The order of a workload port's routes is the precedence of intercepts (`xds.registry.precedence`):

    header-less intercepts, guarded by “passes the gate”
    gate → whoever answers ordinary traffic
    intercepts with header, baggage or key conditions
    header-less intercepts
    a shared global intercept, or else the app

Whoever answers ordinary traffic is the app, unless a global intercept takes the port. Every route of an intercept bears
its id as name, and owner and session as metadata, which is what access logs, statistics and error replies go by.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import (
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
    Metadata,
)
from envoy_data_plane.envoy.config.route.v3 import (
    RetryPolicy,
    RetryPolicyRetryPriority,
    Route,
    RouteAction,
    RouteMatch,
)
from envoy_data_plane.envoy.extensions.retry.priority.previous_priorities.v3 import PreviousPrioritiesConfig
from envoy_data_plane.google.protobuf import Any, Struct, Value

from xds.compile import names
from xds.compile.state import Routed
from xds.compile.transparent import FOREVER
from xds.registry.intercept import WhenDown

SERVED_BY = "x-byway-intercept"
"""The response header that says which intercept took the request, and who answered."""

REPLAY_LIMIT = 1 << 20
"""How much of a request's body is kept for a replay on the app while the laptop's connection is being refused, bytes."""


def metadata(values: dict[str, str]) -> Metadata:
    """Filter metadata under our own key; keys sorted, since protobuf maps are written in insertion order."""
    struct = Struct(fields={key: Value(string_value=values[key]) for key in sorted(values)})
    return Metadata(filter_metadata={names.METADATA: struct})


def app_route(cluster: str, match: RouteMatch) -> Route:
    """A route to the app, with no limit on time: the app's own limits are the app's business."""
    return Route(name=names.APP, match=match, route=RouteAction(cluster=cluster, timeout=FOREVER))


def intercept_route(routed: Routed, cluster: str, match: RouteMatch) -> Route:
    """A route to a laptop."""
    intercept = routed.intercept
    facts = {"intercept": intercept.id, "owner": intercept.owner, "session": intercept.session}
    if intercept.spec.when_down is WhenDown.FAIL:
        facts |= {"when_down": WhenDown.FAIL, "since": routed.away_since or "just now"}
    return Route(
        name=intercept.id,
        match=match,
        route=RouteAction(cluster=cluster, timeout=FOREVER, idle_timeout=FOREVER, retry_policy=_fall_back()),
        metadata=metadata(facts),
        response_headers_to_add=[_served_by(intercept.id), _no_store()],
        request_body_buffer_limit=REPLAY_LIMIT,
    )


def _fall_back() -> RetryPolicy:
    """On to the next priority when the laptop refused the connection: only then has it seen nothing of the request."""
    priorities = RetryPolicyRetryPriority(
        name="envoy.retry_priorities.previous_priorities",
        typed_config=Any.pack(PreviousPrioritiesConfig(update_frequency=1)),
    )
    return RetryPolicy(retry_on="connect-failure,refused-stream", num_retries=1, retry_priority=priorities)


def _served_by(intercept: str) -> HeaderValueOption:
    """Who answered is in the metadata of the endpoint that did."""
    return HeaderValueOption(
        header=HeaderValue(key=SERVED_BY, value=f'{intercept}; served-by=%UPSTREAM_METADATA(["byway", "served-by"])%'),
        append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def _no_store() -> HeaderValueOption:
    """What a laptop answered must not live on in a cache. The app's endpoint has no such metadata, and an empty value
    is not set.
    """
    return HeaderValueOption(
        header=HeaderValue(key="cache-control", value='%UPSTREAM_METADATA(["byway", "cache-control"])%'),
        append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )
