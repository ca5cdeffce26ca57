"""`byway revoke`"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xds.client.cli.completion import complete_intercept_id
from xds.client.cli.connect import manager_address
from xds.paths import StateDir
from xds.terminal.failure import usage
from xds.terminal.options import common
from xds.terminal.output import data, is_data, show

if TYPE_CHECKING:
    import grpc.aio

    from xds.api.byway.manager.v1 import Intercept


@click.command(short_help="End anybody's intercept, as an administrator.")
@click.argument("intercept_id", metavar="INTERCEPT_ID", shell_complete=complete_intercept_id)
@click.option("--reason", default="", metavar="TEXT", help="What its owner is told.")
@click.option("--manager", metavar="HOST:PORT", help="The manager.  [default: the one that runs on this machine]")
@click.option(
    "--admin-token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Holds the administrator's token.  [default: manager/admin.token in the state directory]",
)
@common
def revoke(
    intercept_id: str, reason: str, manager: str | None, admin_token_file: Path | None, state: StateDir, output: str
) -> None:
    """End anybody's intercept. Its owner is told by whom and why.

    Needs the administrator's token; without one the call goes through your session, and the manager decides whether you
    may.

    \b
    Examples:
      byway list --all
      byway revoke i-3f9a --reason "blocks the release test"

    \b
    JSON:
      intercept {as in `byway list --intercepts -o json`}
    """
    from xds.client.cli.views import intercept_data

    token = admin_token(admin_token_file, state)
    if token:
        intercept = asyncio.run(revoke_directly(manager_address(manager, state), token, intercept_id, reason))
    else:
        from xds.client.cli.api import call_daemon

        intercept = call_daemon(state, lambda channel: revoke_through(channel, intercept_id, reason))
    if is_data(output):
        show(data({"intercept": intercept_data(intercept) if intercept is not None else None}, output))
    elif intercept is not None:
        show(f"Revoked {intercept.id}: {intercept.name} of {intercept.owner} on {intercept.workload}\n")
    else:
        show(f"Revoked {intercept_id}\n")


def admin_token(given: Path | None, state: StateDir) -> str:
    """The administrator's token; empty where none was given and none is here. Raises FailureError."""
    path = given.expanduser() if given is not None else state.admin_token
    try:
        token = path.read_text().strip()
    except FileNotFoundError:
        if given is None:
            return ""
        raise usage(f"--admin-token-file: there is no file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise usage(f"cannot read the administrator's token in {path}: {reason}") from None
    if not token:
        raise usage(f"the administrator's token file {path} is empty")
    return token


async def revoke_through(
    channel: grpc.aio.Channel, intercept_id: str, reason: str, token: str = ""
) -> Intercept | None:
    """End an intercept through a channel to the daemon or, with a token, to the manager."""
    from xds.api.byway.manager.v1 import RevokeRequest
    from xds.api.rpc import bearer
    from xds.api.services import Manager
    from xds.client.cli.api import CALL_TIMEOUT

    request = RevokeRequest(intercept_id=intercept_id, reason=reason)
    metadata = bearer(token) if token else ()
    return (await Manager.REVOKE(channel, request, metadata=metadata, timeout=CALL_TIMEOUT)).intercept


async def revoke_directly(address: str, token: str, intercept_id: str, reason: str) -> Intercept | None:
    """End an intercept by the administrator's token. Raises FailureError."""
    import grpc.aio

    from xds.client.channel import manager_channel
    from xds.client.cli.api import manager_failure_of

    async with manager_channel(address) as channel:
        try:
            return await revoke_through(channel, intercept_id, reason, token)
        except grpc.aio.AioRpcError as error:
            raise manager_failure_of(error, address) from error
