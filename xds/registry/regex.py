"""Regular expressions as users give them, and the form in which they are asked.

The syntax is RE2's, because the data plane's is. A user's expression *finds*: it may match anywhere in the value unless
it anchors itself. The data plane's matchers only know full matches, so what is asked is `.*(?:E).*`; `^` and `$` keep
their meaning inside it. The expression is compiled alone before it is wrapped: `a)(b` would otherwise become valid.

Envoy compiles with RE2's Latin-1 encoding: it compares bytes, and `.` is one byte. A character outside ASCII would be
several, so that `[é]` or `é?` mean something else than they say: expressions are ASCII, bytes can be written `\\xC3`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import re2

MAX_PROGRAM_SIZE: Final = 4096
"""The largest RE2 program that is accepted (RE2's own count of instructions), for `re2.max_program_size.error_level`.

A baggage member that is compared byte by byte, each byte literal or percent-encoded, takes four instructions per byte:
this leaves room for a value of a thousand bytes. The data plane's own default is 100.
"""


class ConditionError(ValueError):
    """What a user asked for can't be a condition. The message names the flag and says what to do."""


def wrap(expression: str) -> str:
    """The full-match form of an expression that finds: `.*(?:E).*`."""
    return f".*(?:{expression}).*"


def compiled(pattern: str) -> re2._Regexp:
    """The pattern compiled for matching, as the data plane compiles it (RE2's defaults, but Latin-1).

    Raises re2.error.
    """
    return _compiled(pattern, captures=False)


def full_match(pattern: str, value: str) -> bool:
    """Whether the whole value matches. The value may hold bytes that are no UTF-8 as surrogate escapes."""
    return compiled(pattern).fullmatch(value.encode("utf-8", "surrogateescape")) is not None


def program_size(pattern: str) -> int:
    """RE2's instruction count of a valid pattern: what the data plane compares with its limit."""
    size: int = _compiled(pattern, captures=True).programsize
    return size


@lru_cache(maxsize=8192)
def _compiled(pattern: str, *, captures: bool) -> re2._Regexp:
    """Captures count as instructions, but whoever only asks whether it matches is slower with them."""
    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1
    options.never_capture = not captures
    return re2.compile(pattern.encode(), options)


def check(expression: str, *, what: str) -> None:
    """Accept a user's expression or raise ConditionError.

    `what` is the flag as the user typed it and begins the message. The expression is compiled alone, then wrapped;
    the limit is for the wrapped form, because that is what the data plane compiles.
    """
    if not expression:
        raise ConditionError(f"{what}: the regular expression is empty; give one, or drop the operator for “present”")
    for position, char in enumerate(expression):
        if ord(char) < 0x20 or ord(char) == 0x7F:
            raise ConditionError(f"{what}: control character {char!r} at position {position}; write it as an escape")
        if ord(char) > 0x7F:
            raise ConditionError(
                f"{what}: {char!r} at position {position} is not ASCII, and bytes are compared; "
                f"write {_as_bytes(char)}, or compare without a regular expression"
            )
    try:
        compiled(expression)
    except re2.error as error:
        raise ConditionError(f"{what}: {_explain(expression, error)}") from None
    try:
        size = program_size(wrap(expression))
    except re2.error as error:
        # Valid alone and broken once something follows: only an open \Q does that.
        start = expression.rfind(r"\Q")
        if start >= 0:
            raise ConditionError(f"{what}: \\Q at position {start} has no \\E; add it") from None
        raise ConditionError(f"{what}: {_explain(wrap(expression), error)}") from None
    if size > MAX_PROGRAM_SIZE:
        raise ConditionError(
            f"{what}: the expression is too large: {size} instructions, at most {MAX_PROGRAM_SIZE} are allowed; "
            "shorten it or use smaller repetition counts"
        )


def _as_bytes(char: str) -> str:
    return "".join(f"\\x{byte:02X}" for byte in char.encode("utf-8", "surrogateescape"))


def _explain(expression: str, error: Exception) -> str:
    """RE2's complaint, with the position where it names a part that occurs once."""
    text = error.args[0] if error.args else ""
    message = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    complaint, _, part = message.partition(": ")
    if not part:
        return f"not a valid RE2 expression: {message}"
    if part == expression:
        at = _unbalanced(expression)
        return f"not a valid RE2 expression: {complaint}" + ("" if at is None else f" at position {at}")
    if expression.count(part) == 1:
        return f"not a valid RE2 expression: {complaint} {part!r} at position {expression.index(part)}"
    return f"not a valid RE2 expression: {complaint} {part!r}"


_BRACKETS = re.compile(r"\\Q.*?(?:\\E|$)|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[()\[]", re.DOTALL)
"""Quoted text, an escape, a whole character class, or a bracket that means itself."""


def _unbalanced(expression: str) -> int | None:
    """Where the bracket without partner stands; RE2 names the whole expression for it."""
    opened: list[int] = []
    for token in _BRACKETS.finditer(expression):
        if token[0] == "[" or (token[0] == ")" and not opened):
            return token.start()
        if token[0] == "(":
            opened.append(token.start())
        elif token[0] == ")":
            opened.pop()
    return opened[0] if opened else None
