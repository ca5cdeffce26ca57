"""The routes of gateways: from sidecars to laptops, and from laptops into the cluster."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    HeaderMatcher,
    Route,
    RouteAction,
    RouteActionUpgradeConfig,
    RouteActionUpgradeConfigConnectConfig,
    RouteConfiguration,
    RouteMatch,
    RouteMatchConnectMatcher,
    VirtualHost,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher

from xds.compile import names, wire
from xds.compile.admission import NAMESPACES, NODE, listed
from xds.compile.encode import encode
from xds.compile.keep import Kept
from xds.compile.peer import PEER
from xds.compile.route import AWAY, OVERWRITE, SERVED_BY, TO, facts, header
from xds.compile.transparent import FOREVER
from xds.registry.intercept import Intercept, Target
from xds.registry.workload import AppProtocol, Port, Workload, WorkloadId

TUNNEL_AUTHORITY = "tunnel.byway:443"
"""What a laptop asks for to begin its tunnel."""

TARGET = "x-byway-target"
NAME = "x-byway-name"
OWNER = "x-byway-owner"
"""What a gateway tells a laptop of a request: where it is for, and whose intercept it belongs to."""

_WHO = (
    f"%METADATA(ROUTE:{names.METADATA}:intercept)%; served-by=%CEL('{AWAY}' in response.headers ? 'none' : 'laptop')%"
)
"""Who answered: what is marked comes from no process on a laptop. An expression is dear to compile: it is there once,
and not with each route."""

Served = tuple[WorkloadId, tuple[Port, ...]]
"""All of a workload that shows in routes to it."""


@dataclass(frozen=True, slots=True)
class Passage:
    """The way of an intercept's port to its target, and by which tunnel."""

    intercept: Intercept
    port: int
    target: Target
    tunnel: str


def to_sidecars(passages: Sequence[Passage]) -> bytes:
    """The RouteConfiguration of what sidecars send.

    name = 1, virtual_hosts = 2 {name = 1, domains = 2, routes = 3}, response_headers_to_add = 4
    """
    routes: list[bytes] = []
    for one in passages:
        routes += _passage(Kept(_key(one), one))
    host = wire.text(1, "all") + wire.text(2, "*") + wire.repeated(3, [*routes, *_nowhere()])
    return wire.text(1, names.TO_SIDECARS) + wire.field(2, host) + wire.field(4, _answered())


@lru_cache(maxsize=1)
def _answered() -> bytes:
    return encode(header(SERVED_BY, _WHO, OVERWRITE))


def _key(passage: Passage) -> object:
    one = passage.intercept
    return (
        one.id,
        one.owner,
        one.spec.name,
        one.spec.when_down,
        passage.port,
        passage.target,
        passage.tunnel,
        one.spec.workload,
    )


@lru_cache(maxsize=65536)
def _passage(kept: Kept[Passage]) -> tuple[bytes, ...]:
    """Its two routes: for requests, and for connections that are carried as they are."""
    one = kept.value
    matchers = [
        _exactly(TO, names.target(one.intercept.id, one.port)),
        _exactly(PEER, names.identity(one.intercept.spec.workload)),
    ]
    requests = RouteMatch(prefix="", headers=matchers)
    connections = RouteMatch(connect_matcher=RouteMatchConnectMatcher(), headers=matchers)
    return encode(_route(one, connections, connect=True)), encode(_route(one, requests))


def _route(one: Passage, match: RouteMatch, *, connect: bool = False) -> Route:
    action = RouteAction(cluster=names.TO_LAPTOPS, timeout=FOREVER, idle_timeout=FOREVER)
    if connect:
        action.upgrade_configs = [RouteActionUpgradeConfig(upgrade_type="CONNECT")]
    return Route(
        name=one.intercept.id,
        match=match,
        route=action,
        metadata=facts(one.intercept, ""),
        request_headers_to_add=[
            header(NODE, one.tunnel, OVERWRITE),
            header(TARGET, str(one.target), OVERWRITE),
            header(NAME, _literally(one.intercept.spec.name), OVERWRITE),
            header(OWNER, _literally(one.intercept.owner), OVERWRITE),
        ],
        response_headers_to_add=[header("cache-control", "no-store", OVERWRITE)],
    )


@lru_cache(maxsize=1)
def _nowhere() -> tuple[bytes, ...]:
    """What no intercept explains: marked, since a sidecar may be a moment ahead of the gateway, or behind it."""
    text = "no intercept leads this sidecar to that laptop\n"
    answer = DirectResponseAction(status=503, body=DataSource(inline_string=text))
    marked = [header(AWAY, "no intercept", OVERWRITE)]
    matches = [RouteMatch(connect_matcher=RouteMatchConnectMatcher()), RouteMatch(prefix="")]
    return tuple(
        encode(Route(name="nowhere", match=one, direct_response=answer, response_headers_to_add=marked))
        for one in matches
    )


def to_laptops(tunnels: Collection[str], workloads: Sequence[Workload]) -> bytes:
    """The RouteConfiguration of what laptops ask for."""
    # Sessions come and go, and workloads hardly ever: messages that follow each other are read as one.
    return _known(tuple((one.id, one.ports) for one in workloads)) + listed(tunnels)


@lru_cache(maxsize=4)
def _known(workloads: tuple[Served, ...]) -> bytes:
    tunnel = VirtualHost(name="tunnel", domains=[TUNNEL_AUTHORITY], routes=[_connect("tunnel", "accept")])
    hosts = [tunnel, *_services(workloads), _unknown()]
    return encode(RouteConfiguration(name=names.TO_LAPTOPS, virtual_hosts=hosts))


def _services(workloads: Sequence[Served]) -> Iterator[VirtualHost]:
    """Each port of each workload under the names that people know; of two workloads of one name the first has them."""
    taken: set[str] = set()
    for key, ports in sorted(workloads):
        for port in ports:
            if port.protocol is AppProtocol.UDP:
                continue
            name = f"{key.name}.{key.namespace}"
            domains = [f"{one}:{port.number}" for one in (name, f"{name}.svc", f"{name}.svc.cluster.local")]
            if taken.isdisjoint(domains):
                taken.update(domains)
                yield _service(key, port.number, domains)


def _service(workload: WorkloadId, port: int, domains: list[str]) -> VirtualHost:
    cluster = names.service_cluster(workload, port)
    allowed = _connect(cluster, cluster, _among(workload.namespace))
    refused = _answer(403, f"your user may not call into namespace {workload.namespace}\n")
    return VirtualHost(name=cluster, domains=domains, routes=[allowed, refused])


def _unknown() -> VirtualHost:
    return VirtualHost(name="unknown", domains=["*"], routes=[_answer(404, "there is no such service and port\n")])


def _answer(status: int, text: str) -> Route:
    return Route(
        match=RouteMatch(connect_matcher=RouteMatchConnectMatcher()),
        direct_response=DirectResponseAction(status=status, body=DataSource(inline_string=text)),
    )


def _connect(name: str, cluster: str, *headers: HeaderMatcher) -> Route:
    """A route that ends a CONNECT here and goes on as a connection."""
    upgrade = RouteActionUpgradeConfig(upgrade_type="CONNECT", connect_config=RouteActionUpgradeConfigConnectConfig())
    return Route(
        name=name,
        match=RouteMatch(connect_matcher=RouteMatchConnectMatcher(), headers=list(headers)),
        route=RouteAction(cluster=cluster, timeout=FOREVER, idle_timeout=FOREVER, upgrade_configs=[upgrade]),
    )


def _exactly(name: str, value: str) -> HeaderMatcher:
    return HeaderMatcher(name=name, string_match=StringMatcher(exact=value))


def _among(namespace: str) -> HeaderMatcher:
    """The namespace, or all of them, in the list of those that the user may call into."""
    pattern = rf"(.* )?({re.escape(namespace)}|\*)( .*)?"
    return HeaderMatcher(name=NAMESPACES, string_match=StringMatcher(safe_regex=RegexMatcher(regex=pattern)))


def _literally(text: str) -> str:
    """Text as a header's value, where a per cent sign begins a command."""
    return text.replace("%", "%%")
