"""The processes that are measured: what /proc tells of them, and how they are spoken to."""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any


def family(pid: int) -> Iterator[int]:
    """A process, and all that it has started."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from family(int(child))


def cpu(pid: int) -> float:
    """Seconds that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_exact(pid: int) -> float:
    """The same, to the nanosecond where the kernel counts them; threads that have ended are left out."""
    tasks = list(Path(f"/proc/{pid}/task").iterdir())
    if not (tasks[0] / "schedstat").exists():
        return cpu(pid)
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def resident(pid: int) -> int:
    """Bytes of memory that a process has to itself."""
    fields = Path(f"/proc/{pid}/smaps_rollup").read_text().split()
    return int(fields[fields.index("Anonymous:") + 1]) * 1024


class Child:
    """A process that answers each line of JSON with a line of JSON, and ends when there are no more."""

    def __init__(self, command: list[str], *, patience: float = 180.0) -> None:
        self._command = " ".join(command)
        self._patience = patience
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  it lasts as long as the process
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        self.pid = self._process.pid

    @cached_property
    def hello(self) -> dict[str, Any]:
        """What it says first, when it is ready."""
        return self._read()

    def ask(self, **asked: object) -> dict[str, Any]:
        """Its answer. Raises RuntimeError with what it said before it ended, or that it is silent."""
        assert self.hello
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failure("it is gone") from None
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], self._patience)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            raise self._failure("it has ended" if ready else f"no answer within {self._patience:g} s")
        found: dict[str, Any] = json.loads(line)
        return found

    def _failure(self, what: str) -> RuntimeError:
        self._errors.seek(0)
        return RuntimeError(f"{self._command}: {what}\n{self._errors.read()[-2000:]}")

    def stop(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()
