"""What the tests of the compiler share."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.compile.states import read_state
from xds.compile.state import WorkloadState

GOLDEN = Path(__file__).parent / "golden"
NAMES = sorted(path.name.removesuffix(".in.yaml") for path in GOLDEN.glob("*.in.yaml"))


def golden_state(name: str) -> WorkloadState:
    """The state of a golden file."""
    return read_state(yaml.safe_load((GOLDEN / f"{name}.in.yaml").read_text()))
