"""The tables that are printed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from bench.tunnels import WAYS
from bench.tunnels import Row as Way
from bench.xds_rows import Found, Row
from bench.xds_subjects import BYWAY


def xds(found: Found) -> Iterator[Table]:
    """What the xDS server costs."""
    yield _costs(f"One intercept added, {found.streams} streams", found.fan_out, "intercepts", "CPU µs per stream")
    yield _costs("One intercept added to one of many workloads, a stream each", found.workloads, "workloads", "CPU µs")
    yield _costs("One intercept added, one stream", found.crowd, "intercepts", "CPU µs")
    yield _parts("Of that, Byway before a stream is written to", found.crowd)
    idle = _table("Memory of streams on which nothing happens", "server", "streams", "kB per stream")
    for one in found.idle:
        idle.add_row(one.kind, str(one.streams), f"{one.kilobytes:.0f}")
    yield idle


def _costs(title: str, rows: Sequence[Row], scale: str, cpu: str) -> Table:
    table = _table(title, "server", scale, cpu, "of the floor", "ms to the last", "of the floor")
    for row in rows:
        table.add_row(
            row.kind,
            str(row.scale),
            f"{row.cpu_us:.0f}",
            f"{row.ratio:.2f}",
            f"{row.ms:.1f}",
            f"{row.ratio_ms:.2f}",
            end_section=row is rows[-1] or row.scale != rows[rows.index(row) + 1].scale,
        )
    return table


def _parts(title: str, rows: Sequence[Row]) -> Table:
    table = _table(title, "intercepts", "registry µs", "compile and serve µs")
    for row in rows:
        if row.kind == BYWAY:
            table.add_row(str(row.scale), f"{row.registry_us:.0f}", f"{row.commit_us:.0f}")
    return table


def tunnels(rows: Sequence[Way]) -> Table:
    """What tunnels cost."""
    table = _table(
        "Requests by the way they take",
        *("way", "connections", "requests/s", "of pass-through", "p50 ms", "more than it", "p99 ms", "CPU µs"),
    )
    for row in sorted(rows, key=lambda one: (one.connections, WAYS.index(one.way))):
        table.add_row(
            row.way,
            str(row.connections),
            f"{row.per_second:.0f}",
            f"{row.ratio:.2f}",
            f"{row.p50_ms:.2f}",
            f"{row.more_p50_ms:+.2f}",
            f"{row.p99_ms:.1f}",
            f"{row.cpu_us:.0f}",
        )
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="left" if column in {"way", "server"} else "right")
    return table
