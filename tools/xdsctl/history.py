"""`xdsctl history`"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from xds.terminal.options import output_option
from xds.terminal.output import data, is_data, note, show
from xdsctl.nodes import all_nodes, matching
from xdsctl.options import Access, access_options, type_option

if TYPE_CHECKING:
    from xds.api.byway.manager.v1 import GetHistoryReply


def _complete_node(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from xdsctl.completion import complete_node

    return complete_node(ctx, param, incomplete)


@click.command(short_help="Show what a sidecar was sent, why, and what it said.")
@click.argument("node", metavar="NODE", shell_complete=_complete_node)
@type_option
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Only the last N pushes.")
@click.option("--refused", is_flag=True, help="Only what the sidecar refused.")
@access_options
@output_option
def history(node: str, kinds: tuple[str, ...], last: int | None, refused: bool, access: Access, output: str) -> None:
    """Show the last 200 pushes to a sidecar, the oldest first: what was sent, why, and how long it took until the
    sidecar acknowledged or refused it.

    NODE is NAMESPACE/KIND/NAME/INSTANCE, an instance's id, or any part that only one node has. The history of a sidecar
    that went away is kept for an hour, that of an instance which was taken out of the file under its whole id; it
    begins anew with the manager.

    \b
    Examples:
      xdsctl history orders-1                          what happened
      xdsctl history orders-1 --type routes --last 5   the last five pushes of routes
      xdsctl history orders-1 --refused                what it refused, in Envoy's words
      xdsctl history orders-1 -o wide                  with nonces and the names of all resources

    \b
    Columns:
      REVISION   counts every change that the manager made to anything; one push may carry several
      RESOURCES  how many are added or changed (+) and removed (-)
      ANSWER     acked, nacked, waiting, or cut off: the stream ended before there was an answer
      REASON     each change that the push carries; "subscription": the sidecar asked for it

    \b
    JSON:
      node, connected, pushes [{time, type, nonce, version ("" in delta), revision, size, resources [{name, version,
        size}], more_resources, removed [..], more_removed, reasons [..], outcome, answered_seconds, nack}]
    """
    from xdsctl.pushes import NACKED, history_data, history_text

    reply = _asked(node, access)
    pushes = [
        one for one in reply.pushes if (not kinds or one.type in kinds) and (not refused or one.outcome == NACKED)
    ]
    reply = replace(reply, pushes=pushes[-last:] if last else pushes)
    if is_data(output):
        show(data(history_data(reply), output))
    elif reply.pushes:
        show(history_text(reply.pushes, wide=output == "wide"))
    else:
        note(f"{reply.node} {'refused nothing' if refused else 'was sent nothing'} that is remembered")


def _asked(text: str, access: Access) -> GetHistoryReply:
    """The history of the node that a text stands for. Raises FailureError."""
    from xdsctl.ask import Asker, ask

    async def use(asker: Asker) -> GetHistoryReply:
        found = matching(all_nodes(await asker.sidecars()), text)
        # What isn't known may have been: the manager remembers nodes that are gone.
        return await asker.history(found[0] if len(found) == 1 else text)

    return ask(access, use)
