"""What commands print: tables in kubectl's manner for people, JSON and YAML for programs.

Tables have no lines, only columns two blanks apart, and are never cut. Colours appear on a terminal alone, and not
where NO_COLOR is set (https://no-color.org).
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, Any, Literal, TypeVar

import click

Format = Literal["table", "wide", "json", "yaml"]
FORMATS: tuple[Format, ...] = ("table", "wide", "json", "yaml")
F = TypeVar("F", bound=Callable[..., Any])


def is_data(output: str) -> bool:
    """Whether programs read it."""
    return output in {"json", "yaml"}


def colours(stream: IO[str]) -> bool:
    """Whether a stream takes colours."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def styled(text: str, *, stream: IO[str] | None = None, **style: Any) -> str:
    """A text in colour where the stream takes it."""
    return click.style(text, **style) if colours(stream or sys.stdout) else text


def width(text: str) -> int:
    """The columns that a text takes on a terminal."""
    plain = click.unstyle(text)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in plain
    )


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as text, with a final newline. An empty cell is shown as `-`."""
    lines = [list(headings), *([cell or "-" for cell in row] for row in rows)]
    widths = [max(width(line[column]) for line in lines) for column in range(len(headings))]
    return "".join(
        "  ".join(cell + " " * (size - width(cell)) for cell, size in zip(line, widths, strict=True)).rstrip() + "\n"
        for line in lines
    )


def pairs(values: Iterable[tuple[str, str]]) -> str:
    """Names and values, a line each, with a final newline; an empty value is left out. One without a name goes on with
    the one before."""
    kept = [(f"{name}:" if name else "", value) for name, value in values if value]
    size = max((width(name) for name, _ in kept), default=0)
    return "".join(f"{name}{' ' * (size - width(name))}  {value}\n" for name, value in kept)


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


def show(text: str) -> None:
    """Print to stdout."""
    sys.stdout.write(text)
    sys.stdout.flush()


def note(text: str) -> None:
    """Print a line to stderr: what a program that reads stdout must not see."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def warn(text: str) -> None:
    """Print a warning to stderr."""
    note(f"{styled('Warning:', stream=sys.stderr, fg='yellow')} {text}")
