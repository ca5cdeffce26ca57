from __future__ import annotations

from xds.compile.state import Reach, Routed, WorkloadState
from xds.compile.workload import compile_workload
from xds.manager.linger import LINGER, Lingering
from xds.registry.intercept import Intercept, InterceptSpec, PortMapping, Target
from xds.registry.match import Condition, Field, FieldKind, Match, Op
from xds.registry.workload import Address, AppProtocol, Instance, Port, Workload, WorkloadId

SHOP = WorkloadId("dev", "deployment", "shop")
WORKLOAD = Workload(
    SHOP,
    (Port(80, "web", AppProtocol.HTTP),),
    instances={"shop-1": Instance("shop-1", {80: Address("127.0.0.1", 1)}, {80: Address("127.0.0.1", 2)})},
)


def routed(key: str) -> Routed:
    match = Match.of([Condition(Field(FieldKind.HEADER, "x-user"), Op.EXACT, key)])
    spec = InterceptSpec(key, SHOP, (PortMapping(80, Target("localhost", 3000)),), match)
    intercept = Intercept(key, "s-1", "ann@laptop", spec, sequence=1)
    return Routed(intercept, {80: Reach(Address("127.0.0.1", 3000), up=True)})


def ids(those: tuple[Routed, ...]) -> list[str]:
    return [one.intercept.id for one in those]


A, B = routed("i-a"), routed("i-b")


def test_what_lost_its_routes_lingers_for_a_moment_and_no_longer() -> None:
    lingering = Lingering()
    assert ids(lingering.update([A, B], acknowledged=(), now=10.0)) == []
    assert ids(lingering.update([B], acknowledged={"i-a", "i-b"}, now=20.0)) == ["i-a"]
    assert not lingering.due(20.0 + LINGER - 0.1)
    assert ids(lingering.update([B], acknowledged={"i-b"}, now=20.0 + LINGER - 0.1)) == ["i-a"]
    assert lingering.due(20.0 + LINGER)
    assert ids(lingering.update([B], acknowledged={"i-b"}, now=20.0 + LINGER)) == []
    assert not lingering.due(1000.0)


def test_what_no_sidecar_has_acknowledged_does_not_linger() -> None:
    lingering = Lingering()
    lingering.update([A, B], acknowledged=(), now=10.0)
    assert ids(lingering.update([A], acknowledged={"i-a"}, now=11.0)) == []


def test_what_comes_back_is_routed_and_lingers_no_more() -> None:
    lingering = Lingering()
    lingering.update([A], acknowledged=(), now=10.0)
    assert ids(lingering.update([], acknowledged={"i-a"}, now=11.0)) == ["i-a"]
    assert ids(lingering.update([A], acknowledged=(), now=11.5)) == []
    assert not lingering.due(1000.0)


def test_what_lingers_keeps_everything_but_its_routes() -> None:
    before = compile_workload(WorkloadState(WORKLOAD, (A, B)))
    after = compile_workload(WorkloadState(WORKLOAD, (B,), lingering=(A,)))
    assert (after.clusters, after.hops, after.endpoints) == (before.clusters, before.hops, before.endpoints)
    assert after.routes == compile_workload(WorkloadState(WORKLOAD, (B,))).routes
