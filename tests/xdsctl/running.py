"""xdsctl and the servers that it talks to, for tests."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from xdsctl.main import run

ROOT = Path(__file__).parents[2]
XDSCTL = str(Path(sys.executable).with_name("xdsctl"))


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


def xdsctl(*arguments: str) -> Result:
    """Run a command in this process, which is quicker than starting one."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run(arguments)
    return Result(code, out.getvalue(), err.getvalue())


class Other:
    """A running server of `other_server`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        self.address = f"127.0.0.1:{process.stdout.readline().strip()}"

    def tell(self, *words: str) -> int:
        """Have it do something; answers with the number of clients that it has."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextmanager
def other_server(*flags: str) -> Iterator[Other]:
    command = [sys.executable, "-m", "tests.xdsctl.other_server", *flags]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield Other(process)
        finally:
            process.kill()
