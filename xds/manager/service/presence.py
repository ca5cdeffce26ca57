"""A laptop's presence: the stream that its daemon holds open, and the silence that means it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any

from xds.api.byway.manager import v1
from xds.manager.core import Manager
from xds.manager.identity.tunnels import Offered, Tunnels
from xds.manager.notify import Message
from xds.manager.service.render import TARGET_HEALTH, Renderer
from xds.registry import errors, sessions
from xds.registry.intercept import Target
from xds.registry.session import Session, TargetReport, Tunnel
from xds.registry.user_key import key_value

SILENCE = 1.5
"""Seconds without a word after which a laptop counts as away: it speaks every half second, and traffic has to have left
it within two seconds."""
OVERSLEPT = 0.25
"""Seconds by which a silence that ends late was the manager's own: it was stopped, or had too much to do."""


class Attendance:
    """One attended session, from the first word of its stream to the end."""

    def __init__(self, manager: Manager, renderer: Renderer, tunnels: Tunnels, session: Session) -> None:
        self._manager = manager
        self._renderer = renderer
        self._tunnels = tunnels
        self._offered: Offered | None = None
        self._key = session.id
        self._user = session.user
        self._epoch = 0

    async def run(self, words: AsyncIterator[v1.Presence]) -> AsyncGenerator[v1.Notice]:
        """Notices for the laptop, until it hangs up. Raises RegistryError when the session is no longer its own."""
        listening = asyncio.ensure_future(self._listen(words))
        try:
            async with aclosing(self._notices(listening)) as notices:
                async for notice in notices:
                    yield notice
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError, errors.RegistryError):
                await listening
            self._away()
            if self._manager.attended.get(self._key) == self._epoch:
                del self._manager.attended[self._key]

    async def _listen(self, words: AsyncIterator[v1.Presence]) -> None:
        iterator = aiter(words)
        clock = asyncio.get_running_loop().time
        pending = asyncio.ensure_future(anext(iterator, None))
        try:
            while True:
                began = clock()
                done, _ = await asyncio.wait({pending}, timeout=SILENCE)
                if not done:
                    # Who slept itself can't tell who was silent; what was said meanwhile is still to be read.
                    # Nor is silence the end: a laptop that wakes up goes on where it was.
                    if clock() - began < SILENCE + OVERSLEPT:
                        self._away()
                    continue
                word = pending.result()
                if word is None:
                    return
                self._here(word)
                pending = asyncio.ensure_future(anext(iterator, None))
        finally:
            pending.cancel()

    def _here(self, word: v1.Presence) -> None:
        manager = self._manager
        now = manager.clock.now()
        first, self._epoch = self._epoch != word.epoch, word.epoch
        targets = {
            Target(report.target.host, report.target.port): TargetReport(TARGET_HEALTH[report.state], report.detail)
            for report in word.targets
            if report.target is not None
        }
        manager.commit(
            sessions.presence(
                manager.state,
                self._key,
                epoch=word.epoch,
                present=True,
                targets=targets,
                now=now,
                tunnel=self._steady(_said(word.tunnel), now) if word.tunnel else None,
            )
        )
        manager.attended[self._key] = word.epoch
        if first:
            # Now it may be told of its tunnel.
            manager.mailboxes[self._key].pulse.fire()
        manager.commit(sessions.activity(manager.state, self._key, now - max(0.0, word.idle_seconds)))

    def _steady(self, tunnel: Tunnel, now: float) -> Tunnel:
        """A tunnel as it may be used: one that comes and goes has to hold for a while first."""
        flapping = self._manager.flapping[self._key]
        holds = flapping.look(up=bool(tunnel.up), now=now)
        if not holds:
            return tunnel
        # No countdown: each number would be another state of the session.
        detail = f"it was lost {flapping.losses} times of late, and is used again when it has held for a few seconds"
        return replace(tunnel, up=frozenset(), detail=detail)

    def _away(self) -> None:
        manager = self._manager
        if manager.closing:
            return
        if self._key in manager.flapping:
            manager.flapping[self._key].look(up=False, now=manager.clock.now())
        with suppress(errors.RegistryError):
            manager.commit(
                sessions.presence(
                    manager.state, self._key, epoch=self._epoch, present=False, targets=None, now=manager.clock.now()
                )
            )

    async def _notices(self, listening: asyncio.Future[None]) -> AsyncGenerator[v1.Notice]:
        mailbox = self._manager.mailboxes[self._key]
        while True:
            seen = mailbox.pulse.count
            session = self._manager.state.sessions.get(self._key)
            messages = mailbox.take()
            yield v1.Notice(
                session=self._renderer.session(session) if session else None,
                # The last of them is said by the error, too.
                notifications=[_notification(message) for message in messages if not message.last],
                key_name=self._manager.settings.default_header,
                key_value=key_value(self._user),
                tunnel=self._tunnel(session) if session else None,
            )
            if session is None:
                raise errors.NotFoundError(f"the session has ended{_reason(messages)}")
            change = asyncio.ensure_future(mailbox.pulse.wait(seen))
            awaited: set[asyncio.Future[Any]] = {change, listening}
            try:
                await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            finally:
                change.cancel()
            # Where the session has ended, a word that came too late must not be answered before the reason is told.
            if listening.done() and self._key in self._manager.state.sessions:
                listening.result()
                return

    def _tunnel(self, session: Session) -> v1.Tunnel | None:
        """What is new of the laptop's tunnel. An older daemon of the session, which may not know yet that it is done
        for, must not be given the newer one's token: so none is before it has said its epoch."""
        if session.epoch != self._epoch:
            return None
        tunnel, self._offered = self._tunnels.offer(session, self._offered)
        return tunnel


def _said(said: v1.TunnelState) -> Tunnel:
    return Tunnel(kind=said.kind, up=frozenset(said.up), detail=said.detail)


def _notification(message: Message) -> v1.Notification:
    level = v1.NotificationLevel.WARNING if message.warning else v1.NotificationLevel.INFO
    return v1.Notification(level=level, text=message.text)


def _reason(messages: list[Message]) -> str:
    return "".join(f"; {message.text}" for message in messages if message.last)
