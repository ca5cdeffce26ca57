"""`byway why`"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from xds.client.cli.completion import complete_intercept
from xds.paths import StateDir
from xds.terminal.options import common
from xds.terminal.output import data, is_data, show, styled

if TYPE_CHECKING:
    import grpc.aio

    from xds.api.byway.manager.v1 import Stage, WhyReply


@click.command(short_help="Say why requests don't reach an intercept.")
@click.argument("intercept", metavar="INTERCEPT", shell_complete=complete_intercept)
@common
def why(intercept: str, state: StateDir, output: str) -> None:
    """Follow an intercept from its registration to the last request that it took, and say where that breaks off.

    INTERCEPT is the name of one of yours, or anybody's id. Of a request that it does not take, `byway explain` says
    why.

    \b
    Examples:
      byway why orders
      byway why i-3f9a -o json

    \b
    JSON:
      intercept {as in `byway list --intercepts -o json`},
      stages [{name, state (done, missing, unknown, not_reached), text, advice}], missing (a stage's name or null),
      counts [{instance, total, statuses, obstacle}]
    """
    from xds.client.cli.api import call_daemon

    async def body(channel: grpc.aio.Channel) -> WhyReply:
        from xds.api.byway.manager.v1 import WhyRequest
        from xds.api.services import Manager
        from xds.client.cli.api import CALL_TIMEOUT

        return await Manager.WHY(channel, WhyRequest(intercept=intercept), timeout=CALL_TIMEOUT)

    reply = call_daemon(state, body)
    show(data(why_data(reply), output) if is_data(output) else why_text(reply, wide=output == "wide"))


def stage_state(value: int) -> str:
    """`done`, `missing`, `unknown`, `not_reached`."""
    from xds.api.byway.manager.v1 import StageState

    return StageState(value).name.lower() if value in set(StageState) else "unknown"


def why_data(reply: WhyReply) -> dict[str, Any]:
    """The stages for programs."""
    from xds.client.cli.views import intercept_data

    stages = [
        {"name": one.name, "state": stage_state(one.state), "text": one.text, "advice": one.advice}
        for one in reply.stages
    ]
    return {
        "intercept": intercept_data(reply.intercept) if reply.intercept else None,
        "stages": stages,
        "missing": next((one["name"] for one in stages if one["state"] == "missing"), None),
        "counts": [
            {
                "instance": one.instance,
                "total": one.total,
                "statuses": dict(sorted(one.statuses.items())),
                "obstacle": one.obstacle,
            }
            for one in reply.counts
        ],
    }


MARKS = {"done": ("✓", "green"), "missing": ("✗", "red"), "unknown": ("?", "yellow"), "not_reached": ("–", "yellow")}


def why_text(reply: WhyReply, *, wide: bool) -> str:
    """The stages for people. Wide: with each sidecar's count of requests."""
    return "".join(f"{line}\n" for line in _lines(reply, wide=wide))


def _lines(reply: WhyReply, *, wide: bool) -> Iterator[str]:
    size = max((len(one.name) for one in reply.stages), default=0)
    for stage in reply.stages:
        state = stage_state(stage.state)
        mark, colour = MARKS[state]
        text = stage.text or ("not reached" if state == "not_reached" else "")
        yield f"{styled(mark, fg=colour)} {stage.name.ljust(size)}  {text}".rstrip()
        if stage.advice:
            yield f"{' ' * (size + 4)}{styled('→', fg='cyan')} {stage.advice}"
    if wide:
        for one in reply.counts:
            statuses = ", ".join(f"{count} × {status}" for status, count in sorted(one.statuses.items()))
            yield f"{one.instance}: {one.obstacle or f'{one.total} requests'}{f' ({statuses})' if statuses else ''}"
    yield ""
    yield _verdict(reply)


def _verdict(reply: WhyReply) -> str:
    missing = next((one for one in reply.stages if stage_state(one.state) == "missing"), None)
    if missing is None:
        return styled("Nothing is in the way.", fg="green")
    if missing.name == "requests":
        return styled("Nothing is in the way, but no request has matched yet.", fg="yellow")
    return styled(f"It breaks off at “{missing.name}”: {_first(missing)}.", fg="red")


def _first(stage: Stage) -> str:
    return stage.text.rstrip(".")
