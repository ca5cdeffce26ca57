"""Cost against scale, drawn: one picture for each row of the xDS server that grows with something."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.xds_rows import Found, Row
from bench.xds_subjects import BYWAY, FLOOR, LINEAR, SERVE, SNAPSHOT

LABELS = {
    BYWAY: "Byway: registry, compile, serve",
    SERVE: "Byway: serve alone",
    FLOOR: "floor: grpc.aio, prepared bytes",
    SNAPSHOT: "go-control-plane SnapshotCache",
    LINEAR: "go-control-plane LinearCache",
}
COLOURS = {BYWAY: "#0b5394", SERVE: "#3d9be0", FLOOR: "#888888", SNAPSHOT: "#cc4125", LINEAR: "#e69138"}
MARKERS = {BYWAY: "o", SERVE: "s", FLOOR: "x", SNAPSHOT: "^", LINEAR: "v"}


def draw(found: Found, folder: Path) -> list[Path]:
    """Write the pictures, and say where they are."""
    pictures = (
        (
            "fan-out",
            found.fan_out,
            f"One intercept added, {found.streams} streams",
            "intercepts there already",
            "per stream",
        ),
        ("workloads", found.workloads, "One intercept added to one of many workloads", "workloads", "for the change"),
        ("crowd", found.crowd, "One intercept added, one stream", "intercepts there already", "for the change"),
    )
    return [_draw(folder / f"bench-{name}.png", *rest) for name, *rest in pictures]  # type: ignore[arg-type]


def _draw(path: Path, rows: Sequence[Row], title: str, scale: str, of: str) -> Path:
    # Half a second and a lot of memory, which nothing else needs.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    for axes, what, unit in (
        (left, "cpu_us", f"server's CPU {of}, µs"),
        (right, "ms", "until the last stream has it, ms"),
    ):
        for kind, label in LABELS.items():
            points = sorted((row.scale, getattr(row, what)) for row in rows if row.kind == kind)
            if points:
                axes.plot(*zip(*points, strict=True), color=COLOURS[kind], marker=MARKERS[kind], label=label)
        axes.set(xscale="log", yscale="log", xlabel=scale, ylabel=unit)
        axes.grid(visible=True, which="major", alpha=0.3)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=120)
    return path
