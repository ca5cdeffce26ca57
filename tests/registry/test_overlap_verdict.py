"""The verdict on two intercepts, row by row."""

from __future__ import annotations

import time
from itertools import product

import pytest

from xds.registry.conditions import HttpFlags, parse_match
from xds.registry.intercept import InterceptSpec, Kind, PortMapping, Target
from xds.registry.match import Match
from xds.registry.matcher import matches
from xds.registry.overlap import Budget, Conflict, Fine, Warn, verdict
from xds.registry.workload import WorkloadId

ORDERS = WorkloadId("dev", "deployment", "orders")


def spec(
    *headers: str, kind: Kind = Kind.PERSONAL, shared: bool = False, ports: tuple[int, ...] = (80,), **flags: object
) -> InterceptSpec:
    match = parse_match(HttpFlags(headers=headers, **flags), key_name="x-id", key_value="me")  # type: ignore[arg-type]
    mappings = tuple(PortMapping(port, Target("localhost", port)) for port in ports)
    return InterceptSpec("x", ORDERS, mappings, match or Match(), kind, shared)


def auto(user: str, **flags: object) -> InterceptSpec:
    match = parse_match(HttpFlags(headers=("auto",), **flags), key_name="x-id", key_value=user)  # type: ignore[arg-type]
    assert match is not None
    return InterceptSpec("x", ORDERS, (PortMapping(80, Target("localhost", 80)),), match)


GLOBAL = spec(kind=Kind.GLOBAL)
SHARED = spec(kind=Kind.GLOBAL, shared=True)
REPLACE = spec(kind=Kind.REPLACE)
MIRROR = spec("x=a", kind=Kind.MIRROR)
BOB = spec("x=bob")
PATH_ONLY = spec("all", path_prefix="/api")
ALL = spec("all")


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (spec("x=a@d.com"), spec("x=b@d.com")),
        (spec("x~=dev::(qa|test)"), spec("x=dev::prod")),
        (auto("alice"), auto("bob")),
        (auto("alice", baggage=("team=x",)), auto("bob")),
        (auto("alice", baggage=("team=x",)), auto("bob", baggage=("team=x",))),
        (auto("alice", path_prefix="/a"), auto("bob", path_prefix="/a")),
        (BOB, PATH_ONLY),
        (auto("alice"), PATH_ONLY),
        (spec(baggage=("team=x",)), PATH_ONLY),
        (BOB, ALL),
        (spec("all", method="GET"), spec("all", method="POST")),
        (SHARED, BOB),
        (SHARED, PATH_ONLY),
        (MIRROR, GLOBAL),
        (MIRROR, REPLACE),
        (MIRROR, MIRROR),
        (MIRROR, spec("x=a")),
        (GLOBAL, spec(kind=Kind.GLOBAL, ports=(81,))),
        (BOB, spec("x=bob", ports=(81, 82))),
    ],
)
def test_fine_side_by_side(one: InterceptSpec, two: InterceptSpec) -> None:
    assert verdict(one, two) == Fine()
    assert verdict(two, one) == Fine()


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (PATH_ONLY, spec("all", path_prefix="/api/v1")),
        (PATH_ONLY, spec("all", method="POST")),
        (ALL, PATH_ONLY),
        (spec("x-user=bob"), spec("X-User=bob")),
        (BOB, spec("x=bob", "y=1")),
        (BOB, spec("x=bob", path_prefix="/api")),
        (BOB, spec("x~=^b")),
        (auto("alice"), auto("alice")),
        (auto("alice"), auto("alice", path_prefix="/api")),
        (auto("alice"), spec("x-id=alice")),
        (auto("alice"), spec(baggage=("x-id=alice",))),
        *((whole, other) for whole, other in product((GLOBAL, REPLACE), (GLOBAL, REPLACE, SHARED, BOB, PATH_ONLY))),
        (SHARED, SHARED),
    ],
)
def test_conflict_with_an_example(one: InterceptSpec, two: InterceptSpec) -> None:
    for found in (verdict(one, two), verdict(two, one)):
        assert isinstance(found, Conflict)
        assert found.proven
        assert found.ports == {80}
        assert found.witness is not None
        assert matches(one.match, found.witness)
        assert matches(two.match, found.witness)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (spec("a=1"), spec("b=2")),
        (spec("x=1", "env=a"), spec("x=1", "session=b")),
        (spec(baggage=("team=x",)), spec(baggage=("user=b",))),
        (auto("alice"), spec(baggage=("team=x",))),
        (BOB, auto("alice")),
        (spec("x=1", path_prefix="/api"), spec("x=1", method="GET")),
    ],
)
def test_allowed_with_a_warning_and_an_example(one: InterceptSpec, two: InterceptSpec) -> None:
    for found in (verdict(one, two), verdict(two, one)):
        assert isinstance(found, Warn)
        assert found.proven
        assert found.ports == {80}
        assert found.witness is not None
        assert matches(one.match, found.witness)
        assert matches(two.match, found.witness)


def test_only_common_ports_are_named() -> None:
    found = verdict(spec("x=bob", ports=(80, 81, 82)), spec("x=bob", ports=(82, 83, 81)))
    assert isinstance(found, Conflict)
    assert found.ports == {81, 82}


def test_what_could_not_be_proved_disjoint_counts_as_overlapping() -> None:
    # Their shortest common values are far too long to be found within this budget.
    one, two = "x~=^(.{33})+$", "x~=^(.{34})+.$"
    small = Budget(per_pair=300)
    assert verdict(spec(one), spec(two), budget=small) == Conflict(None, frozenset({80}), proven=False)
    assert verdict(spec(one, "y=1"), spec(two, "z=1"), budget=small) == Warn(None, frozenset({80}), proven=False)


@pytest.mark.parametrize("shape", ["x=user-{}", "x~=^user-{}$", "x~=^user-{}-.*$", r"x~=^[a-z]+{}@(dev|qa)\.test$"])
def test_one_more_expression_against_a_thousand_is_quick(shape: str) -> None:
    # What the registry has seen before is parsed already; CPU time, because the machine may be busy.
    others = [spec(shape.format(number)) for number in range(1000)]
    warm = spec("x~=^warming-up$")
    assert all(verdict(warm, other) == Fine() for other in others)
    new = spec(r"x~=^(alice|bob)-\d+(\.dev)?$")
    started = time.process_time()
    assert all(verdict(new, other) == Fine() for other in others)
    assert time.process_time() - started < 0.15, "about 0.03 s on an idle machine"


def test_intercepts_of_other_workloads_never_meet() -> None:
    other = InterceptSpec("x", WorkloadId("dev", "deployment", "carts"), GLOBAL.ports, Match(), Kind.GLOBAL)
    assert verdict(GLOBAL, other) == Fine()
