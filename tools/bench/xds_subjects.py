"""What is measured side by side, and the streams that are opened to each.

byway      the whole way: registry, compile and serve
serve      the xDS library alone
floor      grpc.aio, and bytes that were made before: what a Python server can't be below
snapshot   go-control-plane's SnapshotCache
linear     go-control-plane's LinearCache
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import xds_seed
from bench.processes import Child, cpu_exact

BYWAY, SERVE, FLOOR, SNAPSHOT, LINEAR = "byway", "serve", "floor", "snapshot", "linear"
KINDS = (BYWAY, SERVE, FLOOR, SNAPSHOT, LINEAR)
OURS = (BYWAY, SERVE, FLOOR)
PEER = Path(__file__).parent / "peer"
STILL = 0.06
"""Seconds without work, after which a server is done with something."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The program beside which ours is measured, or why there is none."""

    program: Path | None
    missing: str = ""
    versions: tuple[tuple[str, str], ...] = ()


def build(folder: Path, *, seconds: float) -> Peer:
    """Compile the peer, or say why that can't be done."""
    go = shutil.which("go")
    if go is None:
        return Peer(None, "there is no Go on the PATH")
    program = folder / "peer"
    try:
        done = subprocess.run(
            [go, "build", "-mod=readonly", "-o", str(program), "."],
            cwd=PEER,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Peer(None, f"it was not compiled within {seconds:g} s; `cd {PEER.name} && go build` in tools/bench once")
    if done.returncode:
        return Peer(None, f"it can't be compiled: {done.stderr.strip().splitlines()[-1]}")
    words = [line.split() for line in (PEER / "go.mod").read_text().splitlines()]
    pinned = [(each[0], each[1]) for each in words if len(each) == 2 and each[1].startswith("v")]
    return Peer(program, versions=tuple(pinned))


class Subject:
    """A server, and a client with streams to it, each in its own process."""

    def __init__(self, kind: str, server: Child, client: Child, groups: int) -> None:
        self.kind = kind
        self.server = server
        self.streams = 0
        self._client = client
        self._groups = groups

    def open(self, streams: int) -> None:
        """Open more streams, and wait until all that follows from it is done."""
        self._client.ask(do="open", address=self.server.hello["address"], streams=streams, groups=self._groups)
        self.streams += streams
        count = -1
        while count != (count := int(self._client.ask(do="count")["count"])):
            time.sleep(0.2)
        self._rest()

    def change(self, group: int, responses: int) -> Cost:
        """Make a change in a group, which is to lead to so many responses in all."""
        self._client.ask(do="expect", each=responses)
        before = cpu_exact(self.server.pid)
        said = self.server.ask(group=group)
        last = float(self._client.ask(do="wait", seconds=120)["at"])
        used = self._rest() - before
        more = {name: float(value) for name, value in said.items() if name in {"registry", "commit"}}
        return Cost(used, last - float(said["at"]), **more)

    def _rest(self) -> float:
        """Wait until nothing is left to do; the CPU that the server has used by then."""
        used = cpu_exact(self.server.pid)
        while True:
            time.sleep(STILL)
            now = cpu_exact(self.server.pid)
            if now - used < STILL / 60:
                return now
            used = now


@dataclass(frozen=True, slots=True)
class Cost:
    """What a change took: seconds of the server's CPU, and from its beginning to the last stream's last response. Of
    Byway, also CPU in the registry, and in all that followed before a stream was written to.
    """

    cpu: float
    seconds: float
    registry: float = 0.0
    commit: float = 0.0


@contextmanager
def running(
    root: Path, peer: Peer, *, kinds: Sequence[str], groups: int, instances: int, existing: int
) -> Iterator[list[Subject]]:
    """Servers of these kinds, each with the same resources, and their clients."""
    seed = root / f"seed-{groups}-{existing}.json"
    if not seed.exists():
        xds_seed.seed(groups=groups, existing=existing).write(seed)
    python = [sys.executable, "-m"]
    byway = [f"--groups={groups}", f"--instances={instances}", f"--existing={existing}"]
    client = [str(peer.program), "client"] if peer.program else [*python, "bench.xds_client"]
    with ExitStack() as stack:

        def start(command: list[str]) -> Child:
            child = Child(command)
            stack.callback(child.stop)
            return child

        found = []
        for kind in kinds:
            if kind in OURS:
                given = byway if kind == BYWAY else [f"--seed={seed}"]
                server = start([*python, "bench.xds_server", kind, *given])
            elif peer.program is None:
                continue
            else:
                server = start([str(peer.program), "serve", kind, str(seed)])
            found.append(Subject(kind, server, start(client), groups))
        yield found


def in_turns(subjects: Sequence[Subject], rounds: int, once: Callable[[Subject], Cost]) -> dict[str, list[Cost]]:
    """One change each, round after round, the first of which is not counted."""
    found: dict[str, list[Cost]] = {each.kind: [] for each in subjects}
    for number in range(rounds + 1):
        for each in subjects:
            cost = once(each)
            if number:
                found[each.kind].append(cost)
    return found
