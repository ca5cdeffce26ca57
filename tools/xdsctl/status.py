"""`xdsctl status`"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from xds.terminal.failure import Exit
from xds.terminal.options import output_option
from xds.terminal.output import data, indented, is_data, note, pairs, show, styled, table
from xds.terminal.words import duration
from xdsctl.nodes import all_nodes, matching, unknown
from xdsctl.options import Access, access_options
from xdsctl.resources import TYPES

if TYPE_CHECKING:
    from xds.api.byway.manager.v1 import ListSidecarsReply, Sidecar, TypeState

SYNCED, STALE, NOT_SENT, NACKED, ABSENT = "SYNCED", "STALE", "NOT SENT", "NACKED", "NOT CONNECTED"
COLOURS = {SYNCED: "green", STALE: "yellow", NACKED: "red", ABSENT: "red"}
WORST_FIRST = (NACKED, STALE)


def _complete_node(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from xdsctl.completion import complete_node

    return complete_node(ctx, param, incomplete)


@click.command(short_help="Say how far every sidecar is.")
@click.argument("node", metavar="[NODE]", required=False, default="", shell_complete=_complete_node)
@click.option("--exit-code", is_flag=True, help="Exit with 5 unless every sidecar shown is SYNCED.")
@access_options
@output_option
@click.pass_context
def status(ctx: click.Context, node: str, exit_code: bool, access: Access, output: str) -> None:
    """Say how far every sidecar is with what it should have, and what it refused.

    NODE is NAMESPACE/KIND/NAME/INSTANCE, an instance's id, or any part of nodes' names: the nodes that have it are
    shown, and a single one with all that is known of it.

    \b
    Examples:
      xdsctl status                     every instance of every workload
      xdsctl status orders-1            one of them, type by type
      xdsctl status orders --exit-code  fails unless all of them are in sync
      xdsctl status -o wide             a row for each type, with versions

    \b
    States:
      SYNCED         Envoy has acknowledged the newest state
      STALE          something was sent, or is about to be, and is not acknowledged
      NOT SENT       it asked, and nothing of what it asked for exists
      NACKED         Envoy refused the newest state and goes on with what it had; its words are below the table
      NOT CONNECTED  the instance is known, and no sidecar of it has a stream
      -              it has never asked for this type
    The time in brackets is since the last change.

    \b
    JSON:
      sidecars [{node, state, connected, envoy_version, transport, peer, connected_seconds,
        types [{type, state, nack, age_seconds, acknowledged, intended, version, acked_version, behind [..]}]}],
      rejected [{intercept_id, name, owner, workload, reason}]
    """
    from xdsctl.ask import ask

    reply = narrowed(ask(access, lambda asker: asker.sidecars()), node)
    if is_data(output):
        show(data(status_data(reply), output))
    elif not all_nodes(reply):
        note("The manager knows no instances of workloads")
    else:
        show(status_text(reply, wide=output == "wide", detail=bool(node) and output == "table"))
    if exit_code and not in_sync(reply):
        ctx.exit(Exit.NOT_ACKNOWLEDGED)


def narrowed(reply: ListSidecarsReply, text: str) -> ListSidecarsReply:
    """Only the nodes that a text stands for, and what their workloads had refused. Raises FailureError for none."""
    if not text:
        return reply
    from dataclasses import replace

    nodes = all_nodes(reply)
    kept = set(matching(nodes, text))
    if not kept:
        raise unknown(nodes, text)
    return replace(
        reply,
        sidecars=[one for one in reply.sidecars if one.node in kept],
        absent=[node for node in reply.absent if node in kept],
        rejected=[one for one in reply.rejected if any(node.startswith(f"{one.workload}/") for node in kept)],
    )


def overall(sidecar: Sidecar) -> str:
    """The worst of its types; what it asked for and doesn't exist is no fault of its."""
    states = {each.state for each in sidecar.types}
    if not states:
        return STALE
    return next((state for state in WORST_FIRST if state in states), SYNCED)


def in_sync(reply: ListSidecarsReply) -> bool:
    """Whether every instance has a sidecar that acknowledged everything."""
    return not reply.absent and all(overall(one) == SYNCED for one in reply.sidecars)


def status_data(reply: ListSidecarsReply) -> dict[str, Any]:
    """The status for programs."""
    absent = [{"node": node, "state": ABSENT, "connected": False, "types": []} for node in reply.absent]
    sidecars: list[dict[str, Any]] = [*absent, *(_sidecar_data(one) for one in reply.sidecars)]
    return {
        "sidecars": sorted(sidecars, key=lambda one: str(one["node"])),
        "rejected": [
            {
                "intercept_id": one.intercept_id,
                "name": one.name,
                "owner": one.owner,
                "workload": one.workload,
                "reason": one.reason,
            }
            for one in reply.rejected
        ],
    }


def _sidecar_data(one: Sidecar) -> dict[str, Any]:
    return {
        "node": one.node,
        "state": overall(one),
        "connected": True,
        "envoy_version": one.envoy_version,
        "transport": one.transport,
        "peer": one.peer,
        "connected_seconds": round(one.connected_seconds, 1),
        "types": [
            {
                "type": each.type,
                "state": each.state,
                "nack": each.nack,
                "age_seconds": round(each.age_seconds, 1),
                "acknowledged": each.resources,
                "intended": each.intended,
                "version": each.sent_version,
                "acked_version": each.acked_version,
                "behind": list(each.behind),
            }
            for each in one.types
        ],
    }


def coloured(state: str, age: float | None = None) -> str:
    """A state, and how long it has been so."""
    shown = styled(state, fg=COLOURS[state]) if state in COLOURS else state
    return shown if age is None else f"{shown} ({duration(age)})"


def status_text(reply: ListSidecarsReply, *, wide: bool, detail: bool) -> str:
    """The status for people; in detail where it is that of a single sidecar."""
    if detail and len(reply.sidecars) == 1 and not reply.absent:
        text = _one(reply.sidecars[0])
    else:
        text = _wide(reply) if wide else _table(reply)
    return text + _refusals(reply)


def _rows(reply: ListSidecarsReply) -> Sequence[tuple[str, Sidecar | None]]:
    known: dict[str, Sidecar | None] = {one.node: one for one in reply.sidecars}
    return sorted({**dict.fromkeys(reply.absent), **known}.items())


def _table(reply: ListSidecarsReply) -> str:
    rows = []
    for node, one in _rows(reply):
        if one is None:
            rows.append([node, coloured(ABSENT), *[""] * (len(TYPES) + 3)])
            continue
        types = {each.type: coloured(each.state, each.age_seconds) for each in one.types}
        cells = [types.get(name, "") for name in TYPES]
        rows.append(
            [node, coloured(overall(one)), *cells, duration(one.connected_seconds), one.envoy_version, one.transport]
        )
    return table(["NODE", "STATE", *(name.upper() for name in TYPES), "CONNECTED", "ENVOY", "TRANSPORT"], rows)


TYPE_HEADINGS = ["TYPE", "STATE", "AGE", "ACKNOWLEDGED", "VERSION", "ACKED VERSION"]


def _type_row(each: TypeState) -> list[str]:
    counts = f"{each.resources} of {each.intended}"
    return [each.type, coloured(each.state), duration(each.age_seconds), counts, each.sent_version, each.acked_version]


def _wide(reply: ListSidecarsReply) -> str:
    rows = []
    for node, one in _rows(reply):
        if one is None:
            rows.append([node, "", coloured(ABSENT), *[""] * (len(TYPE_HEADINGS) + 2)])
            continue
        about = [duration(one.connected_seconds), one.envoy_version, one.transport, one.peer]
        rows += [[node, *_type_row(each), *about] for each in one.types]
    return table(["NODE", *TYPE_HEADINGS, "CONNECTED", "ENVOY", "TRANSPORT", "PEER"], rows)


def _one(one: Sidecar) -> str:
    about = pairs(
        [
            ("Node", one.node),
            ("State", coloured(overall(one))),
            ("Connected", f"{duration(one.connected_seconds)} ago from {one.peer}"),
            ("Envoy", one.envoy_version),
            ("Transport", one.transport),
        ]
    )
    text = f"{about}\n{table(TYPE_HEADINGS, [_type_row(each) for each in one.types])}"
    for each in one.types:
        if each.behind:
            text += f"\nNot acknowledged yet of {each.type}:\n{indented(chr(10).join(each.behind))}"
    return text


def _refusals(reply: ListSidecarsReply) -> str:
    text = ""
    for one in sorted(reply.sidecars, key=lambda one: one.node):
        for each in one.types:
            if each.nack:
                text += f"\n{one.node} refused {each.type}:\n{indented(each.nack)}"
    for rejected in reply.rejected:
        text += (
            f"\nIntercept {rejected.intercept_id} ({rejected.name}) of {rejected.owner} on {rejected.workload} "
            f"is rejected:\n{indented(rejected.reason)}"
        )
    return text
