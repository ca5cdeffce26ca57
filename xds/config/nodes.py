"""What a YAML document becomes here: a tree that remembers where everything stands, and texts as they were written.

So `env: {VERSION: 1.10}` stays 1.10, and a user called `no` isn't False.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from xds.config.problems import Problem, shown

MAX_VALUES: Final = 1_000_000
"""Of one file, with its aliases expanded: a few lines of aliases to aliases could stand for billions."""


class Mark(NamedTuple):
    """A place in the file, both from 1; zeros where there is none."""

    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    """One value, as written. `kind` is what YAML takes it for: str, int, float, bool or null."""

    mark: Mark
    text: str
    kind: str = "str"
    quoted: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """A list."""

    mark: Mark
    items: list[Node] = field(default_factory=list)


class Entry(NamedTuple):
    """What a mapping has for a key; the mark is the key's."""

    mark: Mark
    value: Node


@dataclass(frozen=True, slots=True, eq=False)
class Mapping:
    """A mapping, by the text of its keys as written."""

    mark: Mark
    entries: dict[str, Entry] = field(default_factory=dict)


Node = Scalar | Sequence | Mapping


@dataclass(slots=True)
class Context:
    """What reading one file collects."""

    file: str
    problems: list[Problem] = field(default_factory=list)
    values: int = 0

    def report(self, mark: Mark, key: str, expected: str, found: str, hint: str = "") -> None:
        """Note a problem and go on."""
        self.problems.append(Problem(self.file, mark.line, mark.column, key, expected, found, hint))

    def spend(self, count: int, mark: Mark, key: str) -> None:
        """Count values. Raises StopReadingError, with the problem noted, when there are more than any real file has."""
        self.values += count
        if self.values > MAX_VALUES:
            self.report(mark, key, f"at most {MAX_VALUES:,} values", "more", "look for an alias that repeats too much")
            raise StopReadingError


class StopReadingError(Exception):
    """What follows can't be read, or not with sense; the problem has been noted."""


def joined(path: str, key: str) -> str:
    """The path of a key below another."""
    if not key or not key.isascii() or not key.isprintable() or set(key) & set('.[]" '):
        return f"{path}[{shown(key)}]"
    return f"{path}.{key}" if path else key
