"""What happens because time passes: sessions expire, their users are warned, lost laptops lose their grace."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from xds.manager.compare import compare_displaced, look_at_all
from xds.manager.core import Manager
from xds.manager.notify import Message
from xds.manager.store import SqliteStore, StoreError
from xds.registry import errors, intercepts, sessions
from xds.registry.conflict import duration

log = logging.getLogger(__name__)

TICK = 1.0
SAVE_EVERY = 60.0
RESTORE_EVERY = 60.0
COMPLAIN_EVERY = 60.0
GAP = 5.0
"""Seconds between two looks that mean that the manager itself was stopped, or its machine asleep."""
GRACE = 10.0
"""Seconds after a start for which the last known presence of a laptop holds, so that it can come back unnoticed."""


class Timers:
    """Looks once a second."""

    def __init__(self, manager: Manager, store: SqliteStore, *also: Callable[[], None]) -> None:
        """`also` is done once a second, too."""
        self._manager = manager
        self._store = store
        self._also = also
        self._started = manager.clock.now()
        self._saved = self._started
        self._ticked = self._started
        self._patient_until = self._started + GRACE
        self._restored: float | None = None
        self._warned: dict[str, float] = {}
        self._graced = False
        self._complained: dict[str, float] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(TICK)
            self.tick()
            await self.restore()

    def tick(self) -> None:
        """Do what is due. What fails is logged, keeps nothing else from being done, and is tried again."""
        now = self._manager.clock.now()
        if now - self._ticked > GAP:
            self._patient_until = now + GRACE
        self._ticked = now
        for step in (self._warn, self._expire, self._end_grace, self._save):
            with self._logged():
                step(now)
        for work in (self._manager.catch_up, self._manager.delivery.sweep, *self._also):
            with self._logged():
                work()

    async def restore(self) -> None:
        """Now and then, bring back what nothing keeps away, where the change that freed it left that undecided."""
        now = self._manager.clock.now()
        first = self._restored is None
        if self._restored is not None and now - self._restored < RESTORE_EVERY:
            return
        self._restored = now
        with self._logged():
            async with self._manager.comparing:
                if first:
                    await look_at_all(self._manager.state)
                await compare_displaced(self._manager.state)
            self._manager.commit(intercepts.restore(self._manager.state))

    def _expire(self, now: float) -> None:
        """End what is due, but not before laptops could report what their users did while the manager was away."""
        if now < self._patient_until:
            return
        self._manager.commit(sessions.expire(self._manager.state, self._manager.settings, now))

    def _save(self, now: float) -> None:
        if now - self._saved >= SAVE_EVERY:
            self._saved = now
            self.save_activity()

    def save_activity(self) -> None:
        """Write idle ages to the store; a failure is logged and tried again later."""
        try:
            self._store.save_activity(self._manager.state.sessions.values(), now=self._manager.clock.now())
        except StoreError as error:
            log.error("%s", error, extra=error.about)

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
        if self._graced or now - self._started < GRACE:
            return
        self._graced = True
        manager = self._manager
        for session in list(manager.state.sessions.values()):
            if session.present and session.id not in manager.attended:
                with suppress(errors.RegistryError):
                    manager.commit(
                        sessions.presence(
                            manager.state, session.id, epoch=session.epoch, present=False, targets=None, now=now
                        )
                    )

    @contextmanager
    def _logged(self) -> Iterator[None]:
        """What fails is logged; what is tried each second, and fails for the same reason, once a minute."""
        try:
            yield
        except StoreError as error:
            now = self._manager.clock.now()
            self._complained = {text: at for text, at in self._complained.items() if now - at < COMPLAIN_EVERY}
            if str(error) not in self._complained:
                self._complained[str(error)] = now
                log.error("%s; it will be tried again", error, extra=error.about)
        except Exception:
            log.exception("a timer failed; it will be tried again")
