"""The route configuration of a workload port: every route, in the order in which they are asked.

    header-less intercepts, guarded by “passes the gate”
    gate → whoever answers ordinary traffic
    intercepts with header, baggage or key conditions
    header-less intercepts
    whoever answers ordinary traffic

Whoever answers ordinary traffic is the app, unless a global intercept takes the port. Within a group the order is the
precedence of intercepts (`xds.registry.precedence`). The header-less come twice because only requests that pass the
gate may skip the intercepts with headers, which are to be asked first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from xds.compile import names, wire
from xds.compile.encode import encode
from xds.compile.keep import Kept, routed_key
from xds.compile.match import Gate, route_match, route_matches
from xds.compile.route import app_route, intercept_route
from xds.compile.state import Routed
from xds.registry.intercept import Kind
from xds.registry.precedence import sort_key
from xds.registry.workload import WorkloadId


def route_configuration(workload: WorkloadId, port: int, routed: Sequence[Routed]) -> bytes:
    """The RouteConfiguration of a port: name = 1, virtual_hosts = 2 {name = 1, domains = 2, routes = 3}."""
    routes = wire.repeated(3, _routes(workload, port, routed))
    host = wire.text(1, "all") + wire.text(2, "*") + routes
    return wire.text(1, names.port(workload, port)) + wire.field(2, host)


def whole_port(routed: Sequence[Routed]) -> Routed | None:
    """The intercept that has a port as a whole, and takes what no other one claims."""
    return next((one for one in _ordered(routed) if one.intercept.spec.kind in {Kind.GLOBAL, Kind.REPLACE}), None)


def _ordered(routed: Sequence[Routed]) -> list[Routed]:
    return sorted(routed, key=lambda one: sort_key(one.intercept.spec, one.intercept.sequence, one.intercept.id))


def _routes(workload: WorkloadId, port: int, routed: Sequence[Routed]) -> Iterator[bytes]:
    personal = [one for one in _ordered(routed) if one.intercept.spec.kind is Kind.PERSONAL]
    holder = whole_port(routed)
    gated = [one for one in personal if one.intercept.spec.match.gated]
    header_less = [one for one in personal if not one.intercept.spec.match.gated]
    gate = Gate.of(one.intercept.spec.match for one in gated)

    def ways(those: Sequence[Routed], behind: Gate | None = None) -> Iterator[bytes]:
        for one in those:
            cluster = names.intercept_cluster(workload, port, one.intercept.id)
            yield from _intercept_routes(routed_key(one), cluster, behind)

    def ordinary(behind: Gate | None = None) -> Iterator[bytes]:
        if holder:
            yield from ways([holder], behind)
        else:
            yield _app_route(names.app_cluster(workload, port), behind)

    if gate:
        yield from ways(header_less, gate)
        yield from ordinary(gate)
        yield from ways(gated)
    yield from ways(header_less)
    yield from ordinary()


@lru_cache(maxsize=65536)
def _intercept_routes(content: Kept[Routed], cluster: str, gate: Gate | None) -> tuple[bytes, ...]:
    matches = route_matches(content.value.intercept.spec.match, gate)
    return tuple(encode(intercept_route(content.value, cluster, match)) for match in matches)


@lru_cache(maxsize=8192)
def _app_route(cluster: str, gate: Gate | None) -> bytes:
    return encode(app_route(cluster, route_match(None, gate.matchers() if gate else [])))
