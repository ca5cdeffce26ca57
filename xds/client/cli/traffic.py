"""Requests of an intercept as data for programs and as columns for people.

No control characters come through: a request's path is whatever its client chose to send.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from xds.api.byway.manager.v1 import InterceptedRequest, Traffic
from xds.terminal.output import styled
from xds.terminal.words import duration, plain

HEADINGS = ("TIME", "METHOD", "STATUS", "DURATION", "ANSWERED BY", "PATH")
TRAFFIC = ("REQUESTS", "CODES", "P50", "P99")
WIDE = ("PROTOCOL", "INSTANCE")
SIZES = (12, 7, 6, 8, 11)
"""Widths of columns that are printed line by line; the path is last, however long it is."""

# https://grpc.github.io/grpc/core/md_doc_statuscodes.html
GRPC = ("OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED "
        "RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS "
        "UNAUTHENTICATED").split()  # fmt: skip


def path_text(request: InterceptedRequest) -> str:
    """The path, with what would not be printed, or would move the cursor, percent-encoded as in a URL."""
    return "".join(each if each.isprintable() else quote(each) for each in request.path)


def request_data(request: InterceptedRequest) -> dict[str, Any]:
    """A request."""
    return {
        "number": request.number,
        "time": datetime.fromtimestamp(request.started).astimezone().isoformat(timespec="milliseconds"),
        "method": request.method or None,
        "path": path_text(request),
        "protocol": request.protocol or None,
        "status": request.status or None,
        "grpc_status": grpc_status(request) or None,
        "duration_seconds": round(request.duration_seconds, 6),
        "open": request.open,
        "answered_by": request.served_by or None,
        "instance": request.instance,
    }


def grpc_status(request: InterceptedRequest) -> str:
    """By name; empty where there is none."""
    number = request.grpc_status
    return "" if number < 0 else GRPC[number] if number < len(GRPC) else str(number)


def request_cells(request: InterceptedRequest, *, wide: bool) -> list[str]:
    """A request as a row."""
    by = request.served_by or "-"
    colour = {"laptop": "green", "cluster": "yellow"}.get(by, "red")
    cells = [
        datetime.fromtimestamp(request.started).astimezone().strftime("%H:%M:%S.%f")[:-3],
        plain(request.method) or "-",
        status_text(request),
        took(request.duration_seconds) + ("…" if request.open else ""),
        styled(by, fg=colour),
        path_text(request),
    ]
    return [*cells[:-1], plain(request.protocol), plain(request.instance), cells[-1]] if wide else cells


def status_text(request: InterceptedRequest) -> str:
    """`200`, or `grpc OK`; what there is instead while there is none."""
    if grpc := grpc_status(request):
        return styled(f"grpc {grpc}", fg="green" if grpc == "OK" else "red")
    if not request.status:
        return "open" if request.open else "gone"
    colour = "red" if request.status >= 500 else "yellow" if request.status >= 400 else "green"
    return styled(str(request.status), fg=colour)


def took(seconds: float) -> str:
    """`0.4ms`, `12ms`, `3.4s`, `2m30s`."""
    if seconds < 0.00995:
        return f"{seconds * 1000:.1f}ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    return f"{seconds:.1f}s" if seconds < 60 else duration(seconds)


def headings(*, wide: bool) -> list[str]:
    """Of the columns."""
    return [*HEADINGS[:-1], *WIDE, HEADINGS[-1]] if wide else list(HEADINGS)


def traffic_data(traffic: Traffic) -> dict[str, Any]:
    """Counts; by status as text, since JSON has no other keys. 0: the client went away before an answer."""
    return {
        "total": traffic.total,
        "statuses": {str(status): count for status, count in sorted(traffic.statuses.items())},
        "served_by": {who or "nobody": count for who, count in sorted(traffic.served_by.items())},
        "p50_seconds": round(traffic.p50_seconds, 6),
        "p99_seconds": round(traffic.p99_seconds, 6),
    }


def codes(traffic: Traffic) -> str:
    """`12 2xx, 1 5xx`."""
    classes: Counter[str] = Counter()
    for status, count in sorted(traffic.statuses.items()):
        classes[f"{status // 100}xx" if status else "gone"] += count
    return ", ".join(f"{count} {name}" for name, count in sorted(classes.items()))


def traffic_cells(traffic: Traffic | None) -> Sequence[str]:
    """How many, their codes, p50 and p99; empty where it isn't ours to know, or there were none."""
    if traffic is None:
        return ("", "", "", "")
    some = traffic.p50_seconds > 0
    latencies = (took(traffic.p50_seconds), took(traffic.p99_seconds)) if some else ("", "")
    return (str(traffic.total), codes(traffic), *latencies)
