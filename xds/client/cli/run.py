"""`byway run`"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from xds.client.cli.dashes import COMMAND_KEY, AfterDashes
from xds.paths import StateDir
from xds.terminal.failure import usage
from xds.terminal.options import state_option

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@click.command(cls=AfterDashes, short_help="Run a command that reaches services in the cluster.")
@click.argument("words", nargs=-1, metavar="-- COMMAND...")
@state_option
@click.pass_context
def run(ctx: click.Context, words: tuple[str, ...], state: StateDir) -> None:
    """Run a command with the variables that `byway env` prints.

    It ends with the command; its exit code is byway's, and signals are passed on. `byway intercept WORKLOAD … --
    byway run -- COMMAND` gives a command the workload's environment, its requests, and its way to other services.

    \b
    Examples:
      byway run -- curl http://orders.dev:8080/
      byway run -- python app.py
    """
    from xds.client.cli.proxied import proxy_of
    from xds.client.cli.runner import check_command
    from xds.client.egress.environment import variables

    command = ctx.meta.get(COMMAND_KEY, ())
    if words or not command:
        hint = f"byway run -- {' '.join(words) or 'COMMAND'}"
        raise usage("the command goes after --", hint=hint)
    check_command(command)
    proxy = proxy_of(state)
    ctx.exit(asyncio.run(_run(command, variables(proxy.address, proxy.password))))


async def _run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    from xds.client.cli.runner import Signals, run_command

    with Signals() as signals:
        return await run_command(command, environment, signals)
