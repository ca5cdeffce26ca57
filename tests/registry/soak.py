"""The registry's machine, and comparisons beside brute force, for as long as asked.

    python -m tests.registry.soak MINUTES [SEED]

Rounds of some ten thousand steps, each with a seed of its own that is printed; a round that fails is repeated by giving
its seed, and hypothesis shows the shortest sequence of steps that fails.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.registry import test_overlap
from tests.registry.machine import Registry

ROUND = settings(
    max_examples=200,
    stateful_step_count=100,
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
PAIRS = 200


def main(minutes: float, first: int) -> None:
    """Rounds until the time is over. Raises what a round finds."""
    began = time.monotonic()
    number = first
    compared = 0
    while True:
        print(f"seed {number} …", end=" ", flush=True)
        run_state_machine_as_test(seed(number)(Registry), settings=ROUND)
        _compare(number)
        took = time.monotonic() - began
        compared += PAIRS
        print(
            f"{Registry.steps} steps and {compared} pairs in {took:.0f} s, {Registry.steps / took:.0f} steps a second"
        )
        if took >= minutes * 60:
            break
        number += 1
    print(", ".join(f"{count} {kind}" for kind, count in Registry.happened.most_common()))


def _compare(number: int) -> None:
    """Whether two matches overlap, and what trying every small request says."""
    test: Any = test_overlap.test_disjoint_matches_have_no_common_small_request_and_others_show_one
    matches = test_overlap.small_matches()
    many = settings(ROUND, max_examples=PAIRS)
    many(seed(number)(given(matches, matches)(test.hypothesis.inner_test)))()


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time()))
