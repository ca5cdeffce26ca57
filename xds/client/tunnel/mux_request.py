"""What a request on the tunnel asks for, and how it and its answer are written for the other protocol. Pure.

HTTP/2 has no reason phrase, no Connection header and no 101; HTTP/1.1 has no pseudo headers and no `:protocol`
(RFC 9113, section 8; RFC 8441). An upgrade is extended CONNECT on one side and GET with Upgrade on the other, and 200
is 101.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

import h11

from xds.client.tunnel.contract import (
    AWAY_HEADER,
    HEADER_PREFIX,
    NAME_HEADER,
    OWNER_HEADER,
    PROTOCOL_HEADER,
    TARGET_HEADER,
    TO_HEADER,
)
from xds.client.tunnel.framing import Headers

HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
PREFIX = HEADER_PREFIX.encode()


@dataclass(frozen=True, slots=True)
class Request:
    """A request on the tunnel. `headers` are those that the process sees, without pseudo headers."""

    method: bytes
    scheme: bytes
    authority: bytes
    path: bytes
    protocol: bytes
    """Of extended CONNECT; else empty."""
    headers: Headers
    byway: dict[str, str]
    """The headers of ours, by lower-case name."""

    @classmethod
    def parse(cls, head: Headers) -> Request:
        """A request from its header block. Raises ValueError."""
        pseudo = {name: value for name, value in head if name.startswith(b":")}
        byway = {name.decode(): value.decode("latin-1") for name, value in head if name.startswith(PREFIX)}
        headers = [(name, value) for name, value in head if not name.startswith((b":", PREFIX))]
        method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
        protocol = pseudo.get(b":protocol", b"")
        plain_connect = method == b"CONNECT" and not protocol
        if not method or not (path or plain_connect):
            raise ValueError("the request has no method or no path")
        authority = pseudo.get(b":authority") or dict(head).get(b"host", b"")
        return cls(method, pseudo.get(b":scheme", b"http"), authority, path, protocol, headers, byway)

    @property
    def raw(self) -> bool:
        """Whether it is a TCP connection."""
        return self.method == b"CONNECT" and not self.protocol

    @property
    def target(self) -> str:
        """HOST:PORT."""
        return self.byway.get(TARGET_HEADER, "")

    @property
    def http2(self) -> bool:
        """Whether HTTP/2 is to be spoken with the process."""
        return self.byway.get(PROTOCOL_HEADER, "") == "HTTP/2"

    def refusal(self, status: int, error: str, *, away: str = "") -> tuple[Headers, bytes]:
        """An answer of ours, in JSON."""
        facts = {
            "error": error,
            "intercept": self.byway.get(TO_HEADER, "").rpartition("/")[0],
            "name": self.byway.get(NAME_HEADER, ""),
            "owner": self.byway.get(OWNER_HEADER, ""),
            "target": self.target,
        }
        body = json.dumps(facts, sort_keys=True).encode() + b"\n"
        head = [
            (b":status", b"%d" % status),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        return [*head, *([(AWAY_HEADER.encode(), away.encode())] if away else [])], body

    def http1(self, *, body: bool) -> h11.Request:
        """The request for the process. `body`: whether one follows. Raises h11.LocalProtocolError."""
        headers = [(b"Host", self.authority or b"localhost")]
        headers += [(name, value) for name, value in self.headers if name != b"host" and name not in HOP_BY_HOP]
        if self.protocol:
            headers += [(b"Connection", b"Upgrade"), (b"Upgrade", self.protocol)]
        elif body and not any(name == b"content-length" for name, _ in headers):
            headers.append((b"Transfer-Encoding", b"chunked"))
        return h11.Request(method=b"GET" if self.protocol else self.method, target=self.path, headers=headers)

    def http2_head(self) -> Headers:
        """The header block for the process, where it speaks HTTP/2."""
        pseudo = [(b":method", self.method), (b":scheme", self.scheme), (b":path", self.path)]
        pseudo.append((b":authority", self.authority or b"localhost"))
        if self.protocol:
            pseudo.append((b":protocol", self.protocol))
        return pseudo + [(name, value) for name, value in self.headers if name not in HOP_BY_HOP | {b"host"}]


def http1_answer(status: int, headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The header block of a process's HTTP/1.1 answer, of an informational one too."""
    found = [(name.lower(), value) for name, value in headers]
    named = {
        word.strip().lower() for name, value in found if name == b"connection" for word in value.split(b",") if word
    }
    dropped = HOP_BY_HOP | named | {AWAY_HEADER.encode()}
    kept = [(name, value) for name, value in found if name not in dropped]
    return [(b":status", b"200" if status == 101 else b"%d" % status), *kept]


def http2_answer(head: Headers) -> Headers:
    """The header block of a process's HTTP/2 answer."""
    return [(name, value) for name, value in head if name != AWAY_HEADER.encode()]
