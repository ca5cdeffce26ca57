"""`byway version`"""

from __future__ import annotations

import click

from xds import __version__
from xds.client.files import LaptopFiles
from xds.paths import StateDir
from xds.terminal.failure import FailureError
from xds.terminal.options import common
from xds.terminal.output import data, is_data, pairs, show


@click.command(short_help="Print the versions.")
@common
def version(state: StateDir, output: str) -> None:
    """Print the version of this command and, where a daemon runs, its and the manager's.

    \b
    Examples:
      byway version
      byway version -o json

    \b
    JSON:
      client, daemon, manager ("" where there is none)
    """
    daemon, manager = others(state)
    if is_data(output):
        show(data({"client": __version__, "daemon": daemon, "manager": manager}, output))
    else:
        show(pairs([("Client", __version__), ("Daemon", daemon), ("Manager", manager)]))


def others(state: StateDir) -> tuple[str, str]:
    """The versions of the daemon and of its manager; empty where there is none."""
    if not LaptopFiles.of(state).socket.exists():
        return "", ""
    from xds.client.cli.api import call_daemon
    from xds.client.cli.bringup import get_status

    try:
        reply = call_daemon(state, get_status)
    except FailureError:
        return "", ""
    return reply.version, reply.manager_version
