"""`byway manager`: runs the manager."""

from __future__ import annotations

import asyncio
import gc
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xds.manager.commands.options import parse_listener
from xds.paths import StateDir
from xds.registry.workload import Address
from xds.terminal.options import state_option

if TYPE_CHECKING:
    from xds.manager.process import Standalone


@click.command()
@click.option(
    "--standalone",
    "file",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE.yaml",
    help="Run without Kubernetes; the file says which workloads there are.",
)
@click.option(
    "--listen", callback=parse_listener, metavar="HOST:PORT", help="Where to listen, instead of where the file says."
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    help="Log lines for people or JSON for machines; text on a terminal and JSON elsewhere, where nothing is said.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
@state_option
def manager(file: Path, listen: Address | None, log_format: str | None, verbose: bool, state: StateDir) -> None:
    """Run the manager, in the foreground.

    Changes of FILE are picked up while it runs. `byway config check FILE` says what is wrong with one.

    \b
      byway manager --standalone byway.yaml
      byway connect
    """
    from xds.config import ConfigError
    from xds.manager import logs
    from xds.manager.identity import IdentityError
    from xds.manager.process import Standalone
    from xds.manager.store import StoreError

    logs.configure(log_format, verbose=verbose)
    try:
        standalone = Standalone(file, state, listen=listen)
        asyncio.run(_run(standalone))
    except (ConfigError, IdentityError) as error:
        raise click.ClickException(str(error)) from error
    except (StoreError, OSError) as error:
        raise click.ClickException(str(error)) from error


async def _run(standalone: Standalone) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # What was made until now stays: no full collection need hold the event loop up for it.
    gc.freeze()
    await standalone.run(stop)
