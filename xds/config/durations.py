"""Durations as Go writes them, which is how the settings' users know them: `10m`, `24h`, `1h30m`, `500ms`.

The grammar is that of Go's time.ParseDuration (https://pkg.go.dev/time#ParseDuration) without the sign.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5, micro sign
    "μs": 1_000,  # U+03BC, Greek letter mu
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_TERM: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([^0-9.]*)")
_LONGEST: Final = 2**63 - 1
"""In nanoseconds, 292 years: Go's limit."""


class DurationError(ValueError):
    """`reason` says what is wrong with the text, `str()` also which text."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"{text!r} is no duration such as 10m, 24h or 1h30m: {reason}")
        self.reason = reason


def parse_duration(text: str) -> float:
    """The seconds of `10m`, `24h`, `1h30m`, `90s`, `1.5h`, `500ms`; `0` needs no unit. Never negative.

    Raises DurationError, also for a number without unit: nobody can tell seconds from minutes there.
    """
    if len(text) > 64:
        raise DurationError(f"{text[:64]}…", "it is too long")
    if text == "0":
        return 0.0
    if text.startswith("-"):
        raise DurationError(text, "it can't be negative")
    total, position = 0, 0
    while position < len(text) or not text:
        term = _TERM.match(text, position)
        if term is None:
            raise DurationError(text, "a number comes first, then a unit (ms, s, m or h)")
        total += int(Decimal(term[1]) * _unit(text, term[1], term[2]))
        position = term.end()
    if total > _LONGEST:
        raise DurationError(text, "it is longer than 292 years")
    return total / 1e9


def _unit(text: str, number: str, unit: str) -> int:
    if not unit:
        raise DurationError(text, f"the unit is missing; write {number}s, {number}m or {number}h")
    if unit not in _UNITS:
        instead = f"{24 * int(number)}h" if unit in {"d", "day", "days"} and number.isdigit() else "ms, s, m or h"
        raise DurationError(text, f"{unit!r} is no unit; write {instead}")
    return _UNITS[unit]


def format_duration(seconds: float) -> str:
    """The shortest usual form, `1h30m`, rounded to nanoseconds; what `parse_duration` reads back."""
    total = round(seconds * 1e9)
    if 0 < total < _UNITS["s"] and total % _UNITS["ms"] == 0:
        return f"{total // _UNITS['ms']}ms"
    hours, rest = divmod(total, _UNITS["h"])
    minutes, rest = divmod(rest, _UNITS["m"])
    whole, fraction = divmod(rest, _UNITS["s"])
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    parts = (f"{hours}h" if hours else "", f"{minutes}m" if minutes else "", f"{whole}{digits}s" if rest else "")
    return "".join(parts) or "0s"
