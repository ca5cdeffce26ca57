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

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache

from xds.compile import names, wire
from xds.compile.encode import encode
from xds.compile.keep import Kept, routed_key
from xds.compile.match import Gate, route_match, route_matches
from xds.compile.route import app_route, intercept_route
from xds.compile.same import Same
from xds.compile.state import Routed
from xds.compile.twin import twin
from xds.registry.intercept import Intercept, Kind
from xds.registry.match import Match
from xds.registry.precedence import SortKey, sort_key
from xds.registry.workload import WorkloadId

_WHOLE = frozenset({Kind.GLOBAL, Kind.REPLACE})

Way = tuple[Routed | None, Gate | None]
"""Whose route (None: the app's), and which gate is before it."""


def route_configuration(
    workload: WorkloadId, port: int, routed: Sequence[Routed], explaining: Collection[str] = ()
) -> bytes:
    """The RouteConfiguration of a port: name = 1, virtual_hosts = 2 {name = 1, domains = 2, routes = 3}.

    `explaining` are the tokens of those who ask which route a request takes, see `xds.compile.twin`.
    """
    order = list(_order(routed))
    routes = wire.repeated(3, _twins(order, explaining)) + b"".join(_routes(workload, port, order))
    host = wire.text(1, "all") + wire.text(2, "*") + routes
    return wire.text(1, names.port(workload, port)) + wire.field(2, host)


def whole_port(routed: Sequence[Routed]) -> Routed | None:
    """The intercept that has a port as a whole, and takes what no other one claims."""
    return next(iter(_ordered(one for one in routed if one.intercept.spec.kind in _WHOLE)), None)


def _ordered(routed: Iterable[Routed]) -> list[Routed]:
    return sorted(routed, key=lambda one: _place(Same(one.intercept)))


@lru_cache(maxsize=16384)
def _place(intercept: Same[Intercept]) -> SortKey:
    one = intercept.value
    return sort_key(one.spec, one.sequence, one.id)


def _order(routed: Sequence[Routed]) -> Iterator[Way]:
    """Whose routes there are, in order."""
    personal = [one for one in _ordered(routed) if one.intercept.spec.kind is Kind.PERSONAL]
    gated = [one for one in personal if one.intercept.spec.match.gated]
    header_less = [one for one in personal if not one.intercept.spec.match.gated]
    gate = Gate.of(one.intercept.spec.match for one in gated)
    rest = [*header_less, whole_port(routed)]
    if gate:
        yield from ((one, gate) for one in rest)
        yield from ((one, None) for one in gated)
    yield from ((one, None) for one in rest)


def _routes(workload: WorkloadId, port: int, order: Iterable[Way]) -> Iterator[bytes]:
    for one, gate in order:
        if one is None:
            yield wire.field(3, _app_route(names.app_cluster(workload, port), gate))
        else:
            yield _routes_of(Same(one), port, gate)


@lru_cache(maxsize=16384)
def _routes_of(routed: Same[Routed], port: int, gate: Gate | None) -> bytes:
    """An intercept's routes as they stand in a virtual host. The same object means that nothing has become of it."""
    one = routed.value
    cluster = names.intercept_cluster(one.intercept.spec.workload, port, one.intercept.id)
    return wire.repeated(3, _intercept_routes(routed_key(one), cluster, gate))


def _twins(order: Sequence[Way], tokens: Iterable[str]) -> Iterator[bytes]:
    for token in sorted(tokens):
        for one, gate in order:
            name = one.intercept.id if one else names.APP
            for match in _matches(one.intercept.spec.match if one else Match(), gate):
                yield twin(name, match, token)


@lru_cache(maxsize=8192)
def _matches(match: Match, gate: Gate | None) -> tuple[bytes, ...]:
    return tuple(encode(one) for one in route_matches(match, gate))


@lru_cache(maxsize=65536)
def _intercept_routes(content: Kept[Routed], cluster: str, gate: Gate | None) -> tuple[bytes, ...]:
    matches = route_matches(content.value.intercept.spec.match, gate)
    return tuple(encode(intercept_route(content.value, cluster, match)) for match in matches)


@lru_cache(maxsize=8192)
def _app_route(cluster: str, gate: Gate | None) -> bytes:
    return encode(app_route(cluster, route_match(None, gate.matchers() if gate else [])))
