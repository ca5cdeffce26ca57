"""A request as people write it, `GET /api/v1?x=1` and `name: value`, and as the data plane's routes will see it.

What Envoy answers by itself, before it asks any route, is refused with that reason: nobody can intercept it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from xds.registry.errors import InvalidError
from xds.registry.request import Request
from xds.registry.unrouted import why_no_host, why_unrouted

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_LINE: Final = re.compile(r"(?:(\S+) +)?(\S+?)(?: +HTTP/\d(?:\.\d)?)?")
_ABSOLUTE: Final = re.compile(r"https?://([^/?#]*)(.*)", re.IGNORECASE)


def parse_request(line: str, headers: Iterable[str] = ()) -> Request:
    """Read a request line, of which method and version may be left out, and header lines as curl takes them.

    A URL with a host names the authority, too. Raises InvalidError, which names REQUEST or -H.
    """
    found = _LINE.fullmatch(line.strip())
    what = f"REQUEST {line!r}"
    if found is None:
        raise InvalidError(f"{what}: write it as 'GET /path?query'; blanks in it are sent as %20")
    method, target = found[1] or "GET", found[2]
    if not _TOKEN.fullmatch(method):
        raise InvalidError(f"{what}: {method!r} is no method")
    if method == "CONNECT" or target == "*":
        raise InvalidError(f"{what}: the sidecar answers {method} {target} with 404 itself; nobody can intercept it")
    authority = ""
    if absolute := _ABSOLUTE.fullmatch(target):
        authority, target = absolute[1], absolute[2] if absolute[2].startswith("/") else f"/{absolute[2]}"
    _check_target(target, what)
    hosts, lines = _headers(headers)
    if len(hosts) > 1 and not authority:
        raise InvalidError("-H Host: give it once; the sidecar answers 400 to a request with several")
    host = authority or "".join(hosts) or Request().authority
    if why := why_no_host(host):
        raise InvalidError(f"{what if authority else f'-H Host: {host!r}'}: {why}")
    if why := why_unrouted(lines):
        raise InvalidError(f"-H: {why}")
    return Request(target, method, host, tuple(lines))


def head(request: Request, extra: Iterable[tuple[str, str]] = ()) -> bytes:
    """The request as bytes of HTTP/1.1, with these headers more and without a body."""
    fields = [("Host", request.authority), *request.headers, *extra]
    lines = [f"{request.method} {request.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


def _check_target(target: str, what: str) -> None:
    if not target.startswith("/"):
        raise InvalidError(f"{what}: a path begins with a slash; did you mean /{target}?")
    if "#" in target:
        raise InvalidError(f"{what}: what follows # is never sent to a server; leave it out")
    if not target.isascii():
        safe = "/?#[]@!$&'()*+,;=:%-._~"
        raise InvalidError(f"{what}: paths are sent percent-encoded; did you mean {quote(target, safe=safe)}?")
    if not target.isprintable():
        raise InvalidError(f"{what}: the sidecar answers 400 to control characters in a path")


def _headers(texts: Iterable[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """The values of Host, and all other lines in order."""
    hosts: list[str] = []
    lines: list[tuple[str, str]] = []
    for text in texts:
        name, colon, value = text.partition(":")
        if text.startswith(":"):
            name, colon, value = (":" + text[1:].partition(":")[0], *text[1:].partition(":")[1:])
        if not colon and name.endswith(";"):
            name, colon = name[:-1], ":"
        if not colon:
            hint = f"; did you mean '{text.replace('=', ': ', 1)}'?" if "=" in text else ""
            raise InvalidError(f"-H {text!r}: write it as 'name: value'{hint}")
        value = value.strip(" \t")
        if name.lower() in {"host", ":authority"}:
            hosts.append(value)
            continue
        if not _TOKEN.fullmatch(name):
            raise InvalidError(f"-H {text!r}: {name!r} is no header name")
        if any((ord(char) < 0x20 and char != "\t") or ord(char) == 0x7F for char in value):
            raise InvalidError(f"-H {text!r}: the sidecar answers 400 to control characters in a value")
        lines.append((name, value))
    return hosts, lines
