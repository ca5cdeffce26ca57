"""`byway intercept`: its flags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from xds.client.cli.completion import complete_workload
from xds.client.cli.dashes import COMMAND_KEY, AfterDashes
from xds.client.cli.telepresence import KnowingCommand
from xds.paths import StateDir
from xds.terminal.failure import usage
from xds.terminal.options import Seconds, common


class InterceptCommand(AfterDashes, KnowingCommand):
    """Takes a command after `--`."""


def the_workload(words: tuple[str, ...], workload: str | None) -> tuple[str, str]:
    """The intercept's name (may be empty) and the workload, from the positional words and `--workload`."""
    if not words and workload is None:
        raise usage("which workload?", hint="byway intercept WORKLOAD --port LOCAL[:REMOTE]; see `byway list`")
    for word in words[1:]:
        if word.isdigit() or ":" in word:
            raise usage(f"{word!r} is one word too many", hint=f"for a port say --port {word}")
        if "=" in word:
            raise usage(f"{word!r} is one word too many", hint=f"for a header say --http-header {word}")
        raise usage(f"one workload at a time, not also {word!r}", hint="a command to run goes after --")
    if words and (words[0].isdigit() or (":" in words[0] and words[0].split(":")[0].isdigit())):
        raise usage(f"{words[0]!r} is not a workload", hint=f"for a port say --port {words[0]}")
    if workload is None:
        return "", words[0]
    return (words[0] if words else ""), workload


@click.command(cls=InterceptCommand, short_help="Send requests of a workload to this laptop.")
@click.argument("words", nargs=-1, metavar="WORKLOAD", shell_complete=complete_workload)
@click.option("-p", "--port", "ports", multiple=True, metavar="LOCAL[:REMOTE]", help="Port on this laptop, and the "
              "workload's port by number or name. Repeatable.")  # fmt: skip
@click.option("--name", default="", metavar="NAME", help="The intercept's name.  [default: the workload's]")
@click.option("-n", "--namespace", default="", metavar="NAMESPACE", help="Where the workload is.")
@click.option("-w", "--workload", metavar="WORKLOAD", help="The workload; the word is then the intercept's name.",
              shell_complete=complete_workload)  # fmt: skip
@click.option("--address", default="localhost", metavar="IP", help="Where your process listens.  [default: localhost]")
@click.option("--http-header", multiple=True, metavar="NAME=VALUE", help="Requests with this header: NAME=VALUE, "
              "NAME~=REGEX, NAME^=PREFIX, NAME, auto (your own) or all. Repeatable.")  # fmt: skip
@click.option("--http-path-equal", metavar="PATH", help="Requests of exactly this path.")
@click.option("--http-path-prefix", metavar="PREFIX", help="Requests of paths that begin so.")
@click.option("--http-path-regex", "--http-path-regexp", metavar="REGEX",
              help="Requests of paths that hold a match of this.")  # fmt: skip
@click.option("--http-method", metavar="METHOD", help="Requests of this method.")
@click.option("--http-query", multiple=True, metavar="KEY=VALUE", help="Requests with this query. Repeatable.")
@click.option("--baggage", multiple=True, metavar="KEY=VALUE", help="Requests with this W3C baggage. Repeatable.")
@click.option("--when-down", type=click.Choice(["cluster", "fail"]), default="cluster",
              help="Who answers while this laptop doesn't.  [default: cluster]")  # fmt: skip
@click.option("--shared", is_flag=True, help="Take everything that no personal intercept takes.")
@click.option("--replace", is_flag=True, help="Not yet: take every port of the container.")
@click.option("-e", "--env-file", type=click.Path(path_type=Path), metavar="FILE",
              help="Write the workload's environment here, for shells and docker.")  # fmt: skip
@click.option("-j", "--env-json", type=click.Path(path_type=Path), metavar="FILE",
              help="Write the workload's environment here, as JSON.")  # fmt: skip
@click.option("--timeout", type=Seconds(), default=30.0, metavar="SECONDS",
              help="How long to wait for the sidecars.  [default: 30]")  # fmt: skip
@common
@click.pass_context
def intercept(
    ctx: click.Context, /, words: tuple[str, ...], workload: str | None, state: StateDir, output: str, **flags: Any
) -> None:
    """Send requests of a workload to this laptop.

    Returns when every sidecar of the workload has confirmed. Without any --http-* or --baggage flag it takes all
    requests of the port. With a COMMAND after --, the command runs with the workload's environment (PATH, HOME and the
    like stay yours) and BYWAY_INTERCEPT_ID; the intercept ends with it, and its exit code is byway's.

    \b
    Examples:
      byway intercept orders --port 8080:http --http-header auto
      byway intercept orders -p 8080 --http-header x-user=alice --http-path-prefix /api/
      byway intercept mine --workload dev/deployment/orders -p 8080 --env-file orders.env
      byway intercept orders -p 8080 --http-header auto -- python app.py

    \b
    JSON:
      intercept {as in `byway list --intercepts -o json`}, warnings [text], curl (a command line)

    --env-file quotes values with special characters for the shell (docker would keep the quotes) and leaves values
    with line breaks to --env-json; it says which. Both files are for your eyes only.
    """
    from xds.client.cli.creation import Wishes, create  # start-up time

    name, found = the_workload(words, workload)
    wishes = Wishes(
        name=flags.pop("name") or name, workload=found, command=ctx.meta.get(COMMAND_KEY, ()), output=output, **flags
    )
    ctx.exit(create(state, wishes))
