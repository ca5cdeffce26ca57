"""`explain` beside a real Envoy, for as many random pairs of a state and a request as asked.

    python -m tests.compile.soak PAIRS [SEED]

Each state has a seed of its own; a disagreement is printed with nothing in it that can be left out.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time

from tests.compile.explain_oracle import Tally, compare, twins

REQUESTS = 100
"""For each state."""


async def main(pairs: int, seed: int) -> None:
    """Compare. Exits with what was found apart."""
    began = time.monotonic()
    tally = Tally()
    print(f"seed {seed}, {pairs} pairs …", flush=True)
    async with twins() as asked:
        number = 0
        while tally.pairs < pairs:
            before = len(tally.apart)
            await compare(asked, random.Random(f"{seed} {number}"), REQUESTS, tally)
            for found in tally.apart[before:]:
                print(f"state {number}: {found}", flush=True)
            number += 1
    took = time.monotonic() - began
    seen = ", ".join(f"{count} {kind}" for kind, count in tally.seen.most_common())
    print(f"{tally.pairs} pairs in {took:.0f} s ({tally.pairs / took:.0f} a second): {seen}; {len(tally.apart)} apart")
    sys.exit(bool(tally.apart))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())))
