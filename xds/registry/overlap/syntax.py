"""Reads RE2 syntax into a tree, as far as values that a request can carry can tell the difference.

The expression has been accepted by RE2 before, so this need not find errors. Whatever matches one character (a class,
an escape, `.`) is not interpreted here: RE2 itself is asked which bytes it matches. Among these bytes there
are no line ends, so that `^` and `\\A`, `$` and `\\z` mean the same with or without `(?m)`, and `(?s)` has no effect;
laziness and captures do not change which whole strings match.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

from xds.registry.regex import compiled

ALPHABET: Final = bytes(byte for byte in range(0x20, 0x100) if byte != 0x7F)
"""Every byte of a header value but the tab. A character is a byte here, as it is for the data plane."""
ANY: Final = sum(1 << byte for byte in ALPHABET)
"""A set of bytes is an integer with bit n for the byte n."""
_DEEPEST: Final = 60


class UnsupportedError(Exception):
    """The expression can't be translated; the message says which part."""


class Where(Enum):
    """What an assertion asks of the place it stands at."""

    BEGIN = "^"
    END = "$"
    BOUNDARY = r"\b"
    NO_BOUNDARY = r"\B"


@dataclass(frozen=True, slots=True)
class Chars:
    """One byte out of a set."""

    mask: int


@dataclass(frozen=True, slots=True)
class Assert:
    """The empty string, at some places only."""

    where: Where


@dataclass(frozen=True, slots=True)
class Concat:
    """One after the other; without parts the empty string."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Alternate:
    """Any of them."""

    options: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """`least` to `most` times; `most` None is without end."""

    node: Node
    least: int
    most: int | None


Node = Chars | Assert | Concat | Alternate | Repeat
EMPTY: Final = Concat(())
ANYTHING: Final = Repeat(Chars(ANY), 0, None)


def parse(expression: str) -> Node:
    """The tree of an expression that RE2 accepts; raises UnsupportedError."""
    if not expression.isascii():
        raise UnsupportedError("the expression is not ASCII")
    return _Parser(expression).whole()


def wrapped(expression: str) -> Node:
    """The tree of the stored form, `.*(?:E).*`."""
    return Concat((ANYTHING, parse(expression), ANYTHING))


def literal(text: str) -> Node:
    """The tree that matches this text alone; raises UnsupportedError for control characters."""
    return Concat(tuple(Chars(_bit(byte)) for byte in text.encode("utf-8", "surrogateescape")))


def mandatory(node: Node) -> int:
    """Characters without which no string matches (some of them, not always all)."""
    match node:
        case Chars(mask):
            return mask if mask.bit_count() == 1 else 0
        case Concat(parts):
            found = 0
            for part in parts:
                found |= mandatory(part)
            return found
        case Alternate(options):
            found = ANY
            for option in options:
                found &= mandatory(option)
            return found
        case Repeat(inner, least, _):
            return mandatory(inner) if least else 0
        case Assert():
            return 0


_TOKEN: Final = re.compile(
    r"""
      (?P<quoted>  \\Q (?P<text>.*?) (?:\\E|\Z) )
    | (?P<end>     \\E )
    | (?P<assert>  \\[AzbB] | [\^$] )
    | (?P<single>  \\[pP](?:\{[^}]*\}|.) | \\x(?:\{[^}]*\}|..) | \\[0-7]{1,3} | \\. | \.
                 | \[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\] )
    | (?P<group>   \( (?: \?P?<\w+> | \?(?P<flags>[imsU]*(?:-[imsU]+)?)(?P<scope>[:)]) )? )
    | (?P<close>   \) )
    | (?P<or>      \| )
    | (?P<repeat>  (?: [*+?] | \{(?P<least>\d+)(?P<comma>,)?(?P<most>\d+)?\} ) \?? )
    | (?P<char>    . )
    """,
    re.VERBOSE | re.DOTALL,
)
_WHERE: Final = {
    "^": Where.BEGIN,
    r"\A": Where.BEGIN,
    "$": Where.END,
    r"\z": Where.END,
    r"\b": Where.BOUNDARY,
    r"\B": Where.NO_BOUNDARY,
}


class _Parser:
    """Recursive descent over the tokens; `fold` follows `(?i)` through groups."""

    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._tokens = list(_TOKEN.finditer(expression))
        self._at = 0
        self._depth = 0

    def whole(self) -> Node:
        node = self._alternation(fold=False)
        if self._at != len(self._tokens):
            raise UnsupportedError(f"{self._expression!r} can't be read")
        return node

    def _alternation(self, *, fold: bool) -> Node:
        """Everything up to the end of the group; a flag group inside it changes `fold` for what follows."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise UnsupportedError("groups are nested too deeply")
        options: list[Node] = []
        parts: list[Node] = []
        while self._at < len(self._tokens) and self._tokens[self._at].lastgroup is not None:
            token = self._tokens[self._at]
            if token["close"]:
                break
            self._at += 1
            if token["or"]:
                options.append(_concat(parts))
                parts = []
            elif token["repeat"]:
                parts[-1] = _repeat(parts[-1], token)
            elif token["group"] and token["scope"] == ")":
                fold = _folds(token["flags"], fold)
            elif token["group"]:
                parts.append(self._alternation(fold=_folds(token["flags"] or "", fold)))
                self._at += 1
            elif token["quoted"]:
                # A repetition after \E belongs to the last quoted character.
                parts += [_char(char, fold) for char in token["text"]]
            elif not token["end"]:
                parts.append(_single(token, fold))
        self._depth -= 1
        options.append(_concat(parts))
        return _alternate(options)


def _single(token: re.Match[str], fold: bool) -> Node:
    if token["assert"]:
        return Assert(_WHERE[token["assert"]])
    if token["char"]:
        return _char(token["char"], fold)
    return Chars(matched_by(token["single"], fold))


def _repeat(node: Node, token: re.Match[str]) -> Node:
    if token["least"] is None:
        least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[token["repeat"][0]]
        return Repeat(node, least, most)
    least = int(token["least"])
    if token["comma"] is None:
        return Repeat(node, least, least)
    return Repeat(node, least, None if token["most"] is None else int(token["most"]))


def _folds(flags: str, fold: bool) -> bool:
    on, _, off = flags.partition("-")
    return (fold or "i" in on) and "i" not in off


def _concat(parts: list[Node]) -> Node:
    return parts[0] if len(parts) == 1 else Concat(tuple(parts))


def _alternate(options: list[Node]) -> Node:
    """Alternatives of one character each are one set."""
    mask = 0
    for option in options:
        if not isinstance(option, Chars):
            return options[0] if len(options) == 1 else Alternate(tuple(options))
        mask |= option.mask
    return Chars(mask)


def _char(char: str, fold: bool) -> Chars:
    if fold:
        return Chars(_bit(ord(char.lower())) | _bit(ord(char.upper())))
    return Chars(_bit(ord(char)))


def _bit(byte: int) -> int:
    if byte not in ALPHABET:
        raise UnsupportedError(f"{chr(byte)!r} is never part of a value")
    return 1 << byte


@lru_cache(maxsize=4096)
def matched_by(text: str, fold: bool) -> int:
    """The set of bytes that a one-character expression matches, which RE2 itself is asked."""
    pattern = compiled(f"(?i){text}" if fold else text)
    mask = 0
    for found in pattern.finditer(ALPHABET):
        mask |= 1 << found.group()[0]
    return mask
