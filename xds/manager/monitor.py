"""The manager's HTTP port, for Prometheus and for whoever starts and stops the manager: read-only, and nothing secret.

    /metrics   counts and durations
    /healthz   200 while the manager's event loop turns
    /readyz    200 when it serves sidecars and can store changes; else 503, and the body says why

There is nothing else, and no method but GET and HEAD.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from aiohttp import web

from xds.manager.core import Manager
from xds.manager.metrics import Metrics
from xds.manager.store import SqliteStore
from xds.registry.workload import Address

log = logging.getLogger(__name__)


def unready(manager: Manager, store: SqliteStore) -> str:
    """Why the manager is not ready; empty where it is."""
    if manager.closing:
        return "the manager is about to end"
    if not manager.store.is_complete:
        return "the first state is not complete yet"
    if manager.sidecars.server is None:
        return "sidecars are not served yet"
    found = store.statistics()
    return found.problem if found.broken else ""


@asynccontextmanager
async def serving(address: Address, metrics: Metrics, why_unready: Callable[[], str]) -> AsyncIterator[Address]:
    """Serve until the end of the block, at the address that is yielded. Raises OSError when the port is taken."""

    async def health(_: web.Request) -> web.Response:
        return _text("ok")

    async def ready(_: web.Request) -> web.Response:
        why = why_unready()
        return _text(why or "ok", status=503 if why else 200)

    async def page(request: web.Request) -> web.Response:
        body, kind = metrics.page(request.headers.get("accept", ""))
        return web.Response(body=body, headers={"content-type": kind})

    app = web.Application(client_max_size=1024)
    app.add_routes([web.get("/healthz", health), web.get("/readyz", ready), web.get("/metrics", page)])
    app.on_response_prepare.append(_plain)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=30.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address.host, address.port, reuse_port=False)
        try:
            await site.start()
        except OSError as error:
            raise OSError(f"monitoring: can't listen on {address}: {error.strerror or error}") from error
        bound = replace(address, port=runner.addresses[0][1])
        log.info("metrics and health at http://%s", bound)
        yield bound
    finally:
        await runner.cleanup()


def _text(text: str, *, status: int = 200) -> web.Response:
    return web.Response(text=f"{text}\n", status=status)


async def _plain(_: web.Request, response: web.StreamResponse) -> None:
    """What is true now may not be a moment later; and what the manager is made of is nobody's business."""
    response.headers["cache-control"] = "no-store"
    response.headers["server"] = "byway"
