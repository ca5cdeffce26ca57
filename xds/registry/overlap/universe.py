"""Which values a well-formed request can have for each kind of field.

A path is `/` and then visible ASCII without `?` and `#`. Methods are tokens. Header values are visible ASCII, blanks
inside them but none at either end, possibly empty; a query value has no blank, `&` or `#`. An authority has the
characters that RFC 3986 allows. Header values may also have bytes outside ASCII, because the data plane passes them.
Exact values are not held against this: what is compared as a string needs no universe.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from xds.registry.match import FieldKind
from xds.registry.overlap.automaton import Automaton
from xds.registry.overlap.build import of
from xds.registry.overlap.syntax import parse
from xds.registry.regex import full_match

_PATTERNS: Final = {
    FieldKind.PATH: r"/[!-\"$->@-~]*",
    FieldKind.METHOD: r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+",
    FieldKind.AUTHORITY: r"[0-9A-Za-z\-._~!$&'()*+,;=:@\[\]%]*",
    FieldKind.HEADER: r"(?:[!-~\x80-\xFF](?:[ -~\x80-\xFF]*[!-~\x80-\xFF])?)?",
    FieldKind.QUERY: r"[!-\"$%'-~]*",
}
_DEFAULTS: Final = {FieldKind.PATH: "/", FieldKind.METHOD: "GET", FieldKind.AUTHORITY: "localhost"}


@dataclass(frozen=True, slots=True)
class Universe:
    """The values of one kind of field; `default` stands in an example where nothing is asked of the field."""

    pattern: str
    automaton: Automaton
    default: str

    def __contains__(self, value: str) -> bool:
        return full_match(self.pattern, value)


@lru_cache
def universe(kind: FieldKind) -> Universe:
    """The universe of a kind of field; that of a baggage member is never needed, and a key field is a header."""
    pattern = _PATTERNS[kind]
    return Universe(pattern, of(parse(pattern)), _DEFAULTS.get(kind, "x"))
