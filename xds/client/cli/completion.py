"""`byway completion`, and what is completed by asking the manager."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem

from xds.paths import StateDir
from xds.terminal.completion import SHELLS, script
from xds.terminal.failure import FailureError
from xds.terminal.output import show

TIMEOUT = 1.0
"""Seconds; nobody waits longer for a Tab."""


@click.command(short_help="Print the completion script of a shell.")
@click.argument("shell", type=SHELLS)
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    Examples:
      byway completion bash > ~/.local/share/bash-completion/completions/byway
      byway completion zsh > "${fpath[1]}/_byway"
      byway completion fish > ~/.config/fish/completions/byway.fish
    """
    from xds.client.cli.app import cli

    show(script(cli, "byway", shell))


def complete_workload(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Workloads, as short as the incomplete word has them."""
    names: list[CompletionItem] = []
    for workload in _ask(ctx, "workloads"):
        namespace, kind, name = workload.id.split("/")
        for spelling in (name, f"{kind}/{name}", workload.id):
            if incomplete.count("/") == spelling.count("/") and spelling.startswith(incomplete):
                names.append(CompletionItem(spelling, help=f"{kind} in {namespace}"))
    return names


def complete_intercept(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """The session's own intercepts."""
    taken = set(ctx.params.get("names") or ())
    return [
        CompletionItem(each.name, help=each.workload)
        for each in _ask(ctx, "intercepts")
        if each.name.startswith(incomplete) and each.name not in taken
    ]


def complete_intercept_id(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Everybody's intercepts."""
    return [
        CompletionItem(each.id, help=f"{each.name} of {each.owner}")
        for each in _ask(ctx, "all intercepts")
        if each.id.startswith(incomplete)
    ]


def _ask(ctx: click.Context, what: str) -> list[Any]:
    """Ask the manager; silent where there is no answer, since a Tab is no place for errors."""
    import grpc.aio

    from xds.api.byway.manager.v1 import ListInterceptsRequest, ListWorkloadsRequest
    from xds.api.services import Manager
    from xds.client.cli.api import call_daemon

    async def body(channel: grpc.aio.Channel) -> list[Any]:
        if what == "workloads":
            return list((await Manager.LIST_WORKLOADS(channel, ListWorkloadsRequest(), timeout=TIMEOUT)).workloads)
        request = ListInterceptsRequest(all=what == "all intercepts")
        return list((await Manager.LIST_INTERCEPTS(channel, request, timeout=TIMEOUT)).intercepts)

    state = ctx.params.get("state")
    try:
        return call_daemon(state if isinstance(state, StateDir) else StateDir.default(), body)
    except (FailureError, OSError):
        return []
