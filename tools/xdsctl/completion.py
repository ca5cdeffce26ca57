"""`xdsctl completion`, and what is completed by asking the manager."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from xds.terminal.completion import SHELLS, script
from xds.terminal.failure import FailureError
from xds.terminal.output import show
from xdsctl.nodes import all_nodes, matching, split
from xdsctl.options import Access, access_of

TIMEOUT = 1.0
"""Seconds; nobody waits longer for a Tab."""


@click.command(short_help="Print the completion script of a shell.")
@click.argument("shell", type=SHELLS)
def completion(shell: str) -> None:
    """Print the completion script of a shell. Nodes and resources are completed by asking the manager.

    \b
    Examples:
      xdsctl completion bash > ~/.local/share/bash-completion/completions/xdsctl
      xdsctl completion zsh > "${fpath[1]}/_xdsctl"
      xdsctl completion fish > ~/.config/fish/completions/xdsctl.fish
    """
    from xdsctl.main import cli

    show(script(cli, "xdsctl", shell))


def complete_node(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Instances, or whole ids once there is a slash."""
    nodes = _nodes(access_of(ctx.params), live=bool(ctx.params.get("live")))
    if "/" in incomplete:
        return [CompletionItem(node) for node in nodes if node.startswith(incomplete)]
    instances = [split(node)[1] for node in nodes]
    return [
        CompletionItem(node if instances.count(instance) > 1 else instance, help=workload)
        for node in nodes
        for workload, instance in [split(node)]
        if instance.startswith(incomplete)
    ]


def complete_name(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """The resources that a node is meant to have."""
    from xdsctl.ask import Asker, ask

    params = ctx.params

    async def use(asker: Asker) -> list[str]:
        found = matching(all_nodes(await asker.sidecars()), params["node"])
        reply = await asker.resources(found[0], params["kind"])
        return [one.name for one in reply.resources]

    try:
        names = ask(access_of(params), use, timeout=TIMEOUT)
    except (FailureError, OSError, KeyError, IndexError):
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _nodes(access: Access, *, live: bool) -> list[str]:
    """Every node's id; silent where there is no answer, since a Tab is no place for errors."""
    from xdsctl.live import local_nodes

    if live:
        return local_nodes(access.state)
    from xdsctl.ask import ask

    try:
        return all_nodes(ask(access, lambda asker: asker.sidecars(), timeout=TIMEOUT))
    except (FailureError, OSError):
        return []
