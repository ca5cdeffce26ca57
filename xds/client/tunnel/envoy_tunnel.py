"""A tunnel held by an Envoy that the daemon runs.

    run of Envoy:  started ──hops listen──▶ diallers served ──▶ watched ──ended──▶ started again, after a pause
                      │
                      └── ended or useless too often without having been of use: broken

What Envoy is to have is made anew from the offer and the targets at every change and served as a whole; a new run gets
it without the diallers first, because the ports of its hops are not known yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Coroutine, Set
from pathlib import Path
from typing import Any

from xds.bootstrap import NoEnvoyError, envoy_binary
from xds.client.tunnel.contract import CannotRunError, Changed, Offer, Target, TunnelState
from xds.client.tunnel.envoy_admin import EnvoyAdmin, SilentError
from xds.client.tunnel.envoy_carrier import Dialler
from xds.client.tunnel.envoy_files import EnvoyFiles
from xds.client.tunnel.envoy_process import EnvoyProcess
from xds.client.tunnel.envoy_raw import RawServer
from xds.client.tunnel.envoy_targets import target_resources
from xds.client.tunnel.envoy_watch import Watch
from xds.client.tunnel.envoy_xds import LaptopXds
from xds.serve import CLUSTER, LISTENER, ROUTE, Resource

log = logging.getLogger(__name__)

READY_WITHIN = 20.0
"""Seconds until a started Envoy must have asked for its configuration and listen."""
TAKEN_WITHIN = 5.0
"""Seconds that a change may take to be in force; an Envoy that takes longer is a hung one."""
POLL = 0.2
HUNG = 15.0
"""Seconds without an answer after which Envoy is killed and started anew."""
REPLACED_WITHIN = 5.0
"""Seconds for which a dialler that is to be replaced waits for its successor."""
FADED_WITHIN = 20.0
"""Seconds for which what a dialler dials through outlives it at most. Envoy lets it go after `--drain-time-s`."""
RESTARTS = 5
"""Runs in a row that were of no use, after which there is no point in another."""
PAUSE, LONGEST_PAUSE = 0.05, 5.0


class EnvoyTunnel:
    """See `contract.Tunnel`. `folder` is made, and removed by `stop`."""

    kind = "envoy"

    def __init__(self, changed: Changed, *, folder: Path) -> None:
        self._changed = changed
        self._files = EnvoyFiles(folder)
        self._xds = LaptopXds()
        self._raw = RawServer()
        self._watch = Watch()
        self._numbers = itertools.count(1)
        self._token = ""
        self._diallers: tuple[Dialler, ...] = ()
        self._leaving: tuple[Dialler, ...] = ()
        self._fading: tuple[Dialler, ...] = ()
        self._ports: dict[str, int] = {}
        self._targets: frozenset[Target] = frozenset()
        self._state = TunnelState()
        self._broken = ""
        self._process: EnvoyProcess | None = None
        self._admin: EnvoyAdmin | None = None
        self._ready = asyncio.Event()
        self._was_useful = False
        self._news = asyncio.Event()
        self._lock = asyncio.Lock()
        self._running: asyncio.Task[None] | None = None
        self._replacing: set[asyncio.Task[None]] = set()

    @property
    def state(self) -> TunnelState:
        """How it is now."""
        return self._state

    @property
    def pid(self) -> int:
        """Envoy's process id; 0 where none runs."""
        return self._process.pid if self._process is not None else 0

    async def start(self, offer: Offer) -> None:
        """Run Envoy, and have it dial. Raises CannotRunError."""
        try:
            binary = envoy_binary()
            self._files.prepare(offer.token)
            await self._xds.start(self._files.xds)
            await self._raw.start(self._files.raw)
        except (NoEnvoyError, OSError, RuntimeError, ValueError) as error:
            await self.stop()
            raise CannotRunError(str(error)) from error
        self._raw.declare(self._targets)
        self._token = offer.token
        self._diallers = self._diallers_of(offer)
        self._follow()
        self._running = asyncio.create_task(self._run(binary))
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait({ready, self._running}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if not self._ready.is_set():
            why = self._broken or "Envoy could not be run"
            await self.stop()
            raise CannotRunError(why)

    async def offer(self, offer: Offer) -> None:
        """Go on with this offer."""
        async with self._lock:
            if offer.token != self._token:
                self._files.renew(offer.token)
                self._token = offer.token
            diallers = self._diallers_of(offer)
            if diallers == self._diallers:
                return
            gone = tuple(each for each in self._diallers if each not in diallers)
            # Nobody takes the place of a gateway that is not offered any more.
            names = {each.gateway.name for each in diallers}
            self._leaving += tuple(each for each in gone if each.gateway.name in names)
            self._diallers = diallers
            self._fade(tuple(each for each in gone if each.gateway.name not in names))
            self._follow()
            await self._dial()
        if self._leaving:
            self._later(self._let_go(self._leaving))

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._replacing.add(task)
        task.add_done_callback(self._replacing.discard)

    async def declare(self, targets: Set[Target]) -> None:
        """Serve these targets and no others."""
        async with self._lock:
            self._targets = frozenset(targets)
            self._raw.declare(self._targets)
            revision = await self._publish()
            if self._ready.is_set() and self._diallers:
                await self._taken(revision, CLUSTER, ROUTE)

    async def stop(self) -> None:
        """End Envoy and leave nothing behind."""
        tasks = [*self._replacing, *([self._running] if self._running is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._xds.stop()
        await self._raw.stop()
        self._files.remove()
        self._diallers = self._leaving = ()
        self._follow()

    def _diallers_of(self, offer: Offer) -> tuple[Dialler, ...]:
        """The diallers of an offer; those that are there already stay the same ones."""
        known = {(each.node, each.gateway, each.ca): each for each in self._diallers}
        return tuple(
            known.get((offer.node, gateway, offer.ca)) or Dialler(next(self._numbers), offer.node, gateway, offer.ca)
            for gateway in offer.gateways
        )

    async def _run(self, binary: Path) -> None:
        useless = 0
        while True:
            why = await self._one_run(binary)
            useful = self._ready.is_set()
            useless = 0 if useful else useless + 1
            # Where the first run is of no use, Envoy is not for this machine.
            if useless >= RESTARTS or (useless and not self._was_useful):
                self._broken = why
            self._watch.silent(why, time.monotonic())
            self._tell()
            if self._broken:
                return
            self._was_useful = True
            self._ready.clear()
            log.warning("%s; it is started again", why)
            await asyncio.sleep(min(PAUSE * 4**useless, LONGEST_PAUSE))

    async def _one_run(self, binary: Path) -> str:
        """Run Envoy once; says why it ended. `_ready` says whether it was of use."""
        self._ports = {}
        self._fading = ()
        self._files.admin.unlink(missing_ok=True)
        revision = await self._publish()
        try:
            process = await EnvoyProcess.start(binary, self._files.folder, self._carrier_ended)
        except OSError as error:
            return f"Envoy cannot be started: {error}"
        self._process = process
        ended = asyncio.create_task(process.wait())
        serving = asyncio.create_task(self._serve(revision))
        try:
            await asyncio.wait({ended, serving}, return_when=asyncio.FIRST_COMPLETED)
            return ended.result() if ended.done() else serving.result()
        finally:
            serving.cancel()
            ended.cancel()
            await asyncio.gather(serving, ended, return_exceptions=True)
            await process.end()
            self._process = self._admin = None

    async def _serve(self, revision: int) -> str:
        """Give a run its configuration and watch it; says why it has to end."""
        try:
            async with asyncio.timeout(READY_WITHIN):
                await self._xds.asked(revision, CLUSTER, LISTENER)
        except TimeoutError:
            return f"Envoy did not ask for its configuration within {READY_WITHIN:g} s"
        async with EnvoyAdmin(self._files.admin) as self._admin:
            async with self._lock:
                await self._dial()
            self._ready.set()
            return await self._poll(self._admin)

    async def _dial(self) -> None:
        """Have hops made, find out where they listen, and dial through them. Under the lock."""
        await self._taken(await self._publish(), CLUSTER, LISTENER)
        if self._admin is None:
            return
        with contextlib.suppress(SilentError):
            self._ports = await self._admin.listening()
        await self._taken(await self._publish(), CLUSTER, LISTENER)

    async def _taken(self, revision: int, *types: str) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TAKEN_WITHIN):
                await self._xds.taken(revision, *types)

    async def _publish(self) -> int:
        # The first messages of each kind cost a good part of a second; heartbeats must not wait for it.
        return self._xds.serve(await asyncio.to_thread(self._resources))

    def _resources(self) -> list[Resource]:
        found = target_resources(self._targets)
        for each in (*self._diallers, *self._leaving, *self._fading):
            found += each.carrier_resources()
            if port := self._ports.get(each.hop):
                found += each.tunnel_resources(port, dials=each not in self._fading)
        return found

    async def _poll(self, admin: EnvoyAdmin) -> str:
        heard = time.monotonic()
        while True:
            try:
                self._watch.polled(await admin.tunnels(), time.monotonic())
                heard = time.monotonic()
            except SilentError:
                self._watch.silent("Envoy does not answer", time.monotonic())
                if time.monotonic() - heard > HUNG:
                    return f"Envoy did not answer for {HUNG:g} s"
            self._tell()
            await asyncio.sleep(POLL)

    async def _let_go(self, old: tuple[Dialler, ...]) -> None:
        """Take diallers away once their successors are up, or won't be."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REPLACED_WITHIN):
                while not all(state.up for state in self._watch.states(self._diallers)):
                    await self._news.wait()
        async with self._lock:
            self._leaving = tuple(each for each in self._leaving if each not in old)
            self._fade(old)
            self._follow()
            await self._publish()

    def _fade(self, gone: tuple[Dialler, ...]) -> None:
        """Have these dial no more. What they dial through goes after them: while a listener that dials is on its way
        out it may dial once more, and Envoy 1.40 crashes where its cluster is gone by then
        (https://github.com/envoyproxy/envoy/pull/46726 and 46732).
        """
        if gone:
            self._fading += gone
            self._later(self._forget(gone))

    async def _forget(self, gone: tuple[Dialler, ...]) -> None:
        async with self._lock:
            revision = await self._publish()
        with contextlib.suppress(TimeoutError, SilentError):
            async with asyncio.timeout(FADED_WITHIN):
                await self._xds.taken(revision, LISTENER)
                while True:
                    if self._admin is None or not await self._admin.draining():
                        break
                    await asyncio.sleep(POLL)
        async with self._lock:
            self._fading = tuple(each for each in self._fading if each not in gone)
            await self._publish()

    def _follow(self) -> None:
        self._watch.follow((*self._diallers, *self._leaving), time.monotonic())
        self._tell()

    def _serving(self) -> tuple[Dialler, ...]:
        """The diallers that leave, of those whose node is still the one that requests are sent to."""
        nodes = {each.node for each in self._diallers}
        return tuple(each for each in self._leaving if each.node in nodes)

    def _carrier_ended(self, number: int, entry: dict[str, Any]) -> None:
        for each in self._diallers:
            if each.number == number:
                self._watch.carrier_ended(each, entry)

    def _tell(self) -> None:
        # Whoever is being replaced serves until then.
        old = {each.name: each for each in self._watch.states(self._serving()) if each.up}
        states = tuple(old.get(each.name, each) if not each.up else each for each in self._watch.states(self._diallers))
        state = TunnelState(states, self._broken)
        if state != self._state:
            self._state = state
            self._news.set()
            self._news = asyncio.Event()
            self._changed()
