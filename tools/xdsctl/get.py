"""`xdsctl get`"""

from __future__ import annotations

from dataclasses import replace

import click
from click.shell_completion import CompletionItem

from xds.terminal.failure import FailureError
from xds.terminal.options import output_option
from xds.terminal.output import data, is_data, note, show, styled
from xdsctl.nodes import all_nodes, listed, matching, resolve
from xdsctl.options import Access, TypeName, access_options
from xdsctl.resources import Listing, Resource


def _complete_node(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from xdsctl.completion import complete_node

    return complete_node(ctx, param, incomplete)


def _complete_name(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from xdsctl.completion import complete_name

    return complete_name(ctx, param, incomplete)


@click.command(short_help="Show the resources of a sidecar.")
@click.argument("kind", metavar="TYPE", type=TypeName())
@click.argument("node", metavar="NODE", shell_complete=_complete_node)
@click.argument("name", metavar="[NAME]", required=False, default="", shell_complete=_complete_name)
@click.option("--live", is_flag=True, help="Ask Envoy what it has, not the manager what it should have.")
@access_options
@output_option
def get(kind: str, node: str, name: str, live: bool, access: Access, output: str) -> None:
    """Show the resources of one TYPE that a sidecar is meant to have: listeners, routes, clusters or endpoints (or
    lds, rds, cds, eds).

    NODE is NAMESPACE/KIND/NAME/INSTANCE, an instance's id, or any part that only one node has. NAME is a part of the
    resource's name, or, for routes, an intercept's id.

    With --live Envoy itself is asked, through the sidecar's admin socket: this works on the machine
    where the sidecar runs, and without a manager. Where both tables differ, see `xdsctl status NODE`.

    \b
    Examples:
      xdsctl get routes orders-1                     the routes, in the order in which they are asked
      xdsctl get routes orders-1 i-07788dd60e        those of one intercept
      xdsctl get endpoints orders-1 --live -o wide   what Envoy has, and how much it was used
      xdsctl get listeners dev/deployment/orders/orders-1 -o yaml
      diff <(xdsctl get rds orders-1) <(xdsctl get rds orders-1 --live)

    \b
    JSON:
      node, type, source (manager, envoy), remarks [..] where there are any,
      resources [{name, version, acked_version (not with --live), resource (Envoy's JSON)}]

    \b
    Columns:
      ORDER      the first route whose MATCH fits takes the request
      NAME       the intercept's id, or app
      SERVED BY  laptop, cluster, or hop: through an internal listener to the laptop
    """
    from xdsctl.tables import listing_table, named

    found = _live(kind, node, access) if live else _intended(kind, node, access)
    if name:
        found = _only(found, name, named(found.resources, kind, name))
    if is_data(output):
        show(data(found.as_dict(), output))
        return
    if found.resources:
        show(listing_table(found, wide=output == "wide"))
    else:
        note(f"{found.node} has no {kind}")
    for remark in found.remarks:
        note(styled(remark, fg="yellow"))


def _only(listing: Listing, name: str, kept: list[Resource]) -> Listing:
    """The listing of some of its resources. Raises FailureError for none."""
    if not kept:
        names = [one.name for one in listing.resources]
        raise FailureError(
            f"NAME: {listing.node} has no {listing.type} with {name!r}",
            hint=f"there are {listed(names)}" if names else f"it has no {listing.type} at all",
            code="not_found",
        )
    return replace(listing, resources=kept)


def _intended(kind: str, text: str, access: Access) -> Listing:
    """What the manager means a node to have. Raises FailureError."""
    from xdsctl.ask import Asker, ask
    from xdsctl.decode import resource

    async def use(asker: Asker) -> Listing:
        node = resolve(all_nodes(await asker.sidecars()), text)
        reply = await asker.resources(node, kind)
        endpoints = await asker.resources(node, "endpoints") if kind == "clusters" else None
        return Listing(
            node,
            kind,
            "manager",
            [resource(one) for one in reply.resources],
            endpoints=[resource(one) for one in endpoints.resources] if endpoints else [],
        )

    return ask(access, use)


def _live(kind: str, text: str, access: Access) -> Listing:
    """What Envoy has. The manager is asked only where no sidecar of that name is on this machine."""
    from xdsctl.live import ask_envoy, local_nodes, socket_of

    here = local_nodes(access.state)
    if matching(here, text):
        node = resolve(here, text)
    else:
        from xdsctl.ask import ask

        node = resolve(all_nodes(ask(access, lambda asker: asker.sidecars())), text)
    return ask_envoy(node, socket_of(access.state, node), kind)
