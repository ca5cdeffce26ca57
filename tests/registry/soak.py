"""The registry's machine for as long as asked: `python -m tests.registry.soak MINUTES [SEED]`.

Rounds of some ten thousand steps, each with a seed of its own that is printed; a round that fails is repeated by giving
its seed, and hypothesis shows the shortest sequence of steps that fails.
"""

from __future__ import annotations

import sys
import time

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

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


def main(minutes: float, first: int) -> None:
    """Rounds until the time is over. Raises what a round finds."""
    began = time.monotonic()
    number = first
    while True:
        print(f"seed {number} …", end=" ", flush=True)
        run_state_machine_as_test(seed(number)(Registry), settings=ROUND)
        took = time.monotonic() - began
        print(f"{Registry.steps} steps in {took:.0f} s, {Registry.steps / took:.0f} a second", flush=True)
        if took >= minutes * 60:
            break
        number += 1
    print(", ".join(f"{count} {kind}" for kind, count in Registry.happened.most_common()))


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time()))
