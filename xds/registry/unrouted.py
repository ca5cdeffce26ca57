"""Requests that Envoy answers by itself, before it asks any route, and those of which routes don't see all.

For requests of HTTP/1.1, with the settings of our listeners. A real Envoy is asked the same in tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

UPGRADES: Final = ("websocket", "SPDY/3.1", "tcp")
"""Envoy answers 403 to every upgrade that isn't named: WebSocket, and what Kubernetes and Docker use for exec."""

_HOST: Final = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@\[\]%]*")
_KEPT: Final = {"close", "keep-alive", "upgrade", "te", "http2-settings"}
"""What Connection may say without taking a header away from the routes."""


def why_no_host(host: str) -> str:
    """Why a request for this host is answered by the sidecar; empty where it isn't."""
    return "" if _HOST.fullmatch(host) else "the sidecar answers 400 to a host with characters that none can have"


def why_unrouted(lines: Sequence[tuple[str, str]]) -> str:
    """Why a request with these header lines is not what routes see; empty where it is."""
    return _body(lines) or _connection(lines) or _forwarded(lines)


def _body(lines: Sequence[tuple[str, str]]) -> str:
    lengths, codings = _all(lines, "content-length"), _all(lines, "transfer-encoding")
    if codings and lengths:
        return "the sidecar answers 400 to Content-Length together with Transfer-Encoding"
    # An empty line adds nothing to another one.
    if codings and ",".join(filter(None, codings)).lower() != "chunked":
        return "the sidecar answers 501 to a transfer encoding other than chunked"
    if len(lengths) > 1 or any(not _is_length(one) for one in lengths):
        return "the sidecar answers 400 to a Content-Length that is not one number"
    return ""


def _is_length(text: str) -> bool:
    return re.fullmatch("[0-9]{1,20}", text) is not None and int(text) < 1 << 64


def _connection(lines: Sequence[tuple[str, str]]) -> str:
    said = [word.strip(" \t").lower() for value in _all(lines, "connection") for word in value.split(",")]
    upgrades = _all(lines, "upgrade")
    wanted = ",".join(filter(None, upgrades)).lower()
    if upgrades and "upgrade" in said and wanted != "h2c":
        known = {one.lower() for one in UPGRADES}
        return "" if wanted in known else f"the sidecar answers 403 to upgrades other than {', '.join(UPGRADES)}"
    named = next((word for word in said if word and word not in _KEPT), "")
    return (
        f"a header that Connection names, as {named!r} here, ends at the sidecar, and no route sees it" if named else ""
    )


def _forwarded(lines: Sequence[tuple[str, str]]) -> str:
    values = _all(lines, "x-forwarded-proto")
    return "the sidecar answers 404 to an empty X-Forwarded-Proto" if values and not any(values) else ""


def _all(lines: Iterable[tuple[str, str]], name: str) -> list[str]:
    return [value for key, value in lines if key.lower() == name]
