"""The manager's log: lines for people or JSON for machines, with the public ids of what each line is about as fields.

A field is what `extra=` gives to a log call. No token is ever one, and what users typed (a reason, a name) can neither
end its line nor speak to the reader's terminal.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from xds.registry.change import Change, Event

FIELDS: Final = ("intercept", "session", "workload", "peer")
"""The fields that a line may have, in this order."""

log = logging.getLogger(__name__)

_CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}


def configure(style: str | None, *, verbose: bool) -> None:
    """Log to standard error, as `text` or `json`; where nothing is said, text on a terminal and JSON elsewhere."""
    handler = logging.StreamHandler()
    style = style or ("text" if sys.stderr.isatty() else "json")
    handler.setFormatter(JsonLines() if style == "json" else TextLines())
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True)


class TextLines(logging.Formatter):
    """`TIME LEVEL LOGGER: message (intercept=… session=…)`; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        found = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        line = f"{_time(record)} {record.levelname} {record.name}: {record.getMessage()}" + (
            f" ({found})" * bool(found)
        )
        return "\n".join([line.translate(_CONTROLS), *filter(None, [self._trace(record)])])

    def _trace(self, record: logging.LogRecord) -> str:
        return self.formatException(record.exc_info) if record.exc_info else ""


class JsonLines(logging.Formatter):
    """One JSON object per line: time, level, logger, message, the fields, and a traceback as `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        line: dict[str, str] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # json leaves DEL alone, which some terminals act on.
        return json.dumps(line).replace("\x7f", "\\u007f")


def fields_of(change: Change) -> Mapping[str, str]:
    """The intercepts and sessions that a change is about, as fields: ids, with commas where there are several."""
    intercepts = sorted(change.intercepts)
    sessions = {one.session for one in change.intercepts.values() if one} | {*change.sessions}
    sessions |= {event.session.id for event in change.events}
    found = {"intercept": ",".join(intercepts), "session": ",".join(sorted(sessions))}
    return {name: ids for name, ids in found.items() if ids}


def log_events(events: Iterable[Event], peer: str) -> None:
    """A line for each thing that happened to a session or an intercept."""
    for event in events:
        fields = {"session": event.session.id, "peer": peer}
        what = event.session.owner
        if event.intercept is not None:
            spec = event.intercept.spec
            fields |= {"intercept": event.intercept.id, "workload": str(spec.workload)}
            what = f"{spec.name!r} of {what}"
        by = f" by {event.by}" if event.by and event.by != event.session.owner else ""
        log.info("%s: %s%s%s", event.kind, what, by, f": {event.text}" if event.text else "", extra=fields)


def _fields(record: logging.LogRecord) -> dict[str, str]:
    found = {name: getattr(record, name, "") for name in FIELDS}
    return {name: str(value) for name, value in found.items() if value}


def _time(record: logging.LogRecord) -> str:
    stamp = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return stamp.replace("+00:00", "Z")
