"""`byway list`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from xds.client.cli.telepresence import KnowingCommand
from xds.paths import StateDir
from xds.terminal.options import common
from xds.terminal.output import data, is_data, note, show

if TYPE_CHECKING:
    from xds.api.byway.manager.v1 import Intercept, Workload


@click.command("list", cls=KnowingCommand, short_help="List workloads, or intercepts.")
@click.option("-n", "--namespace", default="", metavar="NAMESPACE", help="Of this namespace only.")
@click.option("-i", "--intercepts", is_flag=True, help="List your intercepts instead of workloads.")
@click.option("-a", "--all", "everybody", is_flag=True, help="List everybody's intercepts.")
@common
def list_(namespace: str, intercepts: bool, everybody: bool, state: StateDir, output: str) -> None:
    """List what can be intercepted, or the intercepts that there are.

    \b
    Examples:
      byway list                  workloads, and your intercepts of them
      byway list --intercepts     your intercepts, and who answers them now
      byway list --all -o wide    everybody's, with everything about them
      byway list -i -o wide       how many requests yours took, and how quickly they were answered

    \b
    JSON:
      workloads [{id, ports, instances, connected, status, mine, others}], or
      intercepts [{id, name, owner, mine, workload, kind, shared, match_flags, when_down,
        ports [{port, port_name, target, target_state, target_detail}], disposition, reason,
        answered_by, laptop_answers, owner_idle_seconds, displaced_by, displaced_seconds,
        sidecars [{instance, state, detail}], curl_args, session_id,
        traffic {total, statuses, served_by, p50_seconds, p99_seconds} (null where it isn't yours)}]
    """
    from xds.client.cli.views import (
        intercept_data,
        intercepts_table,
        workload_data,
        workloads_table,
    )

    wide = output == "wide"
    if intercepts or everybody:
        found = get_intercepts(state, namespace=namespace, everybody=everybody)
        if is_data(output):
            show(data({"intercepts": [intercept_data(each) for each in found]}, output))
        elif found:
            show(intercepts_table(found, wide=wide, owners=everybody))
        else:
            note("There are no intercepts" if everybody else "You have no intercepts")
        return
    workloads = get_workloads(state, namespace=namespace)
    if is_data(output):
        show(data({"workloads": [workload_data(each) for each in workloads]}, output))
    elif workloads:
        show(workloads_table(workloads, wide=wide))
    else:
        note(f"There are no workloads in namespace {namespace}" if namespace else "There are no workloads")


def get_intercepts(state: StateDir, *, namespace: str, everybody: bool) -> list[Intercept]:
    """Ask the manager for intercepts. Raises FailureError."""
    import grpc.aio

    from xds.api.byway.manager.v1 import ListInterceptsRequest
    from xds.api.services import Manager
    from xds.client.cli.api import CALL_TIMEOUT, call_daemon

    async def body(channel: grpc.aio.Channel) -> list[Intercept]:
        request = ListInterceptsRequest(all=everybody, namespace=namespace)
        return list((await Manager.LIST_INTERCEPTS(channel, request, timeout=CALL_TIMEOUT)).intercepts)

    return call_daemon(state, body)


def get_workloads(state: StateDir, *, namespace: str) -> list[Workload]:
    """Ask the manager for workloads. Raises FailureError."""
    import grpc.aio

    from xds.api.byway.manager.v1 import ListWorkloadsRequest
    from xds.api.services import Manager
    from xds.client.cli.api import CALL_TIMEOUT, call_daemon

    async def body(channel: grpc.aio.Channel) -> list[Workload]:
        request = ListWorkloadsRequest(namespace=namespace)
        return list((await Manager.LIST_WORKLOADS(channel, request, timeout=CALL_TIMEOUT)).workloads)

    return call_daemon(state, body)
