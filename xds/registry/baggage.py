"""Members of the W3C `baggage` header, as the data plane's matchers can see them.

A header line is a list of members, `KEY = VALUE *( ";" PROPERTY )`, separated by commas, with optional blanks around
each part (https://www.w3.org/TR/baggage/#header-content). Values may be percent-encoded byte by byte as the sender
likes; the data plane doesn't decode, so the expression for one member admits each byte of the wanted value as
itself or percent-encoded, hex digits in either case. What would end a member (`,` and `;`), a `%`, and a blank at
either end of the value can only be encoded. Keys are compared as they are: case matters and nothing is decoded.

The header may be repeated and a member may occur more than once: a condition holds when any occurrence satisfies it.
`\\C` (any byte) stands for the rest of the line, so that a foreign member with bytes that are no UTF-8 does no harm.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from re2 import escape

from xds.registry.match import Condition, Op
from xds.registry.regex import MAX_PROGRAM_SIZE, program_size

HEADER: Final = "baggage"
_BLANK: Final = "[ \\t]*"
_BEFORE: Final = rf"(?:\C*,)?{_BLANK}"
_AFTER: Final = rf"{_BLANK}(?:[;,]\C*)?"
_BAD_ESCAPE: Final = re.compile("%(?![0-9A-Fa-f]{2})")


def members(line: str) -> Iterator[tuple[str, str | None]]:
    """The (key, decoded value) pairs of one header line, in order; properties and parts without `=` are dropped.

    The value is decoded as UTF-8 with surrogate escapes. It is None where it is not validly percent-encoded: such a
    member is present, but equals nothing.
    """
    for part in line.split(","):
        key, equals, rest = part.partition("=")
        value = rest.partition(";")[0].strip(" \t")
        if equals and ";" not in key:
            valid = not _BAD_ESCAPE.search(value)
            decoded = unquote_to_bytes(_bytes(value)).decode("utf-8", "surrogateescape") if valid else None
            yield key.strip(" \t"), decoded


@lru_cache(maxsize=8192)
def member_regex(key: str, condition: Condition) -> str:
    """The RE2 expression that a whole `baggage` line matches when one of its members satisfies the condition.

    Only the operator and value of the condition count. Raises ValueError for REGEX: an expression can't be rewritten
    to see through percent-encoding.
    """
    name = f"{_BEFORE}{escape(key)}{_BLANK}="
    match condition.op:
        case Op.PRESENT:
            return rf"{name}\C*"
        case Op.EXACT:
            return f"{name}{_BLANK}{_encodable(condition.value)}{_AFTER}"
        case Op.PREFIX:
            return rf"{name}{_BLANK}{_encodable(condition.value)}\C*"
        case Op.REGEX:
            raise ValueError("a baggage member can't be compared with a regular expression")


def key_regex(keys: Iterable[str]) -> str:
    """The expression that a whole `baggage` line matches when it has a member with one of these keys.

    Raises ValueError without keys. Grows with the keys: see `key_regexes`.
    """
    alternatives = "|".join(escape(key) for key in sorted(set(keys)))
    if not alternatives:
        raise ValueError("no baggage keys")
    return rf"{_BEFORE}(?:{alternatives}){_BLANK}=\C*"


def key_regexes(keys: Iterable[str]) -> tuple[str, ...]:
    """As few expressions as needed that together say the same as `key_regex`, each within MAX_PROGRAM_SIZE."""
    ordered = sorted(set(keys))
    if not ordered:
        return ()
    whole = key_regex(ordered)
    if len(ordered) == 1 or program_size(whole) <= MAX_PROGRAM_SIZE:
        return (whole,)
    half = len(ordered) // 2
    return key_regexes(ordered[:half]) + key_regexes(ordered[half:])


def encode(value: str) -> str:
    """A value as our own examples write it: only what must be is percent-encoded."""
    data = _bytes(value)
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and _literal(byte, at, len(data)) else f"%{byte:02X}"
        for at, byte in enumerate(data)
    )


def _literal(byte: int, at: int, length: int) -> bool:
    """Whether the byte may stand for itself at this place of the value."""
    return byte not in b",;%" and not (byte in b" \t" and at in {0, length - 1})


def _encodable(value: str) -> str:
    """The expression for a value of which each byte is literal or percent-encoded."""
    parts = []
    data = _bytes(value)
    for at, byte in enumerate(data):
        encoded = re.sub("[A-F]", lambda hexit: f"[{hexit[0]}{hexit[0].lower()}]", f"%{byte:02X}")
        literal = escape(chr(byte)) if byte < 0x80 else f"\\x{byte:02X}"
        parts.append(f"(?:{literal}|{encoded})" if _literal(byte, at, len(data)) else encoded)
    return "".join(parts)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
