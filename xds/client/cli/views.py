"""The manager's messages as data for programs (stable snake_case keys) and as rows for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xds.api.byway.manager.v1 import (
    Intercept,
    PortMapping,
    Session,
    SidecarState,
    SidecarStateState,
    TargetStateState,
    Workload,
)
from xds.client.cli.traffic import TRAFFIC, traffic_cells, traffic_data
from xds.client.words import target
from xds.terminal.output import styled, table
from xds.terminal.words import duration, plain


def seconds(value: float) -> float:
    """Nobody needs more than tenths."""
    return round(value, 1)


def target_state(value: int) -> str:
    """`listening`, `not_listening`, `stopped`, `unknown`."""
    return TargetStateState(value).name.lower() if value in set(TargetStateState) else "unknown"


def sidecar_state(value: int) -> str:
    """`acked`, `nacked`, `waiting`, `absent`."""
    return SidecarStateState(value).name.lower() if value in set(SidecarStateState) else "absent"


def port_data(port: PortMapping) -> dict[str, Any]:
    """A port of an intercept."""
    return {
        "port": port.port,
        "port_name": port.port_name,
        "target": target(port.target),
        "target_state": target_state(port.target_state),
        "target_detail": port.target_detail,
    }


def sidecar_data(sidecar: SidecarState) -> dict[str, Any]:
    """How far a sidecar is with an intercept."""
    return {"instance": sidecar.instance, "state": sidecar_state(sidecar.state), "detail": sidecar.detail}


def intercept_data(intercept: Intercept) -> dict[str, Any]:
    """An intercept."""
    return {
        "id": intercept.id,
        "name": intercept.name,
        "owner": intercept.owner,
        "mine": intercept.mine,
        "session_id": intercept.session_id,
        "workload": intercept.workload,
        "kind": intercept.kind,
        "shared": intercept.shared,
        "when_down": intercept.when_down,
        "match_flags": list(intercept.match_flags),
        "ports": [port_data(port) for port in intercept.ports],
        "disposition": intercept.disposition,
        "reason": intercept.reason,
        "answered_by": intercept.answered_by,
        "laptop_answers": intercept.laptop_answers,
        "owner_idle_seconds": seconds(intercept.owner_idle_seconds),
        "displaced_by": intercept.displaced_by,
        "displaced_seconds": seconds(intercept.displaced_seconds),
        "sidecars": [sidecar_data(sidecar) for sidecar in intercept.sidecars],
        "curl_args": list(intercept.curl_args),
        "traffic": traffic_data(intercept.traffic) if intercept.traffic is not None else None,
    }


def workload_data(workload: Workload) -> dict[str, Any]:
    """A workload."""
    return {
        "id": workload.id,
        "ports": [{"number": port.number, "name": port.name, "protocol": port.protocol} for port in workload.ports],
        "instances": list(workload.instances),
        "connected": list(workload.connected),
        "status": workload_status(workload),
        "mine": list(workload.mine),
        "others": workload.others,
    }


def session_data(session: Session) -> dict[str, Any]:
    """A session, without its intercepts."""
    return {
        "id": session.id,
        "user": session.user,
        "host": session.host,
        "epoch": session.epoch,
        "idle_seconds": seconds(session.idle_seconds),
        "present": session.present,
        "inactive": session.inactive,
        "expires_in_seconds": seconds(session.expires_in_seconds),
    }


def workload_status(workload: Workload) -> str:
    """Whether it can be intercepted, in words."""
    if not workload.ports:
        return "has no ports"
    if not workload.instances:
        return "not running"
    if not workload.connected:
        return "no sidecar connected"
    if len(workload.connected) < len(workload.instances):
        return f"ready on {len(workload.connected)} of {len(workload.instances)}"
    return "ready"


def own_and_others(workload: Workload) -> str:
    """Who intercepts it."""
    parts = [f"{name} (yours)" for name in workload.mine]
    if workload.others:
        parts.append(f"{workload.others} other{'s' if workload.others > 1 else ''}")
    return ", ".join(parts)


def ports_text(workload: Workload) -> str:
    """`8080 (http), 9090`."""
    return ", ".join(f"{port.number} ({port.name})" if port.name else str(port.number) for port in workload.ports)


def workloads_table(workloads: Iterable[Workload], *, wide: bool) -> str:
    """Workloads, a row each."""
    headings = ["WORKLOAD", "PORTS", "STATUS", "INTERCEPTS"]
    rows = []
    for each in workloads:
        status = workload_status(each)
        shown = styled(status, fg="green" if status == "ready" else "yellow")
        row = [each.id, ports_text(each), shown, own_and_others(each)]
        if wide:
            row += [", ".join(f"{port.number}={port.protocol or 'unknown'}" for port in each.ports)]
            row += [", ".join(each.instances), ", ".join(each.connected)]
        rows.append(row)
    return table([*headings, *(["PROTOCOLS", "INSTANCES", "CONNECTED"] if wide else [])], rows)


def state_text(intercept: Intercept) -> str:
    """The disposition, with what made it so."""
    if intercept.disposition == "displaced":
        by = f" by {intercept.displaced_by}" if intercept.displaced_by else ""
        return styled(f"displaced{by} {duration(intercept.displaced_seconds)} ago", fg="yellow")
    if intercept.disposition == "rejected":
        return styled(f"rejected: {plain(intercept.reason)}" if intercept.reason else "rejected", fg="red")
    return styled(intercept.disposition, fg="green" if intercept.disposition == "active" else "yellow")


def match_text(intercept: Intercept) -> str:
    """The flags of the match; what it takes where there are none."""
    if intercept.match_flags:
        return " ".join(intercept.match_flags)
    return "everything" + (" unclaimed" if intercept.shared else "")


def port_text(port: PortMapping) -> str:
    """`8080 (http) → localhost:9101`."""
    number = f"{port.port} ({port.port_name})" if port.port_name else str(port.port)
    return f"{number} → {target(port.target)}"


def acknowledged(intercept: Intercept) -> str:
    """`2/2`: sidecars that acknowledged, of those that are connected."""
    live = [each for each in intercept.sidecars if each.state != SidecarStateState.ABSENT]
    return f"{sum(each.state == SidecarStateState.ACKED for each in live)}/{len(live)}"


def intercepts_table(intercepts: Iterable[Intercept], *, wide: bool, owners: bool) -> str:
    """Intercepts, a row each."""
    intercepts = list(intercepts)
    counted = any(each.traffic is not None for each in intercepts)
    headings = ["NAME", "WORKLOAD", "PORTS", "MATCH", "STATE", "ANSWERED BY"]
    if owners:
        headings = ["ID", "OWNER", "IDLE", *headings]
    if wide:
        headings += ["KIND", "WHEN DOWN", "SIDECARS", *(TRAFFIC if counted else []), *([] if owners else ["ID"])]
    rows = []
    for each in intercepts:
        answered = styled(plain(each.answered_by), fg="green" if each.laptop_answers else "yellow")
        ports = ", ".join(port_text(port) for port in each.ports)
        row = [each.name, each.workload, ports, match_text(each), state_text(each), answered]
        if owners:
            row = [each.id, f"{each.owner} (you)" if each.mine else each.owner, duration(each.owner_idle_seconds), *row]
        if wide:
            kind = f"{each.kind}, shared" if each.shared else each.kind
            row += [kind, each.when_down, acknowledged(each), *(traffic_cells(each.traffic) if counted else [])]
            row += [] if owners else [each.id]
        rows.append(row)
    return table(headings, rows)
