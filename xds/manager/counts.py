"""What a sidecar's Envoy has counted on an intercept's routes, from its admin interface where that is on this machine.

Envoy has these counters as long as it has the routes, from zero on: that they are there shows that the routes are.
https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#statistics
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from xds.http1 import read_body, read_head

TIMEOUT = 2.0
"""Seconds that Envoy may take for an answer."""


@dataclass(frozen=True, slots=True)
class Counts:
    """The counters of one sidecar. `obstacle` says why there are none; `routed` whether Envoy has the routes."""

    routed: bool = False
    total: int = 0
    statuses: Mapping[str, int] = field(default_factory=dict)
    obstacle: str = ""


async def ask(socket: Path, intercept: str) -> Counts:
    """Ask a sidecar's Envoy; never raises."""
    try:
        async with asyncio.timeout(TIMEOUT):
            return counts(await _stats(socket, rf"^vhost\.all\.route\.{re.escape(intercept)}\."), intercept)
    except TimeoutError:
        return Counts(obstacle="its Envoy accepts the connection to its admin interface but doesn't answer")
    except FileNotFoundError:
        return Counts(obstacle=f"its admin interface is not on the manager's machine (there is no {socket})")
    except OSError as error:
        return Counts(obstacle=f"its admin interface {socket}: {(error.strerror or str(error)).lower()}")


async def _stats(socket: Path, filter_: str) -> str:
    reader, writer = await asyncio.open_unix_connection(socket, limit=1 << 20)
    try:
        path = f"/stats?filter={quote(filter_)}"
        writer.write(f"GET {path} HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n\r\n".encode())
        head = await read_head(reader)
        return (await read_body(reader, head)).decode("utf-8", "replace")
    finally:
        writer.close()


def counts(page: str, intercept: str) -> Counts:
    """What the lines `vhost.all.route.ID.upstream_rq_200: 17` of a page of statistics say of an intercept."""
    prefix = f"vhost.all.route.{intercept}.upstream_rq_"
    found = {}
    for line in page.splitlines():
        name, _, value = line.partition(": ")
        if name.startswith(prefix) and value.isdigit():
            found[name.removeprefix(prefix)] = int(value)
    statuses = {name: value for name, value in sorted(found.items()) if re.fullmatch(r"\d{3}", name)}
    return Counts(bool(found), found.get("total", 0), statuses)
