"""Which repeated headers Envoy joins, asked of a real one."""

from __future__ import annotations

from pathlib import Path

from tests.registry.envoy_oracle import answering, running
from xds.registry.request import FOLDED

OTHERS = {
    *("accept-charset", "accept-language", "baggage", "cookie", "date", "forwarded", "from", "link", "max-forwards"),
    *("range", "traceparent", "tracestate", "vary", "warning", "x-api-key", "x-b3-traceid", "x-real-ip", "x-user"),
    *("x-telepresence-id", "priority", "prefer", "content-language", "x-requested-with", "x-http-method-override"),
}


def test_envoy_joins_exactly_the_lines_of_these_headers(tmp_path: Path) -> None:
    names = sorted(FOLDED | OTHERS)
    routes = [
        answering(value, {"prefix": f"/{name}/", "headers": [{"name": name, "string_match": {"exact": value}}]})
        for name in names
        for value in ("a,b", "b")
    ]
    with running(routes, tmp_path) as envoy:
        asked = [f"GET /{n}/ HTTP/1.1\r\nHost: x\r\n{n}: a\r\n{n}: \r\n{n}: b\r\n\r\n".encode() for n in names]
        joined = {name for name, answer in zip(names, envoy.ask(asked), strict=True) if answer == "a,b"}
    assert joined == FOLDED
