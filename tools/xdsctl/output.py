"""What commands print: tables in kubectl's manner for people, JSON and YAML for programs.

Tables have no lines, only columns two blanks apart, and are never cut. Colours appear on a terminal alone, and not
where NO_COLOR is set (https://no-color.org).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

import click

FORMATS = ("table", "wide", "json", "yaml")
GOOD, WAITING, BAD = "green", "yellow", "red"


def is_data(output: str) -> bool:
    """Whether programs read it."""
    return output in {"json", "yaml"}


def styled(text: str, colour: str, *, stream: IO[str] | None = None) -> str:
    """A text in colour where the stream takes it."""
    to = stream or sys.stdout
    plain = not to.isatty() or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return text if plain else click.style(text, fg=colour)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as text, with a final newline. An empty cell is shown as `-`."""
    lines = [list(headings), *([cell or "-" for cell in row] for row in rows)]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(headings))]
    return "".join(
        "  ".join(cell + " " * (size - _width(cell)) for cell, size in zip(line, widths, strict=True)).rstrip() + "\n"
        for line in lines
    )


def _width(text: str) -> int:
    return len(click.unstyle(text))


def pairs(values: Iterable[tuple[str, str]]) -> str:
    """Names and values, a line each, with a final newline; an empty value is left out."""
    kept = [(name, value) for name, value in values if value]
    size = max((len(name) for name, _ in kept), default=0)
    return "".join(f"{name}:{' ' * (size - len(name))}  {value}\n" for name, value in kept)


def indented(text: str) -> str:
    """Somebody else's words, below ours."""
    return "".join(f"  {line}\n" for line in text.strip().splitlines())


def data(value: Mapping[str, Any], output: str) -> str:
    """A value as JSON or YAML, with a final newline."""
    if output == "yaml":
        import yaml

        class Dumper(yaml.SafeDumper):
            """Writes what occurs twice twice: nobody wants to read `*id001`."""

            def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  yaml's signature
                return True

        text: str = yaml.dump(dict(value), Dumper=Dumper, sort_keys=False, allow_unicode=True)
        return text
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def duration(seconds: float) -> str:
    """Two units at most: `5s`, `12m`, `23h59m`, `2d4h`. Negative counts as zero."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    minutes, whole = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{whole}s" if minutes < 10 and whole else f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h{minutes}m" if minutes else f"{hours}h"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours}h" if hours else f"{days}d"


def show(text: str) -> None:
    """Print to stdout."""
    sys.stdout.write(text)
    sys.stdout.flush()


def note(text: str) -> None:
    """Print a line to stderr: what a program that reads stdout must not see."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
