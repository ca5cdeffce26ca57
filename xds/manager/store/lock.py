"""One manager per store: a lock that the kernel frees when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from xds.manager.store.errors import StoreError


class StoreLock:
    """Holds `NAME.lock` beside the store, with the holder's process id in it for whoever is refused."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    @classmethod
    def take(cls, store: Path) -> StoreLock:
        """Take the lock. Raises StoreError when another manager has it, OSError when it can't be made."""
        # Not O_TRUNC: the number in it belongs to the holder until the lock is ours.
        handle = os.open(store.with_name(store.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(handle, 20, 0).decode("ascii", "replace").strip()
            os.close(handle)
            holder = f"another manager (process {pid})" if pid.isdigit() else "another manager"
            raise StoreError(
                f"the store {store} is in use by {holder}; stop that one first, or give this one a state directory of "
                "its own (--state-dir)"
            ) from None
        except OSError:
            os.close(handle)
            raise
        # Fixed width, written over what is there, so that a full disk is no reason to fail.
        try:
            os.pwrite(handle, f"{os.getpid():<19}\n".encode(), 0)
        except OSError:
            os.ftruncate(handle, 0)
        return cls(handle)

    def release(self) -> None:
        """Give the lock up. The file stays: removing it would let two managers lock two files of one name."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
