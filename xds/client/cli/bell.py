"""Notifications that nobody has seen yet, on the terminal where the user works: a line with the terminal's bell.

The daemon hands each out once. Who has no terminal to show them on doesn't ask, so that they wait for who has.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator

import xds.client.channel  # noqa: F401  first: it sets gRPC's environment

import grpc.aio  # isort: skip

from xds.api.byway.daemon.v1 import PastNotification, TakeNotificationsRequest
from xds.api.services import Daemon
from xds.terminal.output import note, styled

TIMEOUT = 1.0
"""Seconds after which a command goes on without them."""


def heard() -> bool:
    """Whether a user would see a line. Completion runs on a terminal too, in the middle of what is being typed."""
    return sys.stderr.isatty() and "_BYWAY_COMPLETE" not in os.environ


def ring(notification: PastNotification) -> None:
    """Show one."""
    mark = styled("!", stream=sys.stderr, fg="yellow" if notification.warning else "cyan")
    note(f"\a{mark} {notification.text}")


async def _show(channel: grpc.aio.Channel, *, follow: bool) -> None:
    """Show what there is and, with `follow`, what comes. An older daemon has none to give; a dead one neither."""
    request = TakeNotificationsRequest(follow=follow)
    with contextlib.suppress(grpc.aio.AioRpcError):
        async for each in Daemon.TAKE_NOTIFICATIONS(channel, request, timeout=None if follow else TIMEOUT):
            ring(each)


async def show_waiting(channel: grpc.aio.Channel) -> None:
    """Show those that wait, on a terminal."""
    if heard():
        await _show(channel, follow=False)


@contextlib.asynccontextmanager
async def ringing(channel: grpc.aio.Channel) -> AsyncIterator[None]:
    """A context in which they are shown as they come, on a terminal. Entering it does not wait."""
    task = asyncio.create_task(_show(channel, follow=True)) if heard() else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
