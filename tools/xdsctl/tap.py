"""`xdsctl tap`"""

from __future__ import annotations

import json
from datetime import tzinfo
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from xds.terminal.ending import until_interrupted
from xds.terminal.options import output_option
from xds.terminal.output import data, note, show, styled
from xds.terminal.words import plain
from xdsctl.nodes import all_nodes, resolve
from xdsctl.options import Access, access_options, type_option

if TYPE_CHECKING:
    from xds.api.byway.manager.v1 import TapEvent, TapRequestSeen

SENT, RECEIVED, ABOUT = "->", "<-", "--"


def _complete_node(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from xdsctl.completion import complete_node

    return complete_node(ctx, param, incomplete)


@click.command(short_help="Watch what a sidecar and the manager say to each other.")
@click.argument("node", metavar="NODE", shell_complete=_complete_node)
@type_option
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N lines.")
@access_options
@output_option
def tap(node: str, kinds: tuple[str, ...], count: int | None, access: Access, output: str) -> None:
    """Watch each response (->) and each request (<-) between the manager and a sidecar, as they pass, until Ctrl-C.

    NODE is NAMESPACE/KIND/NAME/INSTANCE, an instance's id, or any part that only one node has. It needn't be connected
    yet. A reader that is too slow is told how many lines it missed; the sidecar never waits for it.

    \b
    Examples:
      xdsctl tap orders-1                     everything
      xdsctl tap orders-1 --type routes       routes only
      xdsctl tap orders-1 -o wide             with the names of all resources
      xdsctl tap orders-1 --count 2 -o json   two lines of JSON

    \b
    What requests are:
      request  asks for something, or no longer; at the beginning with what it has already
      ack      the sidecar has taken a response, so long after it was sent
      NACK     it refused one, in Envoy's words
      stale    speaks of a response that is settled already

    \b
    JSON, a line each:
      {event: response, ...} as in `xdsctl history`; {event: request, time, type, meaning, nonce, version, size, names
      [..], more_names, unsubscribed [..], kept, after_seconds, error}; {event: connected | disconnected, time,
      transport, peer}; {event: lost, count}
    """
    from xdsctl.ask import Asker, ask

    async def use(asker: Asker) -> None:
        found = resolve(all_nodes(await asker.sidecars()), node)
        seen = 0
        async for event in asker.tap(found, kinds):
            if event.watching:
                note(f"Watching {event.watching}; Ctrl-C ends it")
                continue
            show(line(event, output))
            seen += 1
            if seen == count:
                return

    with until_interrupted():
        ask(access, use)


def line(event: TapEvent, output: str, zone: tzinfo | None = None) -> str:
    """One event as a line, or as a document where YAML is wanted."""
    if output == "json":
        return json.dumps(event_data(event), ensure_ascii=False) + "\n"
    if output == "yaml":
        return "---\n" + data(event_data(event), output)
    return event_text(event, wide=output == "wide", zone=zone)


def event_data(event: TapEvent) -> dict[str, Any]:
    """An event for programs."""
    from xdsctl.pushes import iso, push_data, request_data

    if event.response is not None:
        found = push_data(event.response)
        # What becomes of it isn't known yet: that is told by a request.
        return {"event": "response", **{k: v for k, v in found.items() if k not in _LATER}}
    if event.request is not None:
        return {"event": "request", **request_data(event.request)}
    for name, stream in (("connected", event.connected), ("disconnected", event.disconnected)):
        if stream is not None:
            return {"event": name, "time": iso(stream.at), "transport": stream.transport, "peer": stream.peer}
    return {"event": "lost", "count": event.lost or 0}


_LATER = ("outcome", "answered_seconds", "nack")


def event_text(event: TapEvent, *, wide: bool, zone: tzinfo | None = None) -> str:
    """An event for people: a line; wide, another one for each resource."""
    from xdsctl.pushes import changed_text, clock_text, resource_lines, size_text

    if (push := event.response) is not None:
        what = f"{changed_text(push)}  {size_text(push.size)}  revision {push.revision}"
        why = plain("; ".join(push.reasons))
        named = [one.name for one in push.resources] + [f"-{name}" for name in push.removed]
        few = "" if wide else _few(named, unnamed=push.more_resources + push.more_removed)
        parts = [what, few, f"({why})" if why else ""]
        text = _row(clock_text(push.at, zone, day=False), SENT, push.type, "response", push.nonce, parts)
        return text + "".join(f"{'':14}{each}\n" for each in resource_lines(push) if wide)
    if (seen := event.request) is not None:
        return _row(
            clock_text(seen.at, zone, day=False),
            RECEIVED,
            seen.type,
            _MEANING.get(seen.meaning, seen.meaning),
            seen.nonce,
            _request_parts(seen, wide=wide),
        )
    for name, stream in (("connected", event.connected), ("disconnected", event.disconnected)):
        if stream is not None:
            at = clock_text(stream.at, zone, day=False)
            return f"{at}  {ABOUT}  {name}: {stream.transport} from {stream.peer}\n"
    return styled(
        f"{'':12}  {ABOUT}  {event.lost} lines were lost: they came faster than they were read\n", fg="yellow"
    )


_MEANING = {"nack": "NACK"}
_FEW = 3


def _row(at: str, way: str, kind: str, what: str, nonce: str, parts: list[str]) -> str:
    shown = styled(f"{what:<8}", fg="red") if what == "NACK" else f"{what:<8}"
    cells = [at, way, f"{kind:<9}", shown, *([nonce] if nonce else []), *filter(None, parts)]
    return "  ".join(cells).rstrip() + "\n"


def _few(names: list[str], *, most: int = _FEW, unnamed: int = 0) -> str:
    more = max(0, len(names) - most) + unnamed
    return plain(", ".join(names[:most]) + (f" and {more} more" if more else ""))


def _request_parts(seen: TapRequestSeen, *, wide: bool) -> list[str]:
    from xdsctl.pushes import span

    parts = [f"after {span(seen.after_seconds)}"] if seen.after_seconds is not None else []
    names = list(seen.names) + [f"-{name}" for name in seen.unsubscribed]
    if seen.meaning == "request" or seen.unsubscribed or wide:
        parts.append(_few(names, most=len(names) if wide else _FEW, unnamed=seen.more_names))
    parts += [f"has {seen.kept}"] if seen.kept else []
    return [*parts, *([plain(seen.error)] if seen.error else [])]
