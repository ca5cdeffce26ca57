"""Metrics and health: what a scraper reads while sidecars come, acknowledge, refuse and go."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.manager.running import WATCHED, Running, refused, running, until
from xds import __version__
from xds.manager.convergence import MOST, Convergence
from xds.manager.monitor import serving, unready
from xds.registry.workload import WorkloadId

import grpc  # isort: skip  after xds.client.channel, which sets its environment

KEY = WorkloadId("dev", "deployment", "orders")
Page = dict[tuple[str, str], float]
"""By name and the value of the only label."""


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path, replace=WATCHED) as one:
        yield one


async def get(there: Running, path: str, method: str = "GET") -> tuple[int, str]:
    assert there.standalone.monitoring
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"http://{there.standalone.monitoring}{path}") as response,
    ):
        return response.status, await response.text()


async def page(there: Running) -> Page:
    status, text = await get(there, "/metrics")
    assert status == 200
    found: Page = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if family.name.startswith("byway"):
                assert len(sample.labels.keys() - {"le"}) <= 1, sample
                if "le" not in sample.labels:
                    found[sample.name, "".join(sample.labels.values())] = sample.value
    return found


async def test_a_sidecar_is_counted_with_what_it_is_sent_acknowledges_and_refuses(there: Running) -> None:
    before = await page(there)
    assert before["byway_build_info", __version__] == 1
    assert (before["byway_xds_clients", "sidecar"], before["byway_instances", "missing"]) == (0, 1)
    assert before["byway_xds_rejects_total", "rds"] == 0, "it is there before the first"
    ann = await there.connect("ann", present=True)
    async with there.obliging_sidecar(refuses=b"bad-value"):
        await ann.create("good", "x-user=ann")
        await until(lambda: not len(there.manager.delivery.convergence))
        first = await page(there)
        assert (first["byway_xds_clients", "sidecar"], first["byway_instances", "connected"]) == (1, 1)
        for kind in ("cds", "eds", "lds", "rds"):
            assert first["byway_xds_pushes_total", kind] >= 1
            assert first["byway_xds_push_bytes_total", kind] > first["byway_xds_pushes_total", kind]
        assert first["byway_push_seconds_count", "rds"] >= 2
        assert first["byway_convergence_seconds_count", ""] >= 1
        assert 0 < first["byway_convergence_seconds_sum", ""] < 60
        with refused(grpc.StatusCode.INTERNAL, "no such thing"):
            await ann.create("bad", "x-user=bad-value")
        await until(lambda: not len(there.manager.delivery.convergence))
        second = await page(there)
        assert second["byway_xds_rejects_total", "rds"] == 1
        assert second["byway_xds_rejects_total", "cds"] == 0
        assert second["byway_intercepts", "active"] == second["byway_intercepts", "rejected"] == 1
        assert second["byway_intercepts", "displaced"] == 0
        assert (second["byway_sessions", "present"], second["byway_sessions", "away"]) == (1, 0)
    server = there.manager.sidecars.server
    await until(lambda: server is not None and not server.clients())
    assert (await page(there))["byway_xds_clients", "sidecar"] == 0


async def test_the_page_is_as_long_with_many_users_and_intercepts_as_with_none(there: Running) -> None:
    before = await page(there)
    for user in ("ann", "bob", "cat"):
        laptop = await there.connect(user)
        for number in range(5):
            await laptop.create(f"n{number}", f"x-{user}={number}")
    after = await page(there)
    assert after.keys() == before.keys()
    assert after["byway_intercepts", "active"] == 15
    assert after["byway_sessions", "away"] == 3


async def test_it_is_ready_while_it_can_store_changes_and_says_why_it_is_not(
    there: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    assert await get(there, "/readyz") == (200, "ok\n")
    with monkeypatch.context() as patch:
        patch.setattr(there.standalone._store, "_run", full)
        with refused(grpc.StatusCode.RESOURCE_EXHAUSTED):
            await there.connect("ann")
        status, why = await get(there, "/readyz")
        assert status == 503
        assert "full" in why
        assert await get(there, "/healthz") == (200, "ok\n")
    await there.connect("ann")
    assert await get(there, "/readyz") == (200, "ok\n")
    assert (await page(there))["byway_store_errors_total", ""] == 1
    there.manager.closing = True
    assert await get(there, "/readyz") == (503, "the manager is about to end\n")


async def test_it_is_not_ready_before_its_first_state_is_served(there: Running) -> None:
    manager = there.manager
    manager.store._complete = False
    assert unready(manager, there.standalone._store) == "the first state is not complete yet"
    manager.store.complete()
    assert unready(manager, there.standalone._store) == ""
    manager.sidecars.server = None
    assert unready(manager, there.standalone._store) == "sidecars are not served yet"


async def test_there_is_nothing_else_and_no_way_to_change_anything(there: Running) -> None:
    for path in ("/", "/metrics/", "//metrics", "/debug", "/config", "/metrics/../readyz%00"):
        status, text = await get(there, path)
        assert (status, text) == (404, "404: Not Found")
    for path in ("/metrics", "/healthz", "/readyz"):
        assert await get(there, path, "HEAD") == (200, "")
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
            assert (await get(there, path, method))[0] == 405


async def test_a_scraper_gets_the_format_that_it_asks_for(there: Running) -> None:
    url = f"http://{there.standalone.monitoring}/metrics"
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as response:
            assert response.content_type == "text/plain"
        async with session.get(url, headers={"accept": "application/openmetrics-text; version=1.0.0"}) as response:
            assert response.content_type == "application/openmetrics-text"
            assert (await response.text()).endswith("# EOF\n")
            assert response.headers["server"] == "byway"


async def test_nothing_is_served_unless_the_file_says_where(tmp_path: Path) -> None:
    async with running(tmp_path) as one:
        assert one.standalone.monitoring is None


async def test_a_port_that_is_taken_is_named(there: Running) -> None:
    address = there.standalone.monitoring
    assert address
    with pytest.raises(OSError, match=rf"monitoring: can't listen on {address}: "):
        async with serving(address, there.standalone._metrics, str):
            raise AssertionError("two listen on one port")


async def test_another_address_in_the_file_needs_a_new_start(there: Running, caplog: pytest.LogCaptureFixture) -> None:
    there.change()
    there.standalone.reload()
    assert "monitoring: none takes effect when the manager is started anew" in caplog.text


def test_a_change_is_measured_until_the_last_sidecar_runs_it_or_something_newer() -> None:
    measured: list[float] = []
    one = Convergence()
    one.observe = measured.append
    one.began(KEY, 5, now=1.0)
    one.began(KEY, 6, now=2.0)
    one.look(KEY, 3.0, lambda _: True)
    assert measured == []
    one.look(KEY, 4.0, lambda revision: revision > 5)
    assert measured == [3.0]
    one.look(KEY, 7.0, lambda _: False)
    assert measured == [3.0, 5.0]
    one.began(KEY, 7, now=8.0)
    one.forget(KEY)
    one.look(KEY, 9.0, lambda _: False)
    assert (measured, len(one)) == ([3.0, 5.0], 0)


def test_what_is_waited_for_is_bounded() -> None:
    one = Convergence()
    for revision in range(3 * MOST):
        one.began(KEY, revision, now=0.0)
    assert len(one) == MOST


async def test_a_scrape_does_not_wait_for_others(there: Running) -> None:
    pages = await asyncio.gather(*(page(there) for _ in range(20)))
    assert all(one.keys() == pages[0].keys() for one in pages)
