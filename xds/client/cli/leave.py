"""`byway leave`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from xds.client.cli.completion import complete_intercept
from xds.paths import StateDir
from xds.terminal.failure import FailureError
from xds.terminal.options import common
from xds.terminal.output import data, is_data, show

if TYPE_CHECKING:
    import grpc.aio

    from xds.api.byway.manager.v1 import Intercept


@click.command(short_help="End intercepts of this session.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_intercept)
@common
def leave(names: tuple[str, ...], state: StateDir, output: str) -> None:
    """End intercepts of this session, by name.

    \b
    Examples:
      byway leave orders
      byway leave orders cart

    \b
    JSON:
      left [names]
    """
    from xds.client.cli.api import call_daemon

    left: list[str] = []
    failures: list[FailureError] = []

    async def body(channel: grpc.aio.Channel) -> None:
        for name in dict.fromkeys(names):
            try:
                await leave_one(channel, name)
                left.append(name)
            except FailureError as failure:
                failures.append(failure)

    call_daemon(state, body)
    if left and not is_data(output):
        show("".join(f"Left {name}\n" for name in left))
    if failures:
        message = "; ".join(failure.message for failure in failures)
        first = failures[0]
        raise FailureError(message, hint=first.hint, code=first.code, exit_code=first.exit_code, left=left)
    if is_data(output):
        show(data({"left": left}, output))


async def leave_one(channel: grpc.aio.Channel, name: str) -> Intercept | None:
    """End one intercept. Raises FailureError."""
    import grpc

    from xds.api.byway.manager.v1 import LeaveInterceptRequest
    from xds.api.services import Manager
    from xds.client.cli.api import CALL_TIMEOUT, advised, failure_of

    try:
        reply = await Manager.LEAVE_INTERCEPT(channel, LeaveInterceptRequest(name=name), timeout=CALL_TIMEOUT)
    except grpc.aio.AioRpcError as error:
        failure = failure_of(error)
        if error.code() is grpc.StatusCode.NOT_FOUND and not advised(failure.message):
            failure.hint = "see `byway list --intercepts`"
        raise failure from error
    return reply.intercept
