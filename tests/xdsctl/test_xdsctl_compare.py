"""What a node is meant to have against what it has."""

from __future__ import annotations

import json
from typing import Any

import pytest
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import Address, SocketAddress
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.xdsctl import recorded
from tests.xdsctl.test_xdsctl_tables import check
from xds.api.byway.manager import v1
from xds.compile.workload import compile_workload
from xds.terminal.output import data
from xdsctl.compare import Comparison, State, comparison_text, remarks_of, said, unified, with_acknowledged, with_envoy
from xdsctl.decode import decode
from xdsctl.resources import Resource


def compared(kind: str = "routes", *resources: v1.ComparedResource, **more: Any) -> v1.ComparedType:
    known = {"requested": True, "state": "STALE"}
    return v1.ComparedType(type=kind, resources=list(resources), **{**known, **more})


def bodies(kind: str) -> dict[str, bytes]:
    return recorded.bodies(compile_workload(recorded.orders()), kind, "orders-1")


def one(kind: str, name: str, version: str, acked: str, body: bytes = b"", old: bytes = b"") -> v1.ComparedResource:
    return v1.ComparedResource(
        name=name, type_url=recorded.URLS[kind], version=version, acked_version=acked, body=body, acked_body=old
    )


def assignment(*hosts: str) -> bytes:
    endpoints = [
        LbEndpoint(endpoint=Endpoint(address=Address(socket_address=SocketAddress(address=host, port_value=8081))))
        for host in ("10.0.0.7", *hosts)
    ]
    return bytes(ClusterLoadAssignment(cluster_name="app", endpoints=[LocalityLbEndpoints(lb_endpoints=endpoints)]))


@pytest.fixture
def recorded_comparison() -> Comparison:
    """One of each state."""
    old, new = assignment("10.0.0.9"), assignment("10.0.0.1")
    types = [
        compared("listeners", one("listeners", "dev/deployment/orders/8080", "v1", "v1")),
        compared(
            "endpoints",
            one("endpoints", "app", "v2", "v1", new, old),
            one("endpoints", "laptop", "v2", "v1", new),
            nack=recorded.NACK,
        ),
        compared(
            "clusters",
            one("clusters", "app", "v1", "", bytes(Cluster(name="app"))),
            one("clusters", "gone", "", "v7", b"", bytes(Cluster(name="gone"))),
            requested=False,
        ),
    ]
    found = [each for kind in types for each in with_acknowledged(kind)]
    return Comparison(recorded.ORDERS_1, "acknowledged", found, remarks_of(types))


def test_each_resource_is_the_same_or_differs_or_is_missing_or_extra(recorded_comparison: Comparison) -> None:
    assert [(each.state, each.unknown) for each in recorded_comparison.resources] == [
        (State.SAME, False),
        (State.DIFFERS, False),
        (State.DIFFERS, True),
        (State.MISSING, False),
        (State.EXTRA, False),
    ]
    assert not recorded_comparison.same
    assert len(recorded_comparison.remarks) == 2


@pytest.mark.parametrize("wide", [False, True], ids=["table", "wide"])
def test_what_differs_is_shown_as_a_unified_diff(recorded_comparison: Comparison, wide: bool) -> None:
    check(f"diff{'-wide' if wide else ''}.txt", comparison_text(recorded_comparison, wide=wide))


def test_a_comparison_as_json(recorded_comparison: Comparison) -> None:
    check("diff.json", data(recorded_comparison.as_dict(), "json"))


def test_where_nothing_differs_one_line_says_so() -> None:
    same = list(with_acknowledged(compared("routes", one("routes", "r", "v1", "v1"))))
    for against, words in (("acknowledged", "it has acknowledged"), ("envoy", "Envoy has")):
        comparison = Comparison("n", against, same)
        assert comparison.same
        assert comparison_text(comparison, wide=False) == f"n: {words} all of 1 resources as they are meant to be\n"


def envoys(kind: str, name: str, **filled: Any) -> dict[str, Any]:
    """As a config dump has it."""
    body = decode(recorded.URLS[kind], bodies(kind)[name])
    if kind == "endpoints":
        for locality in body["endpoints"]:
            locality.update(locality={}, load_balancing_weight=0)
            for endpoint in locality["lb_endpoints"]:
                endpoint["load_balancing_weight"] = 1
                endpoint["health_status"] = endpoint.get("health_status", "HEALTHY")
                endpoint["endpoint"]["health_check_config"] = {}
        body["policy"] = {"overprovisioning_factor": 140}
    return {**body, **filled}


@pytest.mark.parametrize("kind", ["listeners", "routes", "clusters", "endpoints"])
def test_what_envoy_fills_in_makes_no_difference(kind: str) -> None:
    meant = compared(kind, *(one(kind, name, "v", "v", body) for name, body in bodies(kind).items()))
    actual = [Resource(name, envoys(kind, name), "v") for name in bodies(kind)]
    found = list(with_envoy(meant, actual))
    assert found
    assert {each.state for each in found} == {State.SAME}


def test_what_envoy_does_not_fill_in_makes_a_difference() -> None:
    name, body = next(iter(bodies("endpoints").items()))
    meant = compared("endpoints", one("endpoints", name, "v", "v", body))
    (found,) = with_envoy(meant, [Resource(name, envoys("endpoints", name, policy={"overprovisioning_factor": 100}))])
    assert found.state is State.DIFFERS
    assert '+    "overprovisioning_factor": 100' in found.difference


def test_envoy_may_lack_something_or_have_more() -> None:
    body = bodies("routes")
    name = next(iter(body))
    meant = compared("routes", one("routes", name, "v", "v", body[name]))
    missing, extra = with_envoy(meant, [Resource("z", {"name": "z"}, "v9")])
    assert (missing.name, missing.state, missing.version, missing.actual_version) == (name, State.MISSING, "v", "")
    assert (extra.name, extra.state, extra.version, extra.actual_version) == ("z", State.EXTRA, "", "v9")
    assert all(line.startswith("+") for line in extra.difference if not line.startswith("@@"))


def test_nothing_but_endpoints_is_cleaned() -> None:
    body = {"@type": "x.Cluster", "load_balancing_weight": 1}
    assert said(body) is body


def patched(before: list[str], difference: list[str]) -> list[str]:
    """What patch(1) makes of a unified diff."""
    result, at = [], 0
    for line in difference:
        if line.startswith("@@"):
            start = line.split()[1][1:]
            first, _, count = start.partition(",")
            begin = int(first) - (count != "0")
            result += before[at:begin]
            at = begin
        elif line.startswith("+"):
            result.append(line[1:])
        else:
            assert before[at] == line[1:]
            at += 1
            result += [line[1:]] if line.startswith(" ") else []
    return result + before[at:]


LISTS = st.lists(st.sampled_from("abcd"), max_size=30)


@given(LISTS, LISTS)
def test_a_difference_leads_from_one_to_the_other(left: list[str], right: list[str]) -> None:
    before, after = (json.dumps(side, indent=2, sort_keys=True).splitlines() for side in (left, right))
    found = unified(left, right)
    assert patched(before, found) == after
    assert bool(found) == (left != right)


def test_a_large_resource_with_a_small_change_has_a_small_difference() -> None:
    routes = [{"name": f"r{number}", "match": {"prefix": "/"}} for number in range(5000)]
    changed = [*routes[:2500], {"name": "new"}, *routes[2501:]]
    assert len(unified(routes, changed)) < 20
