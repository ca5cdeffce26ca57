"""`xdsctl translate`"""

from __future__ import annotations

from pathlib import Path

import click

from xds.terminal.options import output_option
from xds.terminal.output import data, is_data, note, show, styled
from xdsctl.options import TypeName
from xdsctl.resources import TYPES
from xdsctl.statefile import choose, read_state


@click.command(short_help="Compile a file to resources, offline.")
@click.option(
    "-f",
    "--file",
    "file",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The state; - is stdin.",
)
@click.option("--node", "wanted", default="", metavar="NODE", help="Only these instances: an id, or a part of one.")
@click.option("--type", "kinds", multiple=True, type=TypeName(), metavar="TYPE", help="Only this type; repeatable.")
@output_option
def translate(file: Path, wanted: str, kinds: tuple[str, ...], output: str) -> None:
    """Show the resources that the sidecars of a state would be given, without running anything.

    FILE is a file of `byway manager --standalone`, and may have intercepts in it. They are created one after the other
    by the manager's own rules; what the manager would refuse, a conflict too, is an error at the intercept's line.

    \b
    Intercepts:
      intercepts:
      - owner: alice@laptop
        workload: orders                  # or NAMESPACE/KIND/NAME
        ports: {http: localhost:9101}     # the workload's port: what takes its requests
        match: {header: [auto], path-prefix: /api}
        when-down: fail                   # default: cluster
    Of match: header, baggage, path-equal, path-prefix, path-regex, method, query, as the flags of `byway intercept`;
    without it all of the port is taken. Also: name, id, shared, laptop (its IP address), away (true or false).

    \b
    Examples:
      xdsctl translate -f byway.yaml
      xdsctl translate -f byway.yaml --node orders-1 --type routes
      xdsctl translate -f byway.yaml -o yaml > resources.yaml
      diff <(xdsctl translate -f old.yaml -o yaml) <(xdsctl translate -f new.yaml -o yaml)

    \b
    JSON:
      instances [{node, and for each type [{name, version, resource (Envoy's JSON)}]}], warnings [..] if any

    Versions are those that the manager would give. Exits with 2 where the file can't be used.
    """
    from xdsctl.translated import as_dict, text, translate_state

    found = read_state(file)
    nodes = choose(translate_state(found), wanted)
    chosen = tuple(dict.fromkeys(kinds)) or TYPES
    if is_data(output):
        show(data(as_dict(nodes, chosen, found.warnings), output))
        return
    show(text(nodes, chosen, wide=output == "wide"))
    for warning in found.warnings:
        note(styled(warning, fg="yellow"))
