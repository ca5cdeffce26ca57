"""The session: connected, attended, lost, resumed, until the manager refuses it or the daemon stops.

    Connect ──ok──▶ Attend ──lost──▶ Connect (resume_token, higher epoch) ──▶ …
       │               │
       └── refused ────┴──▶ final: "refused" or "ended", with what to do

An outage is one tenacity loop; its pauses begin anew with the next outage, that is after the manager's first Notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential, wait_random

from xds import __version__
from xds.api.byway.manager.v1 import (
    ConnectReply,
    ConnectRequest,
    Notice,
    Presence,
    QuitRequest,
    Session,
)
from xds.api.rpc import bearer
from xds.api.services import Manager
from xds.client.channel import manager_channel
from xds.client.daemon.clock import Activity
from xds.client.daemon.notifications import Notifications
from xds.client.daemon.probe import Prober
from xds.client.daemon.reach import Reach, targets_of
from xds.client.daemon.session_file import SavedSession
from xds.client.daemon.verdict import LinkState, Verdict, judge_attend, judge_connect

log = logging.getLogger(__name__)

HEARTBEAT = 0.4
"""Seconds between two Presences; the manager expects one every half second."""
CONNECT_TIMEOUT = 5.0
FIRST_NOTICE_TIMEOUT = 5.0
QUIT_TIMEOUT = 3.0


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """Whom to connect to, and as what.

    `address`: where sidecars reach this laptop directly; empty: where it calls from. `reach`: one of `reach.WAYS`;
    `tunnel`: one of `choice.KINDS`, whose files are in `tunnel_folder`.
    """

    manager: str
    token_file: Path
    host: str
    address: str
    session_file: Path
    tunnel_folder: Path
    reach: str = "auto"
    tunnel: str = "auto"


class LostError(Exception):
    """The manager can't be reached now."""


class FinalError(Exception):
    """The manager will not have this session, whatever is tried."""


class Link:
    """Holds the session with the manager."""

    def __init__(self, config: LinkConfig, *, activity: Activity, notifications: Notifications) -> None:
        self.config = config
        self.activity = activity
        self.notifications = notifications
        self.channel = manager_channel(config.manager)
        self.state = LinkState.RECONNECTING
        self.detail = f"connecting to {config.manager}"
        self.reply: ConnectReply | None = None
        self.session: Session | None = None
        self._session_at = 0.0
        self.over: Callable[[], None] = lambda: None
        """Told that the session is over for good."""
        self._quitting = False
        self._nudge = asyncio.Event()
        self.prober = Prober(changed=self._nudge.set, clock=time.monotonic)
        self.reach = Reach(config.reach, config.tunnel, config.tunnel_folder, changed=self._nudge.set)
        saved = SavedSession.load(config.session_file)
        fits = saved is not None and saved.resumable(manager=config.manager, token_file=config.token_file)
        self._saved = saved if fits else None

    @property
    def token(self) -> str:
        """The session's token; empty before there is a session."""
        return self.reply.session_token if self.reply is not None else ""

    @property
    def expires_in_seconds(self) -> float:
        """Until the session ends for want of activity, by the manager's last word."""
        if self.session is None:
            return 0.0
        return max(0.0, self.session.expires_in_seconds - (time.monotonic() - self._session_at))

    def touch(self) -> None:
        """The user did something; the manager hears of it at once where it may have thought otherwise."""
        stale = self.activity.idle_seconds > HEARTBEAT
        self.activity.touch()
        if stale:
            self._nudge.set()

    async def run(self) -> None:
        """Hold the session until it is refused or has ended."""
        helpers = [asyncio.create_task(self.prober.run()), asyncio.create_task(self.reach.run())]
        for helper in helpers:
            helper.add_done_callback(_report_crash)
        try:
            while True:
                async for attempt in AsyncRetrying(
                    retry=retry_if_exception_type(LostError),
                    wait=wait_exponential(multiplier=0.1, min=0.1, max=1.9) + wait_random(0, 0.1),
                ):
                    with attempt:
                        await self._once()
        except FinalError:
            return
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    async def quit(self) -> list[str]:
        """End the session. Returns the names of its intercepts; raises grpc.aio.AioRpcError."""
        # The manager ends Attend then, which is no news to who asked for it.
        self._quitting = True
        reply = await Manager.QUIT(self.channel, QuitRequest(), metadata=bearer(self.token), timeout=QUIT_TIMEOUT)
        self.forget()
        return list(reply.ended)

    def forget(self) -> None:
        """There is nothing to resume any more."""
        self.config.session_file.unlink(missing_ok=True)

    async def _once(self) -> None:
        """Connect and attend. Returns when an attended session was lost; raises LostError, FinalError."""
        reply = await self._connect()
        if self.reply is not None and reply.session_id != self.reply.session_id:
            self._tell_of_new_session()
        self.reply = reply
        self._save(reply)
        if reply.tunnel is not None:
            self.reach.take(reply.tunnel)
        else:
            self.reach.none()
        notices = cast("Any", Manager.ATTEND(self.channel, self._presences(), metadata=bearer(self.token)))
        attended = False
        try:
            async with asyncio.timeout(FIRST_NOTICE_TIMEOUT) as first:
                async for notice in notices:
                    first.reschedule(None)
                    attended = True
                    self._take(notice)
            verdict = judge_attend(grpc.StatusCode.UNAVAILABLE, "", manager=self.config.manager)
        except grpc.aio.AioRpcError as error:
            verdict = judge_attend(error.code(), error.details() or "", manager=self.config.manager)
        except TimeoutError:
            verdict = judge_attend(grpc.StatusCode.DEADLINE_EXCEEDED, "deadline", manager=self.config.manager)
        finally:
            notices.cancel()
        self._settle(verdict)
        if not attended:
            raise LostError

    async def _connect(self) -> ConnectReply:
        resume = self.token or (self._saved.token if self._saved is not None else "")
        try:
            return await self._call_connect(resume)
        except grpc.aio.AioRpcError as error:
            # The session that an earlier daemon left behind may be gone; the user asked for a session, not for it.
            gone = bool(resume) and error.code() in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAUTHENTICATED}
            if gone and self.reply is None:
                self._saved = None
                raise LostError from error
            verdict = judge_connect(
                error.code(), error.details() or "", manager=self.config.manager, token_file=self.config.token_file
            )
        except OSError as error:
            text = f"cannot read the token file {self.config.token_file}: {error.strerror}"
            verdict = Verdict(LinkState.REFUSED, f"{text}; run `byway connect --token-file FILE`")
        self._settle(verdict)
        raise LostError

    async def _user_token(self) -> str:
        # Read anew each time: tokens may be rotated.
        return (await asyncio.to_thread(self.config.token_file.read_text)).strip()

    async def _call_connect(self, resume: str) -> ConnectReply:
        token = await self._user_token()
        request = ConnectRequest(
            host=self.config.host,
            client_version=__version__,
            address=self.config.address,
            resume_token=resume,
            adopt=not resume,
            daemon=self.reach.daemon,
        )
        return await Manager.CONNECT(self.channel, request, metadata=bearer(token), timeout=CONNECT_TIMEOUT)

    def _tell_of_new_session(self) -> None:
        lost = [intercept.name for intercept in self.session.intercepts] if self.session is not None else []
        text = "the session ended while the manager could not be reached; a new one was opened"
        if lost:
            text += f", without {', '.join(lost)}: run `byway intercept` again"
        self.notifications.tell(text, warning=True)

    def _save(self, reply: ConnectReply) -> None:
        saved = SavedSession(
            manager=self.config.manager,
            token_file=str(self.config.token_file),
            session_id=reply.session_id,
            token=reply.session_token,
            epoch=reply.epoch,
        )
        try:
            saved.save(self.config.session_file)
        except OSError as error:
            log.warning("cannot save the session, so another daemon could not resume it: %s", error)

    async def _presences(self) -> AsyncIterator[Presence]:
        assert self.reply is not None
        epoch = self.reply.epoch
        while True:
            self._nudge.clear()
            yield Presence(
                epoch=epoch,
                targets=self.prober.states,
                idle_seconds=self.activity.idle_seconds,
                tunnel=self.reach.presence(),
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT):
                    await self._nudge.wait()

    def _take(self, notice: Notice) -> None:
        if self.state is not LinkState.CONNECTED:
            reply = self.reply
            assert reply is not None
            log.info("connected to %s, session %s epoch %d", self.config.manager, reply.session_id, reply.epoch)
            self.state, self.detail = LinkState.CONNECTED, ""
        self.reach.take(notice.tunnel)
        if notice.session is not None:
            self.reach.serve(targets_of(notice.session))
            self.prober.both_loopbacks = self.reach.tunnelled
            self.session = notice.session
            self._session_at = time.monotonic()
            ports = (port for intercept in notice.session.intercepts for port in intercept.ports)
            self.prober.watch([port.target for port in ports if port.target is not None])
        if notice.key_name and self.reply is not None:
            # The manager's setting may have changed since Connect.
            self.reply = replace(self.reply, key_name=notice.key_name, key_value=notice.key_value)
        self.notifications.add(notice.notifications)

    def _settle(self, verdict: Verdict) -> None:
        """Take a verdict; raises FinalError where it is final."""
        if (verdict.state, verdict.detail) != (self.state, self.detail) and not self._quitting:
            log.warning("%s: %s", verdict.state, verdict.detail)
        self.state, self.detail = verdict.state, verdict.detail
        if verdict.state.final:
            self.prober.watch([])
            self.reach.none()
            self.over()
            if verdict.state is LinkState.ENDED:
                self.forget()
            if not self._quitting:
                self.notifications.tell(verdict.detail, warning=True)
            raise FinalError


def _report_crash(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("a part of the daemon failed", exc_info=error)
