"""The standalone manager as a process: one port for both APIs, its timers, its file watched for changes."""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import grpc
import grpc.aio

from xds import __version__
from xds.api.rpc import bearer_of
from xds.compile import names
from xds.compile.warm import warm_up
from xds.config import ConfigError, StandaloneConfig, load
from xds.manager.audit import AuditLog
from xds.manager.clock import Clock
from xds.manager.core import Manager
from xds.manager.identity import Identity
from xds.manager.identity.redact import shown
from xds.manager.identity.tunnels import Tunnels
from xds.manager.metrics import Metrics
from xds.manager.service.access_log import AccessLogService
from xds.manager.service.callers import Callers
from xds.manager.service.debug import DebugService
from xds.manager.service.gateways import GatewaysService
from xds.manager.service.manager import ManagerService
from xds.manager.store import SqliteStore
from xds.manager.timers import Timers
from xds.manager.tokens import SidecarIdentity, Tokens, issue
from xds.paths import StateDir, write_private
from xds.registry import sessions
from xds.registry.change import Change
from xds.registry.workload import Address, Workload, WorkloadId
from xds.serve.csds import ClientStatusService
from xds.serve.limits import Refused
from xds.serve.server import SERVER_OPTIONS, Metadata, XdsServer
from xds.serve.store import View
from xds.serve.wire import Node

log = logging.getLogger(__name__)

RELOAD_EVERY = 1.0
"""Seconds between looks at the file."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Tells whether a file was changed; None where there is none."""

    value: tuple[int, int, int] | None

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """The stamp of a file as it is now."""
        try:
            found = path.stat()
        except OSError:
            return cls(None)
        return cls((found.st_mtime_ns, found.st_size, found.st_ino))


class Standalone:
    """The manager of one standalone file."""

    def __init__(self, file: Path, state: StateDir, *, listen: Address | None = None) -> None:
        self._file = file
        self._state = state
        self._stamp = Stamp.of(file)
        self._config = load(file)
        self._listen = listen or self._config.listen
        clock = Clock()
        self._store, loaded = SqliteStore.open(state.manager / "state.db", now=clock.now())
        self._audit = AuditLog(state.manager / "audit.jsonl")
        self.manager = Manager(
            settings=self._config.settings,
            clock=clock,
            keeper=self._store,
            audit=lambda events, peer: self._audit.write(events, peer=peer, wall_time=clock.wall().timestamp()),
        )
        for problem in loaded.problems:
            log.error("%s", problem)
            self._audit.note("store", problem, wall_time=clock.wall().timestamp())
        self._callers = Callers(self.manager, self._tokens(self._config))
        self.identity = Identity(state.identity, self.manager.store, clock)
        self.tunnels = Tunnels(self.manager, self.identity)
        self._timers = Timers(self.manager, self._store, self.identity.tick, self.tunnels.tick)
        self._metrics = Metrics(self.manager, self._store, lost=lambda: self._audit.failed)
        self.monitoring: Address | None = None
        """Where metrics and health are served, while they are."""
        workloads = {one.id: one for one in self._config.workloads}
        self.manager.change_gateways(self._config.gateways)
        self.manager.load(
            Change(
                sessions=loaded.sessions,
                intercepts=loaded.intercepts,
                workloads=workloads,
                sequence=loaded.sequence,
                dirty=frozenset(workloads),
            )
        )
        self._certify()
        self._end_sessions_of_strangers()

    def _tokens(self, config: StandaloneConfig) -> Tokens:
        sidecars = [
            SidecarIdentity(workload.id, instance) for workload in config.workloads for instance in workload.instances
        ]
        return issue(self._state, config.users, sidecars, (gateway.name for gateway in config.gateways))

    def _certify(self) -> None:
        """Give certificates to whom the file names, and tell laptops where the gateways are."""
        self.identity.serve((gateway.name for gateway in self._config.gateways), self._config.workloads)
        self.tunnels.configure(self._config.gateways, self._config.namespaces)

    def _end_sessions_of_strangers(self) -> None:
        """Who is taken out of the file may no more go on than come back."""
        self.manager.owe(lambda: sessions.keep_users(self.manager.state, self._config.users))

    async def run(self, stop: asyncio.Event, ready: asyncio.Future[Address] | None = None) -> None:
        """Serve until `stop`. Raises OSError when the port is taken."""
        warm_up()
        xds = XdsServer(
            self.manager.store,
            authenticate=self._authenticate,
            identifier=f"byway {__version__} {secrets.token_hex(3)}",
            observer=self.manager.delivery,
        )
        xds.observe(self._metrics)
        server = grpc.aio.server(options=[*SERVER_OPTIONS, ("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers(
            (
                *xds.handlers(),
                ManagerService(self.manager, self._callers, self.tunnels, self._state.admin_socket).handlers(),
                GatewaysService(self.identity, self._callers).handlers(),
                DebugService(self.manager, self._callers).handlers(),
                ClientStatusService(xds, authorize=self._only_the_administrator, shown=shown).handlers(),
                AccessLogService(self.manager, self._authenticate).handlers(),
            )
        )
        async with AsyncExitStack() as stack:
            await self._monitor(stack)
            await self._serve(xds, server, stop, ready)

    async def _serve(
        self, xds: XdsServer, server: grpc.aio.Server, stop: asyncio.Event, ready: asyncio.Future[Address] | None
    ) -> None:
        address = self._bind(server)
        self.manager.sidecars.server = self.manager.gateways.server = xds
        self.manager.store.complete()
        await server.start()
        write_private(self._state.address, f"{address}\n")
        log.info("serving on %s, %d workloads", address, len(self._config.workloads))
        if ready is not None:
            ready.set_result(address)
        tasks = [asyncio.create_task(self._timers.run()), asyncio.create_task(self._reload())]
        try:
            await stop.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.manager.closing = True
            await server.stop(0.2)
            self._timers.save_activity()
            self._store.close()

    async def _monitor(self, stack: AsyncExitStack) -> None:
        """Serve metrics and health where the file asks for it."""
        if self._config.monitoring is None:
            return
        # Most managers on a laptop are not watched, and need no HTTP server.
        from xds.manager.monitor import serving, unready

        why = partial(unready, self.manager, self._store)
        self.monitoring = await stack.enter_async_context(serving(self._config.monitoring, self._metrics, why))

    def _bind(self, server: grpc.aio.Server) -> Address:
        try:
            port = server.add_insecure_port(str(self._listen))
        except RuntimeError as error:
            raise OSError(f"can't listen on {self._listen}: {error}") from error
        if port == 0:
            raise OSError(f"can't listen on {self._listen}: the port is taken or not allowed")
        return replace(self._listen, port=port)

    async def _only_the_administrator(self, metadata: Metadata) -> None:
        token = bearer_of(metadata)
        if not token:
            raise Refused(grpc.StatusCode.UNAUTHENTICATED, "the call has no token")
        if not self._callers.tokens.is_admin(token):
            raise Refused(grpc.StatusCode.PERMISSION_DENIED, "this needs the administrator's token")

    async def _authenticate(self, node: Node, metadata: Metadata) -> View:
        """A sidecar or gateway may see what belongs to the one that its token was made for, whatever its name."""
        token = bearer_of(metadata)
        if sidecar := self._callers.tokens.sidecar(token):
            view = View(str(sidecar.workload), names.node(sidecar.workload, sidecar.instance))
        elif gateway := self._callers.tokens.gateway(token):
            view = View(names.GATEWAYS, names.gateway_node(gateway))
        else:
            raise Refused(grpc.StatusCode.UNAUTHENTICATED, "no sidecar or gateway has this token")
        if node.id != view.node:
            raise Refused(grpc.StatusCode.PERMISSION_DENIED, f"the token is that of {view.node}, not of {node.id}")
        return view

    async def _reload(self) -> None:
        while True:
            await asyncio.sleep(RELOAD_EVERY)
            stamp = Stamp.of(self._file)
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self.reload()
                except Exception:
                    # One file that can't be taken over must not keep the next one from being looked at.
                    log.exception("the changed file was not taken over as a whole; change it again")

    def reload(self) -> None:
        """Take over what changed in the file; what is wrong with it is logged, and the last good one stays."""
        try:
            fresh = load(self._file)
            tokens = self._tokens(fresh)
        except ConfigError as error:
            log.error("the changed file is not used: %s", error)
            return
        except OSError as error:
            log.error("the changed file is not used: its tokens can't be kept: %s; make room and save it again", error)
            return
        for key, new, old in (
            ("listen", fresh.listen, self._config.listen),
            ("monitoring", fresh.monitoring, self._config.monitoring),
        ):
            if new != old:
                log.warning("%s: %s takes effect when the manager is started anew", key, new or "none")
        if fresh.settings != self._config.settings:
            log.info("settings: %s", fresh.settings)
        before = {one.id: one for one in self._config.workloads}
        after = {one.id: one for one in fresh.workloads}
        changed: dict[WorkloadId, Workload | None] = {
            key: after.get(key) for key in before.keys() | after.keys() if before.get(key) != after.get(key)
        }
        self._callers.tokens = tokens
        self.manager.change_settings(fresh.settings)
        self._config = fresh
        self.manager.change_gateways(fresh.gateways)
        if changed:
            log.info("changed workloads: %s", ", ".join(map(str, sorted(changed))))
            self.manager.commit(Change(workloads=changed, dirty=frozenset(changed)))
        self._certify()
        self._end_sessions_of_strangers()
