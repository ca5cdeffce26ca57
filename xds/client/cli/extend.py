"""`byway extend`"""

from __future__ import annotations

import click

from xds.paths import StateDir
from xds.terminal.options import common
from xds.terminal.output import data, is_data, show


@click.command(short_help="Keep the session from expiring.")
@common
def extend(state: StateDir, output: str) -> None:
    """Keep the session from expiring, and its intercepts from being displaced.

    Any other command does the same; this one does nothing else.

    \b
    Example:
      byway extend

    \b
    JSON:
      expires_in_seconds
    """
    import grpc.aio

    from xds.api.byway.manager.v1 import ExtendReply, ExtendRequest
    from xds.api.services import Manager
    from xds.client.cli.api import CALL_TIMEOUT, call_daemon
    from xds.terminal.words import duration

    async def body(channel: grpc.aio.Channel) -> ExtendReply:
        return await Manager.EXTEND(channel, ExtendRequest(), timeout=CALL_TIMEOUT)

    left = call_daemon(state, body).expires_in_seconds
    if is_data(output):
        show(data({"expires_in_seconds": round(left, 1)}, output))
    else:
        show(f"The session ends in {duration(left)} without activity\n")
