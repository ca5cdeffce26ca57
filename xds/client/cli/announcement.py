"""What `byway intercept` says of a new intercept."""

from __future__ import annotations

import shlex

from xds.api.byway.manager.v1 import Intercept, SidecarStateState
from xds.client.cli.views import acknowledged, intercept_data, match_text, port_text
from xds.terminal.output import data, is_data, show, styled, warn


def curl_line(intercept: Intercept) -> str:
    """A command line that makes a request which matches; empty where the manager gave none."""
    if not intercept.curl_args:
        return ""
    *arguments, path = intercept.curl_args
    return shlex.join(["curl", *arguments, f"{intercept.base_url or _in_cluster(intercept)}{path}"])


def _in_cluster(intercept: Intercept) -> str:
    """The workload as other pods know it."""
    namespace, _, name = intercept.workload.split("/")
    port = intercept.ports[0].port if intercept.ports else 80
    return f"http://{name}.{namespace}:{port}"


def announce(intercept: Intercept, warnings: list[str], *, output: str) -> None:
    """Say what is intercepted, and who answers now."""
    curl = curl_line(intercept)
    if is_data(output):
        show(data({"intercept": intercept_data(intercept), "warnings": warnings, "curl": curl}, output))
        return
    show(summary(intercept))
    for text in warnings:
        warn(text)
    if curl:
        show(f"Try it:\n  {curl}\n")


def summary(intercept: Intercept) -> str:
    """The intercept in a few lines."""
    kind = f"{intercept.kind}, shared" if intercept.shared else intercept.kind
    answered = styled(intercept.answered_by, fg="green" if intercept.laptop_answers else "yellow")
    down = "503 from the sidecar" if intercept.when_down == "fail" else "the cluster answers"
    lines = [
        ("Port" if len(intercept.ports) == 1 else "Ports", ", ".join(port_text(port) for port in intercept.ports)),
        ("Match", match_text(intercept)),
        ("Answered by", answered),
        ("When down", down),
        ("Sidecars", sidecars_text(intercept)),
    ]
    head = f"Intercepting {intercept.workload} as {intercept.name} ({kind}, {intercept.id})\n"
    return head + "".join(f"  {label + ':':<13}{value}\n" for label, value in lines)


def sidecars_text(intercept: Intercept) -> str:
    """How many sidecars have it."""
    absent = sum(each.state == SidecarStateState.ABSENT for each in intercept.sidecars)
    if absent == len(intercept.sidecars):
        return "none is connected now; each gets it when it connects"
    return f"{acknowledged(intercept)} confirmed" + (f", {absent} not connected" if absent else "")
