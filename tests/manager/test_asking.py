"""Twins are there while somebody asks, and no longer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.manager.running import Laptop, Running, refused, running, until
from xds.api.byway.manager import v1
from xds.api.services import Manager as Methods
from xds.compile.twin import ASKED
from xds.manager.recent import AT_ONCE, Askers, TooManyError
from xds.registry.workload import WorkloadId
from xds.serve.resource import ROUTE
from xds.serve.store import View

ORDERS = WorkloadId("dev", "deployment", "orders")


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as one:
        yield one


def twins(there: Running) -> int:
    """How many of a workload's routes say their name."""
    routes = there.manager.store.snapshot(View(str(ORDERS), f"{ORDERS}/orders-1"), ROUTE).resources.values()
    # A request header and a response header each.
    return sum(one.body.count(ASKED.encode()) for one in routes) // 2


def ask(laptop: Laptop, **more: Any) -> Any:
    request = v1.ExplainRequest(workload="orders", port="http", request_line="/", **more)
    return Methods.EXPLAIN(laptop.channel, request, metadata=laptop.proof)


async def test_twins_are_there_as_long_as_the_call(there: Running) -> None:
    ann = await there.connect()
    await ann.create("mine", "x-user=ann")
    call = ask(ann, live=True)
    reply = await anext(aiter(call))
    assert reply.live.expected == "app"
    assert [one.obstacle for one in reply.live.instances] == ["no sidecar is connected"]
    # app behind the gate, mine, app
    assert twins(there) == 3
    call.cancel()
    await until(lambda: twins(there) == 0)


async def test_without_live_nothing_is_published(there: Running) -> None:
    ann = await there.connect()
    before = there.manager.store.revision
    assert [one.winner async for one in ask(ann)] == [""]
    assert there.manager.store.revision == before


async def test_each_call_has_twins_of_its_own_and_there_is_a_limit(there: Running) -> None:
    ann = await there.connect()
    calls = [ask(ann, live=True) for _ in range(AT_ONCE)]
    replies = [await anext(aiter(call)) for call in calls]
    assert len({reply.live.token for reply in replies}) == AT_ONCE
    assert twins(there) == AT_ONCE
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "8 others ask"):
        await anext(aiter(ask(ann, live=True)))
    for call in calls:
        call.cancel()
    await until(lambda: twins(there) == 0)


async def test_a_sidecar_that_has_not_acknowledged_the_twins_is_not_asked(
    there: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xds.manager.service.explaining.IN_FORCE", 0.05)
    ann = await there.connect()
    await there.silent_sidecar()
    reply = await anext(aiter(ask(ann, live=True)))
    assert "sent" in reply.live.instances[0].obstacle.lower()


async def test_others_are_told_no_more_than_the_list_tells(there: Running) -> None:
    ann, bob = await there.connect("ann"), await there.connect("bob")
    await ann.create("anns", "auto")
    key = (await ann.list())[0].curl_args[1].partition(": ")[2]
    wrong = ask(bob, headers=[f"x-telepresence-id: {key.upper()}"])
    reply = await anext(aiter(wrong))
    (found,) = reply.candidates
    assert (found.name, found.owner, found.match_flags) == ("anns", "ann@lap", ["--http-header", "auto"])
    assert key not in str(found)
    assert "its owner's value" in found.why


async def test_a_call_for_an_intercept_that_is_nobodys_says_so(there: Running) -> None:
    ann = await there.connect()
    with refused(grpc.StatusCode.NOT_FOUND, "you have no intercept named 'x'"):
        await Methods.WHY(ann.channel, v1.WhyRequest(intercept="x"), metadata=ann.proof)


def test_askers_are_counted_by_workload() -> None:
    askers = Askers()
    tokens = [askers.add(ORDERS, 8080) for _ in range(AT_ONCE - 1)]
    other = askers.add(ORDERS, 9090)
    assert askers.of(ORDERS) == {8080: frozenset(tokens), 9090: frozenset({other})}
    with pytest.raises(TooManyError):
        askers.add(ORDERS, 8080)
    askers.add(WorkloadId("dev", "deployment", "other"), 8080)
    assert askers.drop(ORDERS, other)
    assert not askers.drop(ORDERS, other)
    assert askers.drop_all(ORDERS)
    assert not askers.drop_all(ORDERS)
    assert askers.of(ORDERS) == {}
