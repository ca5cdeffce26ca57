"""Runs a command that ends with the process that started it, whatever ends that one.

    python guard.py PARENT COMMAND...

Linux tells the kernel (PR_SET_PDEATHSIG, which survives exec) and becomes the command. Elsewhere this process stays and
waits for the end of its standard input, which the parent holds open; there, killing this process leaves the command, so
whoever wants the command's end closes that pipe.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading

PR_SET_PDEATHSIG = 1
"""linux/prctl.h"""


def become(parent: int, command: list[str]) -> None:
    """Replace this process by the command. Does not return. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    # It may have ended before that.
    if os.getppid() != parent:
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606  no shell is what is wanted


def watch_over(command: list[str]) -> int:
    """Run the command until it ends or standard input does; returns its exit code."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())

    def until_input_ends() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        child.kill()

    threading.Thread(target=until_input_ends, daemon=True).start()
    return child.wait()


def main() -> int:
    """Be the guard."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux" and os.environ.get("BYWAY_GUARD") != "stay":
        become(parent, command)
    return watch_over(command)


if __name__ == "__main__":
    sys.exit(main())
