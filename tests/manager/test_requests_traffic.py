"""Counts, percentiles and the memory of one intercept's requests."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from xds.manager.requests.latency import LONGEST, SHORTEST, Latencies
from xds.manager.requests.records import Record
from xds.manager.requests.traffic import KEPT, OPEN, Traffic

ONE = Record("i-1", (b"client", 1), 100.0, 0.5, ended=True, method="GET", path="/", status=200, served_by="laptop")
NODE = "dev/deployment/orders/orders-1"


def request(number: int, *, ended: bool = True, **more: object) -> Record:
    return replace(ONE, stream=(b"client", number), ended=ended, **more)  # type: ignore[arg-type]


def test_a_request_that_is_told_of_several_times_is_one() -> None:
    traffic = Traffic()
    for record in (request(1, ended=False, status=0), request(1, ended=False), request(1), request(1)):
        traffic.note(NODE, record, 0.0)
    assert (traffic.total, dict(traffic.statuses), traffic.latencies.count) == (1, {200: 1}, 1)


def test_requests_of_two_sidecars_are_two_even_if_they_began_at_the_same_time() -> None:
    traffic = Traffic()
    traffic.note(NODE, ONE, 0.0)
    traffic.note(f"{NODE}-b", ONE, 0.0)
    assert traffic.total == 2


def test_an_open_request_is_not_forgotten_for_those_that_end() -> None:
    traffic = Traffic()
    traffic.note(NODE, request(0, ended=False), 0.0)
    for number in range(1, 3 * KEPT):
        traffic.note(NODE, request(number), 0.0)
    traffic.note(NODE, request(0), 0.0)
    assert traffic.total == 3 * KEPT
    assert sum(traffic.statuses.values()) == 3 * KEPT


def test_a_web_socket_says_nothing_of_how_fast_answers_are_and_neither_does_a_client_that_gives_up() -> None:
    traffic = Traffic()
    traffic.note(NODE, request(1, status=101, duration=3600.0), 0.0)
    traffic.note(NODE, request(2, status=0, duration=60.0, served_by=""), 0.0)
    traffic.note(NODE, request(3), 0.0)
    assert traffic.latencies.count == 1
    assert dict(traffic.statuses) == {101: 1, 0: 1, 200: 1}
    assert dict(traffic.served_by) == {"laptop": 2, "": 1}


def test_memory_has_a_bound() -> None:
    traffic = Traffic()
    for number in range(OPEN + 3 * KEPT):
        traffic.note(NODE, request(number, ended=False), 0.0)
        traffic.note(NODE, request(-number, ended=True), 0.0)
    entries, _ = traffic.news(traffic.watch())
    assert len(entries) == OPEN + KEPT


def test_a_watcher_is_shown_what_is_remembered_and_then_what_changes() -> None:
    traffic = Traffic()
    for number in range(3):
        traffic.note(NODE, request(number, ended=number != 1), float(number))
    watch = traffic.watch()
    assert [one.number for one in traffic.news(watch)[0]] == [1, 2, 3]
    assert traffic.news(watch) == ([], 0)
    traffic.note(NODE, request(1), 9.0)
    ((entry,), missed) = traffic.news(watch)
    assert (entry.number, entry.record.ended, entry.heard, missed) == (2, True, 9.0, 0)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 600), st.just("look")), max_size=12), st.booleans())
def test_a_watcher_sees_every_request_or_is_told_how_many_not(steps: list[int | str], late: bool) -> None:
    """Each of those that were heard of since the watcher came is shown in its last state, or counted as missed."""
    traffic = Traffic()
    if late:
        traffic.note(NODE, request(-1), 0.0)
    watch, shown, missed, told = traffic.watch(), set(), 0, 0
    for step in [*steps, "look"]:
        if isinstance(step, int):
            for _ in range(step):
                told += 1
                traffic.note(NODE, request(told), 0.0)
        else:
            entries, lost = traffic.news(watch)
            shown |= {one.number for one in entries}
            missed += lost
    assert len(shown) + missed == traffic.total
    traffic.unwatch(watch)


@given(st.lists(st.floats(1e-7, 1e8), min_size=1, max_size=300), st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
def test_percentiles_are_right_within_a_fortieth(durations: list[float], share: float) -> None:
    latencies = Latencies()
    for one in durations:
        latencies.add(one)
    exact = sorted(min(max(one, SHORTEST), LONGEST) for one in durations)[max(1, math.ceil(share * len(durations))) - 1]
    assert abs(latencies.percentile(share) / exact - 1) <= 0.0251


def test_without_any_there_is_no_percentile() -> None:
    assert Latencies().percentile(0.5) == 0.0
