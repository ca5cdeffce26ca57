"""Runs a command with the workload's environment, as a shell would run it in the foreground.

The command shares our terminal and process group: Ctrl-C reaches it directly, so that signal is passed on only where
somebody else sent it, that is when we aren't in the foreground of a terminal. The others are always passed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Self

from xds.terminal.failure import FailureError, usage

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
FROM_TERMINAL = {signal.SIGINT, signal.SIGQUIT}
OWN = ("HOME", "HOSTNAME", "LOGNAME", "PATH", "PWD", "SHELL", "SHLVL", "TERM", "TMPDIR", "USER", "_")
"""Variables that say where a process runs, not what it does: with the container's PATH nothing would be found here."""
STARTUP = 0.3
"""Seconds in which a signal may have come before the command; one that comes twice then does no harm."""


def check_command(command: Sequence[str]) -> None:
    """Find out before anything is created that a command can't be run. Raises FailureError."""
    if command and shutil.which(command[0]) is None:
        raise usage(f"there is no command {command[0]!r} to run", hint="check the words after --")


def in_foreground() -> bool:
    """Whether the terminal sends its signals to our process group."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False


def ignore(number: signal.Signals) -> None:
    """React to a signal by doing nothing."""


class Signals:
    """A context in which signals that would end us are reacted to, in a way that may change meanwhile.

    After it they are ignored: what was to be done is done and said, and Python's own end must not turn it into another
    exit code.
    """

    def __init__(self) -> None:
        self.react: Callable[[signal.Signals], None] = ignore
        self.first: signal.Signals | None = None

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()

        def pass_on(number: int, _: FrameType | None) -> None:
            loop.call_soon_threadsafe(self._received, signal.Signals(number))

        # Not loop.add_signal_handler: between its removal and the next handler a signal would end us.
        for number in HANDLED:
            signal.signal(number, pass_on)
        return self

    def _received(self, number: signal.Signals) -> None:
        self.first = self.first or number
        self.react(number)

    def __exit__(self, *error: object) -> None:
        for number in HANDLED:
            signal.signal(number, signal.SIG_IGN)


def merged(environment: Mapping[str, str]) -> dict[str, str]:
    """The laptop's environment with the workload's over it, but for what belongs to the laptop."""
    return {**os.environ, **{name: value for name, value in environment.items() if name not in OWN}}


async def run_command(command: Sequence[str], environment: Mapping[str, str], signals: Signals) -> int:
    """Run it to its end; returns its exit code, 128 + N where signal N ended it. Raises FailureError."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    early: list[signal.Signals] = []
    signals.react = early.append
    try:
        process = await asyncio.create_subprocess_exec(*command, env=merged(environment))
    except (OSError, ValueError) as error:
        raise FailureError(f"cannot run {command[0]}: {error}") from error

    def forward(number: signal.Signals) -> None:
        # The terminal may have sent it before there was a command to send it to.
        from_terminal = number in FROM_TERMINAL and in_foreground() and loop.time() - began > STARTUP
        if not from_terminal and process.returncode is None:
            # Not process.send_signal, which may reap the command and lose its exit code (python/cpython#87744).
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)

    signals.react = forward
    for number in early:
        forward(number)
    code = await process.wait()
    return code if code >= 0 else 128 - code
