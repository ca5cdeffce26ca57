"""`xdsctl version`"""

from __future__ import annotations

import click

from xds import __version__
from xds.terminal.failure import FailureError
from xds.terminal.options import output_option
from xds.terminal.output import data, is_data, pairs, show
from xdsctl.options import Access, access_options

TIMEOUT = 2.0
"""Seconds; the manager's version is not worth more."""


@click.command(short_help="Print the versions.")
@access_options
@output_option
def version(access: Access, output: str) -> None:
    """Print the version of this command and, where it can be reached, the manager's.

    \b
    Examples:
      xdsctl version
      xdsctl version -o json

    \b
    JSON:
      client, manager ("" where there is none)
    """
    manager = _manager(access)
    if is_data(output):
        show(data({"client": __version__, "manager": manager}, output))
    else:
        show(pairs([("Client", __version__), ("Manager", manager)]))


def _manager(access: Access) -> str:
    if not (access.manager or access.state.address.exists()):
        return ""
    from xdsctl.ask import ask

    try:
        return ask(access, lambda asker: asker.version(), timeout=TIMEOUT)
    except FailureError:
        return ""
