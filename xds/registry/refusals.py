"""Which conditions are refused, and the sentence that says why."""

from __future__ import annotations

import re
import string
from typing import Final
from urllib.parse import quote

from xds.registry.match import Condition, FieldKind, Op
from xds.registry.regex import ConditionError

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_LIKE_CURL: Final = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):\s*(.*)", re.DOTALL)

# https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1, with the two proxy headers of older specifications.
_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# Envoy adds these to every request: https://github.com/envoyproxy/envoy/issues/32817
_SET_BY_PROXIES: Final = ("x-forwarded-", "x-envoy-")
_OURS: Final = "x-byway-"


def shown(flag: str, text: str) -> str:
    """The flag as typed, on one line, for the beginning of a message."""
    return f"{flag} " + (text if text.isprintable() else repr(text)[1:-1])


def header_name(name: str, text: str, *, what: str) -> None:
    """Refuse a header name that no request can have, or that says nothing about who sent the request."""
    lower = name.lower()
    if name.startswith(":") and len(name) > 1:
        instead = {":path": "--http-path-equal, -prefix or -regex", ":method": "--http-method"}.get(lower)
        hint = f"use {instead}" if instead else "only :authority can be asked for"
        raise ConditionError(f"{what}: {name} is a pseudo header; {hint}")
    token(name, text, what=what, noun="header name")
    if lower in _HOP_BY_HOP:
        raise ConditionError(f"{what}: {lower} is a hop-by-hop header, which the next proxy replaces; choose another")
    if lower.startswith(_SET_BY_PROXIES) or lower == "x-request-id":
        raise ConditionError(f"{what}: {lower} is set by proxies on every request; choose a header that only you send")
    if lower.startswith(_OURS):
        raise ConditionError(f"{what}: headers that begin with {_OURS} are Byway's own; choose another")


def token(name: str, text: str, *, what: str, noun: str) -> None:
    """Refuse a name that is no token (https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2)."""
    if not name:
        raise ConditionError(f"{what}: the {noun} is empty")
    if _TOKEN.fullmatch(name):
        return
    like_curl = _LIKE_CURL.fullmatch(text)
    if like_curl is not None:
        raise ConditionError(f"{what}: did you mean {like_curl[1]}={like_curl[2]}?")
    bad = next(char for char in name if not _TOKEN.fullmatch(char))
    raise ConditionError(f"{what}: {bad!r} can't be part of a {noun}")


def literal_path(flag: str, value: str, *, what: str) -> None:
    """Refuse a path, or the beginning of one, that no request's path can be."""
    if "?" in value:
        raise ConditionError(
            f"{what}: the query string never takes part in the path; leave out {value[value.index('?') :]!r} "
            "and ask for query keys with --http-query KEY=VALUE"
        )
    if "#" in value:
        raise ConditionError(f"{what}: a fragment (#…) is never sent to a server; leave it out")
    if not value.startswith("/"):
        raise ConditionError(f"{what}: a path begins with a slash; did you mean {flag} /{value}?")
    if any(char.isspace() for char in value):
        raise ConditionError(f"{what}: a path has no blanks; write them percent-encoded (%20), as they are sent")
    if not value.isascii():
        sent = quote(value, safe=string.punctuation)
        raise ConditionError(f"{what}: paths are sent percent-encoded; did you mean {flag} {sent}?")


def query_part(name: str, value: str, op: Op, *, what: str) -> None:
    """Refuse a query key or value that no query string can contain."""
    if not name:
        raise ConditionError(f"{what}: the query key is empty")
    for text, bad in ((name, "&#"), (value if op in {Op.EXACT, Op.PREFIX} else "", "&#")):
        found = next((char for char in text if char in bad or char.isspace()), None)
        if found is not None:
            raise ConditionError(
                f"{what}: {found!r} is never part of a query key or value; write it percent-encoded, as it is sent"
            )


def value(condition: Condition, *, what: str) -> None:
    """Refuse a value that no request can have."""
    text = condition.value
    if condition.op is Op.PREFIX and not text:
        raise ConditionError(f"{what}: the prefix is empty; write the name alone for “present”")
    for position, char in enumerate(text):
        if ord(char) < 0x20 or ord(char) == 0x7F:
            raise ConditionError(f"{what}: control character {char!r} at position {position} of the value")
        if "\ud800" <= char <= "\udfff":
            raise ConditionError(f"{what}: what stands at position {position} of the value is not UTF-8")
    if condition.op is Op.REGEX or condition.field.kind is FieldKind.PATH:
        return
    if text != text.strip(" ") and not (condition.field.kind is FieldKind.BAGGAGE and condition.op is Op.EXACT):
        # A prefix may end in a blank: more can follow.
        if condition.op is Op.PREFIX and text == text.lstrip(" ") and condition.field.kind is not FieldKind.BAGGAGE:
            return
        raise ConditionError(f"{what}: a value never begins or ends with a blank; leave it out")
