"""The audit log: who did what to whose intercepts, one JSON object per line.

It is for people after the fact, so it never stands in the way of what it tells of: a line that can't be written is
counted and complained of once, and the command goes on. Lines are pure ASCII with everything else escaped, so that a
reason typed by a user can neither end its line, nor forge another, nor speak to the reader's terminal.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from xds.registry.change import Event
from xds.registry.conditions import to_flags
from xds.registry.intercept import Intercept

MAX_BYTES: Final = 10 * 1024 * 1024
"""The log is rotated before it grows beyond this."""
KEPT: Final = 5
"""Rotated files that are kept: `NAME.1` is the newest of them."""

_log = logging.getLogger(__name__)


class AuditLog:
    """Appends to the file at `path` (0600), which is rotated by size. For one process; never raises OSError.

    `failed` counts the lines that could not be written.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, kept: int = KEPT) -> None:
        self.path = path
        self.failed = 0
        self._max_bytes = max_bytes
        self._kept = kept
        self._file = -1
        self._size = 0
        self._lost = 0

    def write(self, events: Iterable[Event], *, peer: str = "", wall_time: float) -> None:
        """Append a line per event. `peer` is the address that asked, `wall_time` Unix time in seconds."""
        for event in events:
            fields: dict[str, object] = {"event": event.kind.value}
            if event.intercept is not None:
                fields |= _of_intercept(event.intercept)
            fields |= {
                "session": event.session.id,
                "owner": event.session.owner,
                "by": event.by,
                "text": event.text,
                "from": peer,
            }
            self._append(fields, wall_time)

    def note(self, event: str, text: str, *, wall_time: float) -> None:
        """Append a line on Byway itself, what was wrong with its store say."""
        self._append({"event": event, "by": "byway", "text": text}, wall_time)

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _append(self, fields: dict[str, object], wall_time: float) -> None:
        time = datetime.fromtimestamp(wall_time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        # json leaves DEL alone, which some terminals act on.
        line = json.dumps({"time": time, **fields}).replace("\x7f", "\\u007f").encode("ascii") + b"\n"
        try:
            self._write_line(line)
        except OSError as error:
            self.failed += 1
            self._lost += 1
            if self._lost == 1:
                _log.error("the audit log %s can't be written (%s); lines are lost until it can", self.path, error)
            # Opened anew next time: the directory may be another one by then.
            self.close()
            return
        if self._lost:
            _log.warning("the audit log %s is written again; %d lines were lost", self.path, self._lost)
            self._lost = 0

    def _write_line(self, line: bytes) -> None:
        if self._file < 0 or self._moved():
            self._open()
        if self._size and self._size + len(line) > self._max_bytes:
            self._rotate()
        written = os.write(self._file, line)
        if written != len(line):
            # Room for half a line: taken back, or the next line would be glued to it.
            os.ftruncate(self._file, self._size)
            raise OSError("there is no room for a whole line")
        self._size += written

    def _open(self) -> None:
        self.close()
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.fchmod(self._file, 0o600)
        self._size = os.fstat(self._file).st_size
        # A machine that died may have left half a line.
        if self._size and os.pread(self._file, 1, self._size - 1) != b"\n":
            self._size += os.write(self._file, b"\n")

    def _moved(self) -> bool:
        """Whether somebody else (logrotate) has moved or removed the file."""
        try:
            return not os.path.samestat(self.path.stat(), os.fstat(self._file))
        except FileNotFoundError:
            return True

    def _rotate(self) -> None:
        self.close()
        for number in range(self._kept, 0, -1):
            older = self._numbered(number)
            newer = self._numbered(number - 1) if number > 1 else self.path
            with suppress(FileNotFoundError):
                newer.replace(older)
        self._open()

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


def _of_intercept(intercept: Intercept) -> dict[str, object]:
    spec = intercept.spec
    return {
        "intercept": intercept.id,
        "name": spec.name,
        "workload": str(spec.workload),
        "kind": spec.kind.value,
        "match": to_flags(spec.match),
    }
