"""One manager per store."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from xds.manager.store.errors import StoreError
from xds.only_one import TakenError, only_one


class StoreLock:
    """Holds `NAME.lock` beside the store."""

    def __init__(self, held: ExitStack) -> None:
        self._held = held

    @classmethod
    def take(cls, store: Path) -> StoreLock:
        """Take the lock. Raises StoreError when another manager has it, OSError when it can't be made."""
        held = ExitStack()
        try:
            held.enter_context(only_one(store.with_name(store.name + ".lock")))
        except TakenError as error:
            holder = f"another manager (process {error.pid})" if error.pid else "another manager"
            raise StoreError(
                f"the store {store} is in use by {holder}; stop that one first, or give this one a state directory of "
                "its own (--state-dir)"
            ) from None
        return cls(held)

    def release(self) -> None:
        """Give the lock up."""
        self._held.close()
