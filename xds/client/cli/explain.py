"""`byway explain`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from xds.client.cli.completion import complete_workload
from xds.paths import StateDir
from xds.terminal.failure import Exit, FailureError, usage
from xds.terminal.options import common
from xds.terminal.output import data, is_data, show

if TYPE_CHECKING:
    import grpc.aio

    from xds.api.byway.manager.v1 import ExplainReply
    from xds.client.cli.live import LiveAnswer


@click.command(short_help="Say which intercept takes a request, and why.")
@click.argument("workload", metavar="WORKLOAD", shell_complete=complete_workload)
@click.argument("request", nargs=-1, required=True, metavar="'[METHOD] PATH'")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'",
              help="A header of the request, as for curl. Repeatable.")  # fmt: skip
@click.option("-p", "--port", default="", metavar="PORT", help="The workload's port, by number or name.  "
              "[default: the only one that may carry HTTP]")  # fmt: skip
@click.option("-n", "--namespace", default="", metavar="NAMESPACE", help="Where the workload is.")
@click.option("--live", is_flag=True, help="Ask the sidecars themselves, too. The request reaches nobody.")
@common
def explain(
    workload: str,
    request: tuple[str, ...],
    headers: tuple[str, ...],
    port: str,
    namespace: str,
    live: bool,
    state: StateDir,
    output: str,
) -> None:
    """Say which intercept takes a request, and why every other one doesn't.

    The request is not sent. With --live every sidecar is asked which of its routes the request takes: it answers that
    itself, and neither the app nor a laptop sees anything. An answer other than the manager's is a bug, and an error.

    \b
    Examples:
      byway explain orders 'GET /api/v1?x=1' -H 'x-user: alice'
      byway explain orders /api/v1 -H 'baggage: x-telepresence-id=alice-1f2e3d' --live

    \b
    JSON:
      workload, port {number, name, protocol}, request, winner (an id or null), answered_by,
      candidates [{id, name, owner, mine, kind, shared, match_flags,
        verdict (takes, outranked, fails, not_asked), why, condition, more, hints}],
      hints [text], sidecars [{instance, state, detail}],
      live {expected, instances [{instance, route, problem, asked}]} (null without --live)
    """
    from xds.api.byway.manager.v1 import ExplainRequest
    from xds.client.cli.api import call_daemon
    from xds.client.cli.explained import explained_data, explained_text
    from xds.client.cli.live import ask_live

    for text in (*request, *headers):
        if not text.isprintable() and any("\ud800" <= char <= "\udfff" for char in text):
            raise usage(f"{text!a}: what isn't UTF-8 can't be asked about")
    question = ExplainRequest(
        workload=workload,
        namespace=namespace,
        port=port,
        request_line=" ".join(request),
        headers=list(headers),
        live=live,
    )

    async def body(channel: grpc.aio.Channel) -> tuple[ExplainReply, list[LiveAnswer]]:
        return await ask_live(channel, question)

    try:
        reply, answers = call_daemon(state, body)
    except FailureError as error:
        if error.code == "not_found":  # The workload: refused input, as a port that it doesn't have.
            error.exit_code = int(Exit.USAGE)
        raise
    failure = difference(reply, answers)
    if not is_data(output):
        show(explained_text(reply, answers))
    elif failure is None:
        show(data(explained_data(reply, answers), output))
    if failure is not None:
        failure.details = explained_data(reply, answers)
        raise failure


def difference(reply: ExplainReply, answers: list[LiveAnswer]) -> FailureError | None:
    """What is wrong with the sidecars' answers; None where nothing is."""
    if reply.live is None:
        return None
    expected = reply.live.expected
    apart = [one for one in answers if one.differs(expected)]
    if apart:
        said = "; ".join(f"{one.instance} says {one.route or one.problem}" for one in apart)
        return FailureError(
            f"the manager says that the request takes route {expected}, but {said}",
            hint="this is a bug of Byway: please report it, with what `byway explain --live -o json` and "
            "`xdsctl get routes INSTANCE --live -o json` print",
            code="explain_differs",
        )
    if not any(one.asked for one in answers):
        return FailureError(
            "no sidecar could be asked",
            hint="; ".join(f"{one.instance}: {one.problem}" for one in answers) or "the workload has no instance",
            code="not_asked",
        )
    return None
