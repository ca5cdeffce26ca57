"""The keys by which a gateway checks laptops' tokens: followed at the manager, kept, and served to its own Envoy.

    manager ──Follow──▶ here (and in a file) ──HTTP on a Unix socket──▶ Envoy, which asks every few seconds

Without the manager the last keys stay in use, over a restart of the gateway too: whoever has a token keeps its tunnel.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

# gRPC writes to stderr by itself, and its fork handlers would meddle with the processes that we start.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

import grpc.aio
from aiohttp import web
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from xds.api.byway.manager import v1
from xds.api.rpc import bearer
from xds.api.services import Gateways
from xds.paths import write_private
from xds.registry.workload import Address

log = logging.getLogger(__name__)

LONGEST_PAUSE = 2.0
"""Seconds between two tries: by as much later than the manager a gateway may be back."""

TRIED_AGAIN = (grpc.aio.AioRpcError, OSError)

CHANNEL_OPTIONS: list[tuple[str, int]] = [
    # When to try again is decided here; gRPC's own pauses must not come on top.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_reconnect_backoff_ms", 500),
    # A stream on which nothing is said for a day has to notice that the other side is gone.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # The manager is in the same network; a proxy in the environment is for others.
    ("grpc.enable_http_proxy", 0),
]


class Keys:
    """The newest keys that are known."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = asyncio.Event()
        self.text = ""
        """A JWKS; empty as long as none is known."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            self._take(path.read_text())

    def _take(self, text: str) -> bool:
        try:
            fine = bool(json.loads(text)["keys"])
        except (ValueError, TypeError, KeyError):
            fine = False
        if fine and text != self.text:
            self.text = text
            self._known.set()
            return True
        return False

    def take(self, text: str) -> None:
        """These are the keys from now on. What is no set of keys is ignored: the last one is better."""
        if not self._take(text):
            return
        try:
            write_private(self._path, text)
        except OSError as error:
            log.error("the keys can't be kept over a restart: %s", error)

    async def known(self) -> None:
        """Wait until there are any."""
        await self._known.wait()

    async def _serve(self, _: web.Request) -> web.Response:
        if not self.text:
            raise web.HTTPServiceUnavailable(text="the manager has told no keys yet\n")
        return web.Response(text=self.text, content_type="application/json")

    @contextlib.asynccontextmanager
    async def serving(self, path: Path) -> AsyncIterator[None]:
        """Serve them on a socket that only its owner may open, until the end of the block. Raises OSError."""
        application = web.Application()
        application.router.add_get("/jwks.json", self._serve)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        path.unlink(missing_ok=True)
        try:
            await web.UnixSite(runner, str(path)).start()
            path.chmod(0o600)
            yield
        finally:
            await runner.cleanup()
            path.unlink(missing_ok=True)


async def follow(keys: Keys, manager: Address, token: Path) -> None:
    """Take over the keys whenever the manager tells others; never returns. The token is read anew for each try."""
    said: set[str] = set()

    def complain(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        text = str(error.details() if isinstance(error, grpc.aio.AioRpcError) else error)
        if text not in said:
            said.add(text)
            log.warning("the manager at %s: %s; the last keys stay in use", manager, text)

    async with grpc.aio.insecure_channel(str(manager), options=CHANNEL_OPTIONS) as channel:
        waiting = wait_random_exponential(multiplier=0.2, max=LONGEST_PAUSE)
        while True:
            # A stream that told something was a success, however it ended: the pauses begin anew.
            async for attempt in AsyncRetrying(
                wait=waiting, retry=retry_if_exception_type(TRIED_AGAIN), before_sleep=complain
            ):
                with attempt:
                    await _listen(keys, channel, token)
            said.clear()


async def _listen(keys: Keys, channel: grpc.aio.Channel, token: Path) -> None:
    """One stream, to its end. Raises AioRpcError or OSError where it told nothing."""
    told = False
    try:
        async for word in Gateways.FOLLOW(channel, v1.FollowRequest(), metadata=bearer(token.read_text().strip())):
            keys.take(word.jwks)
            told = True
    except grpc.aio.AioRpcError:
        if not told:
            raise
    if not told:
        raise ConnectionError("the stream ended without a word")
