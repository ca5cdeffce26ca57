"""`byway gateway`: runs an Envoy that brings requests to laptops which can only call out."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
from pathlib import Path

import click

from xds.manager.commands.options import parse_address
from xds.manager.commands.sidecar import LOG_LEVELS, running_manager
from xds.manager.sidecar import SidecarError
from xds.paths import StateDir
from xds.registry.workload import Address
from xds.terminal.failure import FailureError
from xds.terminal.options import state_option

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def _parse_name(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if not _NAME.fullmatch(value):
        raise click.BadParameter(f"{value!r} is no gateway's name: lower-case letters, digits and inner hyphens")
    return value


def _one(_ctx: click.Context, _param: click.Parameter, value: int) -> int:
    if value != 1:
        raise click.BadParameter(
            "a gateway has one worker thread: a laptop's tunnel belongs to the worker that accepted it, and requests "
            "that another worker takes would not find it. For more, run several gateways; laptops dial each of them"
        )
    return value


@click.command()
@click.argument("name", callback=_parse_name)
@click.option(
    "--manager",
    "address",
    callback=parse_address,
    metavar="HOST:PORT",
    help="The manager.  [default: the one that runs with the same state directory]",
)
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The gateway's token.  [default: from the state directory]",
)
@click.option("--concurrency", type=int, default=1, show_default=True, callback=_one, help="Envoy's threads: 1.")
@click.option("--log-level", type=click.Choice(LOG_LEVELS), default="warning", show_default=True, help="Envoy's.")
@state_option
def gateway(
    name: str, address: Address | None, token_file: Path | None, concurrency: int, log_level: str, state: StateDir
) -> None:
    """Run the gateway NAME on this machine, in the foreground.

    Laptops that can only make outgoing connections dial every gateway, and get their requests back on the same
    connection. The manager's file says where each gateway listens, under `gateways`.

    Ctrl-C or SIGTERM ends it in order, within three seconds: what comes next goes to another gateway. Once more, and it
    ends at once.

    \b
      byway gateway gw-1
    """
    from xds.manager.gateway.files import GatewayError, GatewayFiles

    del concurrency
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    files = GatewayFiles.of(state, name)
    try:
        asyncio.run(_run(files, address or running_manager(state), token_file or files.token, log_level))
    except (GatewayError, SidecarError, OSError) as error:
        raise FailureError(str(error)) from error


async def _run(files: object, manager: Address, token: Path, log_level: str) -> None:
    from xds.manager.gateway.files import GatewayFiles
    from xds.manager.gateway.run import run

    assert isinstance(files, GatewayFiles)
    stop, at_once = asyncio.Event(), asyncio.Event()

    def end() -> None:
        (at_once if stop.is_set() else stop).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end)
    await run(files, manager, token=token, log_level=log_level, stop=stop, at_once=at_once)
