"""The fuzzers of `xds.serve` for as long as asked, on all processors.

    python -m tests.serve.soak wire MESSAGES [SEED]
    python -m tests.serve.soak protocol MINUTES [SEED]

Each batch has a seed of its own; what fails is printed with it, and giving the seed repeats it.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import TypeVar

from tests.serve.rude import STEPS, converse
from tests.serve.wire_oracle import Tally, fuzz

BATCH = 20_000
CONVERSATIONS = 200
T = TypeVar("T")


def _messages(seed: str, many: int) -> Tally:
    tally = Tally()
    fuzz(seed, many, tally)
    return tally


def _conversations(seed: str) -> Counter[str]:
    seen: Counter[str] = Counter()
    for number in range(CONVERSATIONS):
        converse(f"{seed} {number}", seen)
    return seen


def _spread(pool: ProcessPoolExecutor, batches: Iterator[Callable[[], Future[T]]]) -> Iterator[T]:
    """The results of batches, of which only a few are begun at a time."""
    running: set[Future[T]] = set()
    while True:
        for begin in itertools.islice(batches, (os.cpu_count() or 1) * 2 - len(running)):
            running.add(begin())
        if not running:
            return
        done, running = wait(running, return_when=FIRST_COMPLETED)
        yield from (each.result() for each in done)


def wire(messages: int, seed: int) -> bool:
    """Compare as many messages. Whether all were the same."""
    began, total = time.monotonic(), Tally()
    with ProcessPoolExecutor() as pool:
        sizes = [min(BATCH, messages - at) for at in range(0, messages, BATCH)]
        batches = (
            lambda number=number, size=size: pool.submit(_messages, f"{seed} {number}", size)
            for number, size in enumerate(sizes)
        )
        for found in _spread(pool, batches):
            total.messages += found.messages
            total.seen += found.seen
            total.apart += found.apart
            for each in found.apart:
                print(each, flush=True)
    took = time.monotonic() - began
    seen = ", ".join(f"{count} {kind}" for kind, count in total.seen.most_common())
    print(f"{total.messages} messages in {took:.0f} s ({total.messages / took:.0f} a second): {seen}")
    print(f"{len(total.apart)} apart")
    return not total.apart


def protocol(minutes: float, seed: int) -> bool:
    """Converse for this long. Raises what a conversation finds."""
    began = time.monotonic()
    total: Counter[str] = Counter()
    with ProcessPoolExecutor() as pool:
        seeds = itertools.takewhile(lambda _: time.monotonic() - began < minutes * 60, itertools.count(seed))
        batches = (lambda number=number: pool.submit(_conversations, str(number)) for number in seeds)
        for found in _spread(pool, batches):
            total += found
    took, steps = time.monotonic() - began, total["conversations"] * STEPS
    seen = ", ".join(f"{count} {kind}" for kind, count in total.most_common())
    print(f"{steps} steps in {took:.0f} s ({steps / took:.0f} a second): {seen}")
    return True


def main(arguments: list[str]) -> int:
    """The command line."""
    what, amount, *rest = arguments
    seed = int(rest[0]) if rest else int(time.time())
    print(f"seed {seed} …", flush=True)
    good = wire(int(amount), seed) if what == "wire" else protocol(float(amount), seed)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
