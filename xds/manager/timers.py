"""What happens because time passes: sessions expire, their users are warned, lost laptops lose their grace."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from xds.manager.core import Manager
from xds.manager.notify import Message
from xds.manager.store import SqliteStore, StoreError
from xds.registry import errors, sessions
from xds.registry.conflict import duration

log = logging.getLogger(__name__)

TICK = 1.0
SAVE_EVERY = 60.0
GRACE = 10.0
"""Seconds after a start for which the last known presence of a laptop holds, so that it can come back unnoticed."""


class Timers:
    """Looks once a second."""

    def __init__(self, manager: Manager, store: SqliteStore) -> None:
        self._manager = manager
        self._store = store
        self._started = manager.clock.now()
        self._saved = self._started
        self._warned: dict[str, float] = {}
        self._graced = False

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(TICK)
            try:
                self.tick()
            except StoreError as error:
                log.error("%s", error)
            except Exception:
                log.exception("a timer failed; it will be tried again")

    def tick(self) -> None:
        """Do what is due."""
        manager = self._manager
        now = manager.clock.now()
        self._warn(now)
        manager.commit(sessions.expire(manager.state, manager.settings, now))
        if not self._graced and now - self._started >= GRACE:
            self._graced = True
            self._end_grace(now)
        if now - self._saved >= SAVE_EVERY:
            self._saved = now
            self.save_activity()

    def save_activity(self) -> None:
        """Write idle ages to the store; a failure is logged and tried again later."""
        try:
            self._store.save_activity(self._manager.state.sessions.values(), now=self._manager.clock.now())
        except StoreError as error:
            log.error("%s", error)

    def _warn(self, now: float) -> None:
        ttl = self._manager.settings.connection_ttl
        early = min(sessions.WARN_BEFORE, ttl / 2)
        for session in self._manager.state.sessions.values():
            left = session.last_activity + ttl - now
            if 0 < left <= early and self._warned.get(session.id) != session.last_activity:
                self._warned[session.id] = session.last_activity
                text = f"your session ends in {duration(left)} unless you do something; `byway extend` keeps it"
                self._manager.tell(session.id, Message(text, warning=True))
        self._warned = {key: at for key, at in self._warned.items() if key in self._manager.state.sessions}

    def _end_grace(self, now: float) -> None:
        """Laptops that were there before the start and have not come back since are away."""
        manager = self._manager
        for session in list(manager.state.sessions.values()):
            if session.present and session.id not in manager.attended:
                with suppress(errors.RegistryError):
                    manager.commit(
                        sessions.presence(
                            manager.state, session.id, epoch=session.epoch, present=False, targets=None, now=now
                        )
                    )
