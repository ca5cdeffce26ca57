"""Child processes that never outlive their parent."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PR_SET_PDEATHSIG = 1
STEP = 0.01


class NotReadyError(Exception):
    """Something didn't come about in time; says what."""


def wait_for(condition: Callable[[], object], what: str, *, seconds: float = 20.0) -> None:
    """Return as soon as the condition holds. Raises NotReadyError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise NotReadyError(f"{what}: not within {seconds:g} s")
        time.sleep(STEP)


def _die_with_parent() -> None:
    """Linux ends the child when its parent dies, even by kill -9; elsewhere `Processes.stop` has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass(slots=True)
class Processes:
    """Children by name, each with its output in a file of that name."""

    logs: Path
    children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, command: list[str], *, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a child; its output goes to NAME.log. Out of reach of the terminal's Ctrl-C: the parent ends it."""
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  it takes no lock that a thread could hold
            )
        self.children[name] = child
        return child

    def log(self, name: str) -> str:
        """What a child has said so far."""
        return (self.logs / f"{name}.log").read_text(errors="replace")

    def check(self, name: str) -> None:
        """Raises NotReadyError when a child has ended, with its last words."""
        code = self.children[name].poll()
        if code is not None:
            raise NotReadyError(f"{name} ended with {code}: {self.log(name)[-2000:]}")

    def signal(self, name: str, number: int) -> None:
        """Send a child a signal."""
        self.children[name].send_signal(number)

    def stop(self, name: str, *, seconds: float = 5.0) -> None:
        """End one child, with force if it doesn't go by itself."""
        child = self.children.pop(name)
        if child.poll() is None:
            child.send_signal(signal.SIGCONT)
            child.terminate()
            try:
                child.wait(seconds)
            except subprocess.TimeoutExpired:
                child.kill()
        child.wait()

    def kill(self, name: str) -> None:
        """End one child by kill -9."""
        child = self.children.pop(name)
        child.kill()
        child.wait()

    def stop_all(self) -> None:
        """End every child, the youngest first."""
        for child in self.children.values():
            if child.poll() is None:
                child.send_signal(signal.SIGCONT)
                child.terminate()
        for name in list(reversed(self.children)):
            self.stop(name)
