"""One process per state: a lock that the kernel frees when its holder dies, however it dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


class TakenError(Exception):
    """Another process has the lock. `pid` is its id, where it is known, else empty."""

    def __init__(self, pid: str) -> None:
        self.pid = pid
        super().__init__(f"process {pid}" if pid else "another process")


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold the lock of this file, which has the holder's process id in it, and stays: removing it would let two
    processes lock two files of one name.

    Raises TakenError, OSError.
    """
    # Not O_TRUNC: the number in it belongs to the holder until the lock is ours.
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
            raise TakenError(pid if pid.isdigit() else "") from None
        # Of one width, written over what is there, so that a full disk is no reason to fail.
        try:
            os.pwrite(handle, f"{os.getpid():<19}\n".encode(), 0)
        except OSError:
            os.ftruncate(handle, 0)
        yield
        os.ftruncate(handle, 0)
    finally:
        os.close(handle)
