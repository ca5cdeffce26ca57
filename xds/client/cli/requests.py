"""`byway requests`"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from xds.client.cli.completion import complete_intercept
from xds.paths import StateDir
from xds.terminal.ending import until_interrupted
from xds.terminal.failure import FailureError, usage
from xds.terminal.options import Duration, common
from xds.terminal.output import data, is_data, note, show, table, width

if TYPE_CHECKING:
    import grpc.aio

    from xds.api.byway.manager.v1 import InterceptedRequest, RequestsReply, RequestsRequest

PATIENCE = 30.0
AGAIN = 0.3
"""Seconds after which to ask again where the manager is away."""
REMEMBERED = 2000
"""Requests that may be there again after that."""


@click.command("requests", short_help="Show the requests that an intercept takes.")
@click.argument("intercept", metavar="INTERCEPT", shell_complete=complete_intercept)
@click.option("-f", "--follow", is_flag=True, help="Go on with those that come, until Ctrl-C.")
@click.option("--wait-for", "count", type=click.IntRange(1, 1_000_000), metavar="N",
              help="End as soon as the intercept has taken N requests since it was made.")  # fmt: skip
@click.option("--timeout", type=Duration(), metavar="DURATION",
              help="Fail if --wait-for takes longer: 30s, 2m.  [default: 30s]")  # fmt: skip
@click.option("--query", is_flag=True, help="Show what follows the ? of a path, too: it may hold secrets.")
@common
def requests_(
    intercept: str,
    follow: bool,
    count: int | None,
    timeout: float | None,
    query: bool,
    state: StateDir,
    output: str,
) -> None:
    """Show the requests that one of your intercepts took: when, what, the answer's status, how long it took, and
    whether your laptop or the cluster answered. Nobody else can see them.

    The last 200 are there, and all are counted, since the intercept was made or the manager started. A request that
    lasts (a WebSocket, server-sent events, one at a breakpoint) is shown while it is open, and again when it has
    ended. What follows the ? of a path is left out unless --query asks for it.

    With --wait-for it ends with 0 as soon as N requests were taken, those before it included, and with 1 if that takes
    longer than --timeout: for scripts that have to know that a request was intercepted.

    \b
    Examples:
      byway requests orders
      byway requests orders --follow
      byway requests orders --wait-for 1 --timeout 10s

    \b
    JSON (with --follow a line for each request, else one document):
      intercept {id, name, workload}, missed (requests too many to be kept),
      requests [{number, time, method, path, protocol, status, grpc_status, duration_seconds, open,
        answered_by (laptop, cluster, none, null), instance}],
      traffic {total, statuses, served_by, p50_seconds, p99_seconds}
    """
    if timeout is not None and count is None:
        raise usage("--timeout says how long --wait-for may take", hint="give --wait-for N, or leave it out")
    from xds.api.byway.manager.v1 import RequestsRequest
    from xds.client.cli.api import call_daemon

    question = RequestsRequest(intercept=intercept, follow=follow or count is not None, query=query)
    printer = _Lines(output) if follow else _Document(output)
    wait = (count, timeout or PATIENCE) if count is not None else None

    async def body(channel: grpc.aio.Channel) -> None:
        await _watch(channel, question, printer, wait)

    with until_interrupted() if follow else nullcontext():
        call_daemon(state, body)
    printer.finish()


async def _watch(
    channel: grpc.aio.Channel, question: RequestsRequest, printer: _Printer, wait: tuple[int, float] | None
) -> None:
    """Show what comes, until the manager has no more, or enough was taken. Raises FailureError."""
    from xds.api.services import Manager
    from xds.client.cli.api import CALL_TIMEOUT

    if not question.follow:
        async for reply in Manager.REQUESTS(channel, question, timeout=CALL_TIMEOUT):
            printer.take(reply)
        return
    try:
        async with asyncio.timeout(wait[1] if wait else None):
            while not await _follow(Manager.REQUESTS(channel, question), printer, wait[0] if wait else None):  # noqa: ASYNC110  nothing tells when the manager is back
                await asyncio.sleep(AGAIN)
    except TimeoutError:
        assert wait is not None
        raise _too_few(question.intercept, printer, *wait) from None


async def _follow(call: Any, printer: _Printer, count: int | None) -> bool:
    """Whether that is all: not where the manager is away, and the daemon waits for it to come back."""
    import grpc

    from xds.client.words import KEEPS_TRYING

    begun = False
    try:
        async for reply in call:
            begun = True
            printer.take(reply)
            if count is not None and printer.total >= count:
                return True
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE and (begun or KEEPS_TRYING in (error.details() or "")):
            return False
        raise
    finally:
        call.cancel()
    return True


def _too_few(intercept: str, printer: _Printer, count: int, seconds: float) -> FailureError:
    return FailureError(
        f"{intercept} took {printer.total} of {count} requests within {seconds:g} s",
        hint=f"`byway why {intercept}` says where requests get stuck, `byway explain` why one doesn't match",
        code="too_few_requests",
        taken=printer.total,
        wanted=count,
    )


class _Printer:
    """Prints replies; `total` is how many requests there were in all."""

    def __init__(self, output: str) -> None:
        self.output = output
        self.total = 0

    def take(self, reply: RequestsReply) -> None:
        """Take in a reply."""
        # A manager that was started anew begins again.
        self.total = max(self.total, reply.traffic.total if reply.traffic is not None else 0)

    def finish(self) -> None:
        """There are no more."""


class _Document(_Printer):
    """All at once, at the end: each request as it was told of last."""

    def __init__(self, output: str) -> None:
        super().__init__(output)
        self._requests: dict[tuple[float, int], InterceptedRequest] = {}
        self._missed = 0
        self._last: RequestsReply | None = None

    def take(self, reply: RequestsReply) -> None:
        super().take(reply)
        self._requests |= {(one.started, one.number): one for one in reply.requests}
        self._missed += reply.missed
        self._last = reply

    def finish(self) -> None:
        from xds.client.cli.traffic import headings, request_cells, request_data, traffic_data

        reply, found = self._last, [self._requests[key] for key in sorted(self._requests)]
        assert reply is not None
        assert reply.traffic is not None
        wide = self.output == "wide"
        if is_data(self.output):
            value = {
                "intercept": {"id": reply.intercept_id, "name": reply.name, "workload": reply.workload},
                "missed": self._missed,
                "requests": [request_data(one) for one in found],
                "traffic": traffic_data(reply.traffic),
            }
            show(data(value, self.output))
        elif found:
            show(table(headings(wide=wide), [request_cells(one, wide=wide) for one in found]))
        else:
            note(f"{reply.name} has taken no request yet; `byway why {reply.name}` says whether one can reach it")


class _Lines(_Printer):
    """A line for each request, as it comes."""

    def __init__(self, output: str) -> None:
        super().__init__(output)
        self._shown: OrderedDict[tuple[float, int], bool] = OrderedDict()
        self._headed = False

    def take(self, reply: RequestsReply) -> None:
        super().take(reply)
        if not self._headed and not is_data(self.output):
            from xds.client.cli.traffic import headings

            self._headed = True
            show(self._line(headings(wide=self.output == "wide")))
        if reply.missed:
            note(f"… {reply.missed} requests more, which were too many to be shown")
        show("".join(self._of(one) for one in reply.requests))

    def _of(self, request: InterceptedRequest) -> str:
        """Nothing, where it was shown and still goes on, or is there again because the connection was lost."""
        from xds.client.cli.traffic import request_cells, request_data

        key = (request.started, request.number)
        if self._shown.get(key) in {request.open, False}:
            return ""
        self._shown[key] = request.open
        if len(self._shown) > REMEMBERED:
            self._shown.popitem(last=False)
        if self.output == "json":
            return json.dumps(request_data(request), ensure_ascii=False) + "\n"
        if self.output == "yaml":
            return "---\n" + data(request_data(request), "yaml")
        return self._line(request_cells(request, wide=self.output == "wide"))

    def _line(self, cells: list[str]) -> str:
        from xds.client.cli.traffic import SIZES

        sizes = [*SIZES, 8, 16][: len(cells) - 1] + [0]
        return "  ".join(cell + " " * (size - width(cell)) for cell, size in zip(cells, sizes, strict=True)) + "\n"
