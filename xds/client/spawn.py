"""Starts the daemon as a process of its own, and waits until it is of use."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from xds.client.egress.environment import without_ours
from xds.client.files import LaptopFiles
from xds.paths import StateDir, private_dir

LOG_LIMIT = 1_000_000
"""Bytes above which the log is put aside at the next start."""


@dataclass(frozen=True, slots=True)
class DaemonOptions:
    """What the daemon is told. None of it is secret: the token stays in its file."""

    manager: str
    token_file: Path
    host: str
    address: str
    reach: str = "auto"
    tunnel: str = "auto"


def command(state: StateDir, options: DaemonOptions) -> list[str]:
    """The daemon's command line."""
    line = [sys.executable, "-m", "xds.client.daemon", "--state-dir", str(state.root), "--manager", options.manager]
    line += ["--token-file", str(options.token_file), "--host", options.host]
    line += ["--reach", options.reach, "--tunnel", options.tunnel]
    return [*line, "--address", options.address] if options.address else line


def start(state: StateDir, options: DaemonOptions) -> subprocess.Popen[bytes]:
    """Start the daemon, detached from this terminal. Raises OSError."""
    files = LaptopFiles.of(state)
    private_dir(files.folder)
    if files.log.exists() and files.log.stat().st_size > LOG_LIMIT:
        files.log.replace(files.log.with_suffix(".log.1"))
    handle = os.open(files.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.fchmod(handle, 0o600)
        # The working directory of the shell may be unmounted or removed while the daemon runs.
        return subprocess.Popen(
            command(state, options),
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            start_new_session=True,
            cwd="/",
            env=without_ours(os.environ),
        )
    finally:
        os.close(handle)


def last_words(state: StateDir, offset: int) -> str:
    """The last line that the daemon wrote to its log after an offset; empty where there is none."""
    try:
        with LaptopFiles.of(state).log.open("rb") as log:
            log.seek(offset)
            lines = log.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""
