"""Golden files: a workload's state in `golden/NAME.in.yaml`, its resources in `golden/NAME.out.yaml`.

`BYWAY_REWRITE_GOLDENS=1 pytest tests/compile/test_compile_goldens.py` writes the second kind anew; read the diff.
"""

from __future__ import annotations

import os

import pytest
import yaml

from tests.compile.canonical import canonical
from tests.compile.goldens import GOLDEN, NAMES, golden_state
from xds.compile.workload import compile_workload

REWRITE = os.environ.get("BYWAY_REWRITE_GOLDENS") == "1"


@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str) -> None:
    show = yaml.safe_load((GOLDEN / f"{name}.in.yaml").read_text())["show"]
    found = canonical(compile_workload(golden_state(name)), show=show)
    expected = GOLDEN / f"{name}.out.yaml"
    if REWRITE:
        expected.write_text(found)
    assert found == expected.read_text(), "BYWAY_REWRITE_GOLDENS=1 writes it anew"


def test_every_output_has_an_input() -> None:
    assert {path.name.removesuffix(".out.yaml") for path in GOLDEN.glob("*.out.yaml")} == set(NAMES)
