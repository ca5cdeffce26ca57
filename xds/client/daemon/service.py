"""byway.daemon.v1.Daemon: how the daemon is, and its end."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, cast

import grpc.aio

from xds import __version__
from xds.api.byway.daemon.v1 import (
    GetStatusReply,
    GetStatusRequest,
    PastNotification,
    StopReply,
    StopRequest,
    TakeNotificationsRequest,
)
from xds.api.byway.manager.v1 import Session
from xds.api.rpc import Context, Handlers
from xds.api.services import Daemon
from xds.client.daemon.egress import Egress
from xds.client.daemon.link import Link
from xds.client.daemon.verdict import unreachable
from xds.terminal.words import duration


class DaemonService:
    """Answers the command line's questions about the daemon. `stop` is called once a Stop was answered."""

    def __init__(self, link: Link, egress: Egress, *, stop: Callable[[], None]) -> None:
        self._link = link
        self._egress = egress
        self._stop = stop

    def handlers(self) -> Handlers:
        """What the server registers."""
        return Handlers(
            [
                Daemon.GET_STATUS.handler(self.get_status),
                Daemon.TAKE_NOTIFICATIONS.handler(self.take_notifications),
                Daemon.STOP.handler(self.stop),
            ]
        )

    async def get_status(self, request: GetStatusRequest, context: Context) -> GetStatusReply:  # noqa: ARG002
        """All that `byway status` shows."""
        link, reply = self._link, self._link.reply
        link.touch()
        status = GetStatusReply(
            state=link.state,
            detail=link.detail,
            manager_address=link.config.manager,
            version=__version__,
            host=link.config.host,
            address=link.config.address,
            pid=os.getpid(),
            session=self._session(),
            notifications=link.notifications.past(),
            token_file=str(link.config.token_file),
            reach=link.reach.status(),
            proxy=self._egress.status(),
        )
        if reply is not None:
            status.manager_version, status.user = reply.manager_version, reply.user
            status.session_id, status.epoch = reply.session_id, reply.epoch
            status.key_name, status.key_value = reply.key_name, reply.key_value
        return status

    async def take_notifications(
        self,
        request: TakeNotificationsRequest,
        context: Context,  # noqa: ARG002  gRPC's shape
    ) -> AsyncIterator[PastNotification]:
        """What no terminal has shown yet."""
        async for each in self._link.notifications.take(follow=request.follow):
            yield each

    def _session(self) -> Session | None:
        session = self._link.session
        if session is None:
            return None
        return replace(
            session,
            idle_seconds=self._link.activity.idle_seconds,
            expires_in_seconds=self._link.expires_in_seconds,
        )

    async def stop(self, request: StopRequest, context: Context) -> StopReply:
        """End the session, unless it is to be kept, then the daemon."""
        reply = StopReply()
        if not request.keep_session and not self._link.state.final and self._link.token:
            try:
                reply.ended = await self._link.quit()
            except grpc.aio.AioRpcError as error:
                reply.remains = self._remains(error)
        # Not before the answer is out.
        context.add_done_callback(cast("Any", lambda _: self._stop()))
        return reply

    def _remains(self, error: grpc.aio.AioRpcError) -> str:
        why = unreachable(self._link.config.manager, error.details() or "")
        if not self._link.expires_in_seconds:
            return why
        return f"{why}; the session remains for {duration(self._link.expires_in_seconds)}, until it expires"
