"""`xdsctl diff`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from xds.terminal.failure import Exit, FailureError
from xds.terminal.options import output_option
from xds.terminal.output import data, is_data, note, show, styled
from xdsctl.nodes import all_nodes, resolve
from xdsctl.options import Access, access_options, type_option
from xdsctl.resources import TYPES

if TYPE_CHECKING:
    from xds.api.byway.manager.v1 import CompareReply
    from xdsctl.compare import Comparison

DIFFERS = 1
FAILED = 2


def _complete_node(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from xdsctl.completion import complete_node

    return complete_node(ctx, param, incomplete)


@click.command(short_help="Compare what a sidecar should have with what it has.")
@click.argument("node", metavar="NODE", shell_complete=_complete_node)
@type_option
@click.option("--live", is_flag=True, help="Ask Envoy what it has, not the manager what was acknowledged.")
@access_options
@output_option
@click.pass_context
def diff(ctx: click.Context, node: str, kinds: tuple[str, ...], live: bool, access: Access, output: str) -> None:
    """Compare what a sidecar is meant to have now with what it has acknowledged, resource by resource.

    NODE is NAMESPACE/KIND/NAME/INSTANCE, an instance's id, or any part that only one node has.

    With --live it is compared with what Envoy itself has, through the sidecar's admin socket: on the machine where the
    sidecar runs. Values that Envoy fills in by itself don't count.

    \b
    Examples:
      xdsctl diff orders-1                  what is different, as unified diffs of Envoy's JSON
      xdsctl diff orders-1 --type routes    only routes
      xdsctl diff orders-1 --live           against what Envoy runs with
      xdsctl diff orders-1 -o wide          also what is the same, with versions
      xdsctl diff orders-1 >/dev/null && echo in force

    \b
    States:
      same     both are alike
      differs  lines with - are intended, lines with + are what the sidecar has
      missing  it should have it, and has not
      extra    it has it, and should not

    \b
    Exit codes:
      0  all the same
      1  something differs
      2  it could not be found out

    \b
    JSON:
      node, against (acknowledged, envoy), same, remarks [..], resources [{type, name, state, version, actual_version,
        diff (null where it is not remembered what the sidecar has)}]
    """
    from xdsctl.compare import comparison_text

    try:
        found = _compared(node, kinds, access, live=live)
    except FailureError as error:
        # As with diff(1), 1 is an answer.
        error.exit_code = FAILED
        raise
    if is_data(output):
        show(data(found.as_dict(), output))
    else:
        show(comparison_text(found, wide=output == "wide"))
        for remark in found.remarks:
            note(styled(remark, fg="yellow"))
    ctx.exit(Exit.OK if found.same else DIFFERS)


def _compared(text: str, kinds: tuple[str, ...], access: Access, *, live: bool) -> Comparison:
    """Both sides. Raises FailureError."""
    from xdsctl.ask import Asker, ask

    async def use(asker: Asker) -> CompareReply:
        node = resolve(all_nodes(await asker.sidecars()), text)
        return await asker.compare(node, kinds or (TYPES if live else ()), bodies=live)

    reply = ask(access, use)
    if not live:
        return _with_acknowledged(reply)
    found = _with_envoy(reply, access)
    # Somebody may have changed something between both questions.
    return found if found.same else _with_envoy(ask(access, use), access)


def _with_acknowledged(reply: CompareReply) -> Comparison:
    from xdsctl.compare import Comparison, remarks_of, with_acknowledged

    if not reply.connected:
        raise FailureError(
            f"no sidecar of {reply.node} is connected, so there is nothing that it has acknowledged",
            hint="--live asks its Envoy, and `xdsctl history` says what it was sent",
            code="not_connected",
        )
    compared = [one for each in reply.types for one in with_acknowledged(each)]
    return Comparison(reply.node, "acknowledged", compared, remarks_of(reply.types))


def _with_envoy(reply: CompareReply, access: Access) -> Comparison:
    from xdsctl.compare import Comparison, with_envoy
    from xdsctl.live import ask_envoy_all, socket_of

    listings = ask_envoy_all(reply.node, socket_of(access.state, reply.node), [one.type for one in reply.types])
    compared = [one for each in reply.types for one in with_envoy(each, listings[each.type].resources)]
    remarks = [f"{each.type}: {remark}" for each in listings.values() for remark in each.remarks]
    return Comparison(reply.node, "envoy", compared, remarks)
