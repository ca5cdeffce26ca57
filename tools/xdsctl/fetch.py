"""`xdsctl fetch`"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import click
from click.shell_completion import CompletionItem

from xds import __version__
from xds.terminal.ending import until_interrupted
from xds.terminal.failure import FailureError, usage
from xds.terminal.options import Seconds, output_option
from xds.terminal.output import data, is_data, note, show
from xdsctl.resources import ALIASES, MORE_TYPES, TYPES
from xdsctl.server import Server, server_options

NAMES = {**ALIASES, **{name: name for name in MORE_TYPES}, **{short: name for name, short in MORE_TYPES.items()}}


class AnyType(click.ParamType[str]):
    """A type of resource, under any of its names or as a type URL."""

    name = "type"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Its plural, or the URL."""
        if "/" not in value and value.lower() not in NAMES:
            known = ", ".join((*TYPES, *MORE_TYPES))
            self.fail(f"{value!r} is none of {known}, and no type URL such as type.googleapis.com/...", param, ctx)
        return value if "/" in value else NAMES[value.lower()]

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """The plurals."""
        return [CompletionItem(name) for name in (*TYPES, *MORE_TYPES) if name.startswith(incomplete)]


@click.command(short_help="Ask any xDS server, as a client of its.")
@server_options
@click.option("--node", required=True, metavar="ID", help="The id of the node to be.")
@click.option("--cluster", default="", metavar="NAME", help="The node's cluster.")
@click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="The node's metadata; KEY:=JSON for no text.")
@click.option(
    "--type",
    "kinds",
    multiple=True,
    type=AnyType(),
    metavar="TYPE",
    help="What to ask for.  [default: " + " ".join(TYPES) + "]",
)
@click.option("--name", "names", multiple=True, metavar="NAME", help="Ask for this resource of the one --type.")
@click.option("--delta/--sotw", default=True, help="Differences, or the state of the world.  [default: delta]")
@click.option("--per-type", is_flag=True, help="A stream for each type, not the aggregated one.")
@click.option("--watch", is_flag=True, help="Stay, and show what changes.")
@click.option("--timeout", type=Seconds(), default=10.0, show_default=True, metavar="SECONDS", help="To wait at most.")
@output_option
def fetch(
    server: Server,
    node: str,
    cluster: str,
    metadata: tuple[str, ...],
    kinds: tuple[str, ...],
    names: tuple[str, ...],
    delta: bool,
    per_type: bool,
    watch: bool,
    timeout: float,
    output: str,
) -> int:
    """Show the resources that an xDS server has for a node: that of Byway's manager, Istio's, or any other.

    ADDRESS is HOST:PORT or unix:PATH. TYPE is listeners, routes, clusters, endpoints, secrets, extensions, runtimes,
    scoped-routes, virtual-hosts, an abbreviation (lds, rds, ...) or a type URL. Without --name, routes and endpoints
    are those that the node's listeners and clusters name; of other types it is all that there is.

    Nothing is changed on the server, but it takes this command for one more client of the node, one that agrees with
    whatever it is sent. Of secrets nothing is shown but their names and kinds.

    \b
    Examples:
      xdsctl fetch istiod:15010 --node sidecar~10.0.0.9~web-1.dev~dev.svc.cluster.local
      xdsctl fetch 127.0.0.1:18000 --node test --type clusters --sotw -o yaml
      xdsctl fetch 127.0.0.1:18000 --node test --type rds --name local_route --metadata TEAM=blue --watch
      D=~/.local/state/byway N=dev/deployment/orders/orders-1
      xdsctl fetch $(cat $D/manager/address) --node $N --token-file $D/sidecars/$N/token

    \b
    JSON:
      address, node, transport, control_plane,
      types [{type, answered, missing [..], problems [..], resources [{name, version, resource (Envoy's JSON)}]}]
      with --watch a line for each response: {type, version, nonce, removed [..], resources [..]}

    Exits with 1 where the server does not answer, or has not what is named.
    """
    from xds.serve.client import client_of
    from xds.serve.client import node as node_of
    from xds.serve.status import Variant
    from xdsctl.fetched import Fetch, check_services, type_url

    wanted = tuple(dict.fromkeys(kinds or TYPES))
    if names and len(wanted) != 1:
        raise usage("--name: it isn't clear of which type", hint="give one --type with it")
    variant = Variant.DELTA if delta else Variant.SOTW
    urls = [type_url(kind) for kind in wanted]
    if per_type:
        check_services(variant, urls)
    who = node_of(
        id=node, cluster=cluster, metadata=metadata_values(metadata), user_agent="xdsctl", version=__version__
    )
    one = Fetch(server, lambda: client_of(variant, who), variant, urls, names=names, per_type=per_type)
    with until_interrupted() if watch else nullcontext():
        return asyncio.run(_run(one, watch=watch, seconds=timeout, output=output))


async def _run(one: Any, *, watch: bool, seconds: float, output: str) -> int:
    from xdsctl.fetched import as_dict, change_line, change_of, problems, text

    async with one:
        if watch and is_data(output):
            one.on_response = lambda response: show(_document(change_of(response, one.control_planes), output))
        await one.collect(seconds)
        failures = problems(one, seconds)
        if not one.anything and failures:
            raise FailureError(failures[0][0], hint=failures[0][1], code="no_answer")
        if not (watch and is_data(output)):
            show(data(as_dict(one), output) if is_data(output) else text(one, wide=output == "wide"))
            for message, hint in failures:
                note(f"{message}; {hint}" if hint else message)
        if not watch:
            return 1 if failures else 0
        if not is_data(output):
            one.on_response = lambda response: show(change_line(response))
        await one.follow()
    return 0


def _document(value: dict[str, Any], output: str) -> str:
    """One of many: JSON in a line of its own, YAML behind three dashes."""
    return json.dumps(value, ensure_ascii=False) + "\n" if output == "json" else "---\n" + data(value, output)


def metadata_values(texts: Sequence[str]) -> dict[str, Any]:
    """What `--metadata` says: KEY=VALUE is a text, KEY:=JSON anything. Raises FailureError."""
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        literal = key.endswith(":")
        key = key.removesuffix(":")
        if not (key and equals):
            raise usage(
                f"--metadata: {text!r} is not KEY=VALUE", hint='or KEY:=JSON, as in --metadata \'LABELS:={"app": "a"}\''
            )
        if key in found:
            raise usage(f"--metadata: {key!r} is given twice")
        try:
            found[key] = json.loads(value) if literal else value
        except ValueError as error:
            raise usage(f"--metadata: the value of {key!r} is not JSON: {error}") from None
    return found
