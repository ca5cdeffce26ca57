"""What is wrong with a configuration, told as a compiler tells it.

Every problem has one form: where it is, what was expected there, what was found, and, where that helps, what to do.
A reader reports a problem and reads on, so that one run shows all of them.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

SHOWN = 60
"""A value in a message is cut after this many characters."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `line` and `column` count from 1; 0 means the file as a whole, or no file at all.

    `key` is the path of keys, `workloads[0].ports[1].port`; empty for what concerns the file or its syntax.
    """

    file: str
    line: int
    column: int
    key: str
    expected: str
    found: str
    hint: str = ""

    @property
    def message(self) -> str:
        """The sentence without the place."""
        return f"expected {self.expected}, found {self.found}" + (f"; {self.hint}" if self.hint else "")

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return ": ".join(part for part in (place, self.key, self.message) if part)

    def as_dict(self) -> dict[str, str | int]:
        """For JSON: every field, and the message."""
        return {**asdict(self), "message": self.message}


class ConfigError(Exception):
    """A configuration that can't be used, with everything that is wrong with it, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))

    def as_json(self) -> str:
        """A JSON list of the problems."""
        return json.dumps([problem.as_dict() for problem in self.problems], ensure_ascii=False)


def shown(text: str) -> str:
    """Text in quotes, on one line, cut when long, with nothing in it that a terminal would act on."""
    cut = text if len(text) <= SHOWN else text[:SHOWN] + "…"
    quoted = json.dumps(cut, ensure_ascii=False)
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in quoted)


def closest(word: str, known: Iterable[str]) -> str:
    """The word that a misspelt one was probably meant to be, or nothing. Letter case never matters."""
    by_lower = {name.lower(): name for name in known}
    # difflib's time grows with the square of the length, and what is long is no slip of the finger.
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6) if len(word) <= SHOWN else []
    return by_lower[close[0]] if close else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint for a misspelt word, or nothing."""
    meant = closest(word, known)
    return f"did you mean {shown(meant)}?" if meant else ""
