"""Workload states as YAML: what the golden files start from.

    workload: dev/deployment/orders
    ports: [{number: 8080, name: web, protocol: http}]
    instances: {orders-1: {listen: {8080: 10.0.0.1:15080}, app: {8080: 10.0.0.1:8080}}}
    intercepts:
    - {id: i-1, owner: alice@laptop, match: {headers: [auto]}, ports: {8080: localhost:9101}, laptop: 192.0.2.1}

`match` holds the fields of `HttpFlags`; without it the intercept is global. The order of creation is that of the list.
`explaining` holds tokens by port. An intercept with a `tunnel`, which is its name, is reached through the `gateways`.
"""

from __future__ import annotations

from typing import Any

from xds.compile.state import LOOPBACK_NAMES, Reach, Routed, WorkloadState
from xds.registry.conditions import HttpFlags, parse_match
from xds.registry.gateway import Gateway
from xds.registry.intercept import Intercept, InterceptSpec, Kind, PortMapping, Target, WhenDown
from xds.registry.match import Match
from xds.registry.workload import Address, AppProtocol, Instance, Port, Workload, WorkloadId

Yaml = dict[str, Any]
KEY = "x-telepresence-id"


def read_state(content: Yaml) -> WorkloadState:
    """The state that a file describes."""
    workload = WorkloadId.parse(content["workload"])
    ports = tuple(Port(one["number"], one.get("name", ""), AppProtocol(one["protocol"])) for one in content["ports"])
    instances = {
        key: Instance(key, _addresses(value["listen"]), _addresses(value["app"]))
        for key, value in content["instances"].items()
    }
    routed = tuple(_routed(workload, number, one) for number, one in enumerate(content.get("intercepts", ()), 1))
    explaining = {port: frozenset(tokens) for port, tokens in content.get("explaining", {}).items()}
    gateways = read_gateways(content)
    return WorkloadState(Workload(workload, ports, {}, instances), routed, explaining=explaining, gateways=gateways)


def read_gateways(content: Yaml) -> tuple[Gateway, ...]:
    """The gateways that a file lists."""
    return tuple(
        Gateway(one["name"], Address(*_split(one["tunnel"])), Address(*_split(one["sidecars"])))
        for one in content.get("gateways", ())
    )


def match_of(flags: Yaml | None, owner: str) -> Match | None:
    """The match that these flags ask for."""
    typed: Yaml = {key: tuple(value) if isinstance(value, list) else value for key, value in (flags or {}).items()}
    return parse_match(HttpFlags(**typed), key_name=KEY, key_value=owner.partition("@")[0])


def _routed(workload: WorkloadId, sequence: int, one: Yaml) -> Routed:
    match = match_of(one.get("match"), one["owner"])
    targets = {port: _target(text) for port, text in one["ports"].items()}
    spec = InterceptSpec(
        name=one.get("name", workload.name),
        workload=workload,
        ports=tuple(PortMapping(port, target) for port, target in targets.items()),
        match=match or Match(),
        kind=Kind.GLOBAL if match is None else Kind.PERSONAL,
        shared=one.get("shared", False),
        when_down=WhenDown(one.get("when_down", "cluster")),
    )
    away = one.get("away_since", "")
    laptops = {
        port: Reach(
            Address(one.get("laptop", target.host) if target.host in LOOPBACK_NAMES else target.host, target.port),
            up=not away,
            generation=one.get("generation", "0.0"),
            tunnel=one.get("tunnel", ""),
        )
        for port, target in targets.items()
    }
    return Routed(Intercept(one["id"], f"s-{one['owner']}", one["owner"], spec, sequence), laptops, away)


def _addresses(texts: dict[int, str]) -> dict[int, Address]:
    return {port: Address(*_split(text)) for port, text in texts.items()}


def _target(text: str) -> Target:
    return Target(*_split(text))


def _split(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
