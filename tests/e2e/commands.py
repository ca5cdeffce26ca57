"""Many `byway` commands in one process, since most of a short command's time is Python's start.

    python -m tests.e2e.commands    reads a JSON list of argument lists, writes a JSON list of [code, stdout, stderr]

It calls what the command's entry point calls.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from demo.world import REPOSITORY, Laptop
from xds.client.cli.app import run


@dataclass(frozen=True, slots=True)
class Done:
    """How one command ended."""

    code: int
    stdout: str
    stderr: str


def run_all(laptop: Laptop, commands: Sequence[Sequence[str]], *, timeout: float = 100.0) -> list[Done]:
    """Run commands on a laptop, one after the other."""
    found = subprocess.run(
        [sys.executable, "-m", "tests.e2e.commands"],
        env={**laptop.env, "PYTHONPATH": str(REPOSITORY)},
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=True,
    )
    return [Done(*one) for one in json.loads(found.stdout)]


def main() -> None:
    results = []
    for arguments in json.load(sys.stdin):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(arguments)
        results.append([int(code), out.getvalue(), err.getvalue()])
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
