"""What is measured is what is meant: every server gives every stream the same, and a change reaches all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import plots, xds_rows, xds_seed
from bench.xds_file import Seed
from bench.xds_rows import Found, Idle, Row, Scale
from bench.xds_subjects import BYWAY, FLOOR, OURS, SERVE, Peer, build
from xds.serve.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE

NO_PEER = Peer(None, "not here")


def test_one_intercept_changes_one_route_configuration_and_adds_to_three_other_types() -> None:
    seed = xds_seed.seed(groups=1, existing=3)

    assert {kind for kind, _ in seed.state} == {CLUSTER, ENDPOINT, LISTENER, ROUTE}
    for change in seed.changes:
        assert {kind for kind, _ in change} == {CLUSTER, ENDPOINT, LISTENER, ROUTE}
        assert [key for key in change if key in seed.state] == [key for key in seed.state if key[0] == ROUTE]


def test_a_seed_is_read_as_it_was_written(tmp_path: Path) -> None:
    seed = xds_seed.seed(groups=2, existing=1)
    seed.write(tmp_path / "seed.json")

    assert Seed.read(tmp_path / "seed.json") == seed


def test_a_change_reaches_every_stream_of_every_server_and_costs_something(tmp_path: Path) -> None:
    scale = Scale(rounds=1, streams=3, existing=(2,), workloads=(), intercepts=(), idle=2)

    found = xds_rows.measure(tmp_path, NO_PEER, scale, lambda _: None)

    assert [row.kind for row in found.fan_out] == list(OURS)
    assert all(row.cpu_us > 0 and row.ms > 0 for row in found.fan_out)
    assert [row.ratio for row in found.fan_out if row.kind == FLOOR] == [1.0]
    assert [row.commit_us > 0 for row in found.fan_out] == [kind == BYWAY for kind in OURS]
    assert [one.kind for one in found.idle] == [SERVE, FLOOR]


def test_the_peer_is_left_out_with_the_reason_where_there_is_no_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert build(tmp_path, seconds=5) == Peer(None, "there is no Go on the PATH")


def test_each_row_that_grows_is_drawn(tmp_path: Path) -> None:
    rows = [Row(kind, scale, 10.0 * scale, 1.0, 1.0, 1.0) for kind in OURS for scale in (10, 100)]

    drawn = plots.draw(Found(2, rows, rows, rows, [Idle(SERVE, 2, 40.0)]), tmp_path)

    assert [path.name for path in drawn] == ["bench-fan-out.png", "bench-workloads.png", "bench-crowd.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
