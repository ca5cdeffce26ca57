"""`xdsctl conformance`"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from xds.terminal.failure import FailureError, usage
from xds.terminal.options import Seconds, output_option
from xds.terminal.output import data, is_data, show
from xdsctl.fetch import NAMES, metadata_values
from xdsctl.server import Server, server_options

if TYPE_CHECKING:
    from xdsctl.conform.judge import Finding

VIOLATED = 1
FAILED = 2
VARIANTS = ("delta", "sotw", "delta-per-type", "sotw-per-type")


class RuleName(click.ParamType[str]):
    """A rule, by its name."""

    name = "rule"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Itself."""
        known = _rules()
        if value not in known:
            self.fail(f"{value!r} is none of {', '.join(known)}", param, ctx)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """The rules."""
        return [CompletionItem(name) for name in _rules() if name.startswith(incomplete)]


def _rules() -> list[str]:
    from xdsctl.conform.judge import ordered

    return [each.name for each in ordered()]


@click.command(short_help="Judge whether any xDS server keeps the rules of the protocol.")
@server_options
@click.option("--node", required=True, metavar="ID", help="The id of the node to be.")
@click.option("--cluster", default="", metavar="NAME", help="The node's cluster.")
@click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="The node's metadata; KEY:=JSON for no text.")
@click.option(
    "--resource",
    "resources",
    multiple=True,
    metavar="TYPE=NAME",
    help="A resource that is there, beside those that listeners and clusters name.",
)
@click.option("--only", multiple=True, type=RuleName(), metavar="RULE", help="Only this rule; may be repeated.")
@click.option(
    "--variant",
    "variants",
    multiple=True,
    type=click.Choice(VARIANTS),
    help="Only this variant; may be repeated.",
)
@click.option("--change-command", metavar="CMD", help="What makes the server change; see below.")
@click.option(
    "--timeout", type=Seconds(), default=10.0, show_default=True, metavar="SECONDS", help="For what must come."
)
@click.option(
    "--quiet", type=Seconds(), default=0.3, show_default=True, metavar="SECONDS", help="For what must not come."
)
@output_option
def conformance(
    server: Server,
    node: str,
    cluster: str,
    metadata: tuple[str, ...],
    resources: tuple[str, ...],
    only: tuple[str, ...],
    variants: tuple[str, ...],
    change_command: str | None,
    timeout: float,
    quiet: float,
    output: str,
) -> int:
    """Try every rule of the xDS protocol on a server: delta and state of the world, aggregated and per type.

    ADDRESS is HOST:PORT or unix:PATH. Clusters and listeners are found by asking for all of them, endpoints and routes
    through these.

    Take a node that nobody depends on: some rules refuse what they are sent, and the server may remember that.

    \b
    Verdicts:
      pass        the rule is kept, where a violation would have been seen
      fail        it is broken
      warn        it is broken, but the protocol only advises it, or leaves it to the server
      not judged  nothing can be said, and why

    \b
    Rules about changes need --change-command. It is run (not by a shell) with three more words, and exits with 0 when
    it is done, or with another code when it can't, which leaves the rule unjudged:
      change TYPE NAME      give this resource another content, as often as asked
      put TYPE NAME         add one of this name; dropped again afterwards
      drop TYPE NAME        remove what was put, or do nothing where that is gone
      switch clusters NAME  in one step: add this cluster, have a route configuration lead to it, and remove the
                            cluster that was switched to before, if any
    TYPE is listeners, routes, clusters, endpoints, or what --resource says.

    \b
    Examples:
      xdsctl conformance 127.0.0.1:18000 --node test
      xdsctl conformance 127.0.0.1:18000 --node test --change-command ./change.sh
      xdsctl conformance 127.0.0.1:18000 --node test --only absent-reported --variant delta -o wide

    \b
    Exit codes:
      0  no rule is broken (warnings do not count)
      1  a rule is broken
      2  it could not be found out

    \b
    JSON:
      address, node, control_plane, protocol, counts {pass, fail, warn, not judged},
      findings [{rule, says, variant (delta, sotw), per_type, verdict, advised, section, seen}]
    """
    from xdsctl.conform.report import as_dict, text
    from xdsctl.conform.rule import Verdict

    more = _resources(resources)
    values = metadata_values(metadata)
    try:
        found, control_plane = asyncio.run(
            _judge(
                server,
                who={"id": node, "cluster": cluster, "metadata": values},
                more=more,
                only=only,
                variants=variants,
                command=change_command,
                patience=timeout,
                quiet=quiet,
            )
        )
    except FailureError as error:
        # As with diff(1), 1 is an answer.
        error.exit_code = FAILED
        raise
    document = as_dict(found, address=server.address, node=node, control_plane=control_plane)
    show(data(document, output) if is_data(output) else text(found, wide=output == "wide"))
    if all(each.verdict is Verdict.UNJUDGED for each in found):
        return FAILED
    return VIOLATED if any(each.verdict is Verdict.FAIL for each in found) else 0


def _resources(texts: tuple[str, ...]) -> dict[str, list[str]]:
    """What `--resource` says, by type URL. Raises FailureError."""
    from xdsctl.fetched import type_url

    found: dict[str, list[str]] = {}
    for each in texts:
        kind, equals, name = each.partition("=")
        if not (equals and name) or ("/" not in kind and kind.lower() not in NAMES):
            raise usage(f"--resource: {each!r} is not TYPE=NAME", hint="as in --resource secrets=server-certificate")
        found.setdefault(type_url(kind if "/" in kind else NAMES[kind.lower()]), []).append(name)
    return found


async def _judge(
    server: Server,
    *,
    who: dict[str, Any],
    more: dict[str, list[str]],
    only: tuple[str, ...],
    variants: tuple[str, ...],
    command: str | None,
    patience: float,
    quiet: float,
) -> tuple[list[Finding], str]:
    from xds.serve.client import node as node_of
    from xdsctl.conform.bench import Bench, run_command
    from xdsctl.conform.judge import UnreachableError, judge
    from xdsctl.conform.rule import TRANSPORTS
    from xdsctl.server import failure_of_end, metadata_of

    metadata = metadata_of(server.token())
    change = run_command(command) if command else None
    node = node_of(**who, user_agent="xdsctl")
    async with server.channel() as channel:
        benches = [
            Bench(channel, each, node, metadata, patience=patience, quiet=quiet, change=change)
            for each in TRANSPORTS
            if not variants or f"{each.variant.value}{'-per-type' if each.per_type else ''}" in variants
        ]
        try:
            found = await judge(benches, only=only, more=more)
        except UnreachableError as error:
            raise failure_of_end(error.end, server.address) from None
    planes = {each.response.control_plane for bench in benches for each in bench.seen}
    return found, ", ".join(sorted(planes - {""}))
