"""`byway quit`"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from xds.client.cli.telepresence import KnowingCommand
from xds.paths import StateDir
from xds.terminal.options import common
from xds.terminal.output import data, is_data, show, warn

if TYPE_CHECKING:
    from xds.api.byway.daemon.v1 import StopReply
    from xds.client.daemon.session_file import SavedSession


@click.command("quit", cls=KnowingCommand, short_help="End the session and its intercepts.")
@click.option("-s", "--stop-daemons", is_flag=True, hidden=True, help="As Telepresence spells it; always done.")
@click.option("--keep-session", is_flag=True, help="Stop the daemon only; the session waits for the next connect.")
@common
def quit_(stop_daemons: bool, keep_session: bool, state: StateDir, output: str) -> None:  # noqa: ARG001
    """End the session and its intercepts, and stop the daemon.

    \b
    Examples:
      byway quit
      byway quit --keep-session     (the intercepts stay reserved; the cluster answers)

    \b
    JSON:
      stopped, ended [names of intercepts], remains (why the session could not be ended, else "")
    """
    from xds.client.cli.api import daemon_answers

    running = daemon_answers(state)
    reply = stop(state, keep_session=keep_session) if running else None if keep_session else end_left_behind(state)
    if reply is None:
        empty = {"stopped": False, "ended": [], "remains": ""}
        show(data(empty, output) if is_data(output) else "Not connected: nothing to quit\n")
        return
    if is_data(output):
        show(data({"stopped": running, "ended": list(reply.ended), "remains": reply.remains}, output))
        return
    if reply.remains:
        warn(f"the session could not be ended: {reply.remains}")
    ended = f"; ended {', '.join(reply.ended)}" if reply.ended else ""
    show(f"Disconnected{ended}\n")


def stop(state: StateDir, *, keep_session: bool) -> StopReply:
    """Stop the daemon and wait until it is gone."""
    import grpc.aio

    from xds.api.byway.daemon.v1 import StopRequest
    from xds.api.services import Daemon
    from xds.client.cli.api import CALL_TIMEOUT, call_daemon
    from xds.client.cli.bringup import wait_gone

    async def body(channel: grpc.aio.Channel) -> StopReply:
        reply = await Daemon.STOP(channel, StopRequest(keep_session=keep_session), timeout=CALL_TIMEOUT)
        await wait_gone(state)
        return reply

    return call_daemon(state, body)


def end_left_behind(state: StateDir) -> StopReply | None:
    """End the session of a daemon that was killed; None where there is none."""
    from xds.client.daemon.session_file import SavedSession  # start-up time
    from xds.client.files import LaptopFiles

    path = LaptopFiles.of(state).session
    saved = SavedSession.load(path)
    if saved is None:
        return None
    reply = asyncio.run(end_directly(saved))
    if not reply.remains:
        path.unlink(missing_ok=True)
    return reply


async def end_directly(saved: SavedSession) -> StopReply:
    """End a session by its token, without a daemon."""
    from xds.client.channel import manager_channel  # start-up time

    import grpc.aio  # isort: skip

    from xds.api.byway.daemon.v1 import StopReply
    from xds.api.byway.manager.v1 import QuitRequest
    from xds.api.rpc import bearer
    from xds.api.services import Manager
    from xds.client.cli.api import CALL_TIMEOUT, manager_failure_of

    async with manager_channel(saved.manager) as channel:
        try:
            reply = await Manager.QUIT(channel, QuitRequest(), metadata=bearer(saved.token), timeout=CALL_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            if error.code() in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.NOT_FOUND}:
                return StopReply()  # It has ended by itself.
            return StopReply(remains=manager_failure_of(error, saved.manager).message)
    return StopReply(ended=list(reply.ended))
