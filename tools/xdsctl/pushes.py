"""Pushes and requests in words and as data. Everything that a sidecar said of itself is somebody else's words."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any

from xds.terminal.output import indented, styled, table
from xds.terminal.words import duration, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xds.api.byway.manager.v1 import GetHistoryReply, Push, TapRequestSeen

ACKED, NACKED, WAITING, CUT_OFF = "acked", "nacked", "waiting", "cut off"
COLOURS = {ACKED: "green", NACKED: "red", WAITING: "yellow", CUT_OFF: "yellow"}


def clock_text(at: float, zone: tzinfo | None = None, *, day: bool = True) -> str:
    """A moment, in local time or that of a zone: `11-20 16:28:16.123`."""
    moment = datetime.fromtimestamp(at, UTC).astimezone(zone)
    shown = moment.strftime("%m-%d %H:%M:%S" if day else "%H:%M:%S")
    return f"{shown}.{moment.microsecond // 1000:03}"


def iso(at: float) -> str:
    """A moment for programs: RFC 3339, in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def span(seconds: float) -> str:
    """A short time: `7ms`, `1.25s`, `2m30s`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    return f"{seconds:.3g}s" if seconds < 10 else duration(seconds)


def size_text(count: int) -> str:
    """A number of bytes: `312 B`, `89.4 kB`."""
    for unit, factor in (("MB", 1_000_000), ("kB", 1_000)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def changed_text(push: Push) -> str:
    """How many resources it holds and removes: `+3 -1`."""
    held, gone = len(push.resources) + push.more_resources, len(push.removed) + push.more_removed
    return " ".join([*([f"+{held}"] if held or not gone else []), *([f"-{gone}"] if gone else [])])


def answer_text(push: Push) -> str:
    """What became of it, and after how long."""
    after = f" after {span(push.answered_seconds)}" if push.outcome in {ACKED, NACKED} else ""
    return styled(push.outcome, fg=COLOURS.get(push.outcome)) + after


def resource_lines(push: Push) -> list[str]:
    """Each resource of a push with its size, and what is removed."""
    lines = [f"+ {plain(one.name)} {size_text(one.size)}" for one in push.resources]
    lines += [f"+ {push.more_resources} more"] if push.more_resources else []
    lines += [f"- {plain(name)}" for name in push.removed]
    return lines + ([f"- {push.more_removed} more"] if push.more_removed else [])


def history_text(pushes: Sequence[Push], *, wide: bool, zone: tzinfo | None = None) -> str:
    """The table of a history, and what was refused in Envoy's words below it."""
    headings = ["TIME", "TYPE", "REVISION", "RESOURCES", "SIZE", "ANSWER", *(["NONCE", "VERSION"] if wide else [])]
    rows, refusals = [], ""
    for push in pushes:
        at = clock_text(push.at, zone)
        row = [at, push.type, str(push.revision), changed_text(push), size_text(push.size), answer_text(push)]
        rows.append([*row, *([push.nonce, push.version] if wide else []), plain("; ".join(push.reasons))])
        if wide:
            # The names of a push stand below it, in the last column.
            rows += [[" "] * (len(row) + 2) + [line] for line in resource_lines(push)]
        if push.nack:
            refusals += f"\nRefused {push.type} at {at}:\n{indented(chr(10).join(map(plain, push.nack.splitlines())))}"
    return table([*headings, "REASON"], rows) + refusals


def push_data(push: Push) -> dict[str, Any]:
    """A push for programs."""
    answered = push.outcome in {ACKED, NACKED}
    return {
        "time": iso(push.at),
        "type": push.type,
        "nonce": push.nonce,
        "version": push.version,
        "revision": push.revision,
        "size": push.size,
        "resources": [{"name": one.name, "version": one.version, "size": one.size} for one in push.resources],
        "more_resources": push.more_resources,
        "removed": list(push.removed),
        "more_removed": push.more_removed,
        "reasons": list(push.reasons),
        "outcome": push.outcome,
        "answered_seconds": round(push.answered_seconds, 6) if answered else None,
        "nack": push.nack,
    }


def history_data(reply: GetHistoryReply) -> dict[str, Any]:
    """A history for programs."""
    return {"node": reply.node, "connected": reply.connected, "pushes": [push_data(one) for one in reply.pushes]}


def request_data(seen: TapRequestSeen) -> dict[str, Any]:
    """A request for programs."""
    return {
        "time": iso(seen.at),
        "type": seen.type,
        "meaning": seen.meaning,
        "nonce": seen.nonce,
        "version": seen.version,
        "size": seen.size,
        "names": list(seen.names),
        "more_names": seen.more_names,
        "unsubscribed": list(seen.unsubscribed),
        "kept": seen.kept,
        "after_seconds": round(seen.after_seconds, 6) if seen.after_seconds is not None else None,
        "error": seen.error,
    }
