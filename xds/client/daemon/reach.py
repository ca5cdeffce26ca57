"""How requests reach this laptop: through a tunnel to each gateway, or directly.

    wanted     the manager has gateways     it has none
    auto       tunnel                       directly
    tunnel     tunnel                       not at all, and it is said
    direct     directly                     directly

One task applies the newest offer and the newest targets; what changes meanwhile waits for its next round. A gateway is
told to the manager as up only when the targets of the session are served: what the manager believes to be up, it sends
requests to.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from xds.api.byway.daemon.v1 import GatewayLink
from xds.api.byway.daemon.v1 import Reach as ReachMessage
from xds.api.byway.manager import v1
from xds.client.tunnel.choice import TunnelChoice
from xds.client.tunnel.contract import CannotRunError, Gateway, Offer, Target, Tunnel

log = logging.getLogger(__name__)

WAYS = ("auto", "tunnel", "direct")
SERVED_WITHIN = 5.0
"""Seconds for which the creation of an intercept waits until its targets are served."""
LINGER = 10.0
"""Seconds for which a target goes on being served after its creation ended: the manager's notice of it comes by another
way."""
AGAIN = 5.0
"""Seconds until a tunnel that could not be opened or changed is tried again."""
NO_GATEWAYS = "the manager has no gateways, so that there is nothing to make a tunnel to"


class BadOfferError(ValueError):
    """The manager's offer of a tunnel can't be understood."""


def offer_of(message: v1.Tunnel) -> Offer:
    """Read the manager's offer. Raises BadOfferError."""
    gateways = []
    for each in message.gateways:
        host, _, port = each.address.rpartition(":")
        if not host or not port.isdigit():
            raise BadOfferError(f"the address of gateway {each.name!r}, {each.address!r}, is not HOST:PORT")
        gateways.append(Gateway(each.name, host.strip("[]"), int(port), each.server_name))
    return Offer(message.node, message.token, message.ca.encode(), tuple(gateways))


def targets_of(session: v1.Session) -> frozenset[Target]:
    """Everything that a session's intercepts lead to."""
    ports = (port.target for intercept in session.intercepts for port in intercept.ports)
    return frozenset(Target(target.host, target.port) for target in ports if target is not None)


class Reach:
    """Holds the tunnel, where there is to be one. `changed` is called when the manager should hear of it."""

    def __init__(self, wanted: str, kind: str, folder: Path, *, changed: Callable[[], None]) -> None:
        """`wanted` is one of WAYS, `kind` one of `choice.KINDS`, `folder` the tunnel's own."""
        self.wanted = wanted
        self.daemon = "" if wanted == "direct" else secrets.token_hex(8)
        """Names this process to the manager; empty where no tunnel is wanted."""
        self.listener: Callable[[Offer | None], None] = lambda _: None
        """Told of every offer, and that there is none any more."""
        self._choice = TunnelChoice(kind, folder)
        self._changed = changed
        self._tunnel: Tunnel | None = None
        self._offer: Offer | None = None
        self._applied: Offer | None = None
        self._problem = ""
        self._session_targets: frozenset[Target] | None = None
        self._held: dict[object, frozenset[Target]] = {}
        self._served: frozenset[Target] = frozenset()
        self._wake = asyncio.Event()
        self._round = asyncio.Event()

    @property
    def tunnelled(self) -> bool:
        """Whether requests come by a tunnel, if they come."""
        return self.wanted == "tunnel" or (self.wanted == "auto" and self._offer is not None)

    def take(self, message: v1.Tunnel | None) -> None:
        """The manager's offer, where it makes one; without gateways it has none any more."""
        if message is None or self.wanted == "direct":
            return
        try:
            offer = offer_of(message)
        except BadOfferError as error:
            self._problem = str(error)
            log.error("%s", error)
            return
        self._have(offer if offer.gateways else None)

    def none(self) -> None:
        """The manager has no gateways."""
        if self._offer is not None:
            self._have(None)

    def _have(self, offer: Offer | None) -> None:
        self._offer = offer
        self._wake.set()
        self.listener(offer)

    def serve(self, targets: frozenset[Target]) -> None:
        """What the session's intercepts lead to now."""
        if targets != self._session_targets:
            self._session_targets = targets
            self._wake.set()

    @contextlib.asynccontextmanager
    async def held(self, targets: Iterable[Target]) -> AsyncIterator[None]:
        """Serve these too: from before an intercept is created until the session is known to have it."""
        key = object()
        self._held[key] = frozenset(targets)
        self._wake.set()
        try:
            if self._offer is not None and self._held[key]:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SERVED_WITHIN):
                        while not self._held[key] <= self._served:
                            await self._round.wait()
            yield
        finally:
            asyncio.get_running_loop().call_later(LINGER, self._let_go, key)

    def _let_go(self, key: object) -> None:
        self._held.pop(key, None)
        self._wake.set()

    def presence(self) -> v1.TunnelState | None:
        """What the manager is told; None where the laptop is reached directly."""
        if not self.tunnelled:
            return None
        known = self._session_targets is not None and self._session_targets <= self._served
        tunnel = self._tunnel
        up = tunnel.state.up if tunnel is not None and known else ()
        return v1.TunnelState(kind=tunnel.kind if tunnel is not None else "", up=list(up), detail=self._detail())

    def status(self) -> ReachMessage:
        """What `byway status` shows."""
        states = {each.name: each for each in self._tunnel.state.gateways} if self._tunnel is not None else {}
        now = time.monotonic()
        links = []
        for gateway in self._offer.gateways if self._offer is not None else ():
            state = states.get(gateway.name)
            links.append(
                GatewayLink(
                    name=gateway.name,
                    address=f"{gateway.host}:{gateway.port}",
                    up=state is not None and state.up,
                    seconds=now - state.since if state is not None else 0.0,
                    reason=state.reason if state is not None else self._problem or "being started",
                )
            )
        return ReachMessage(
            wanted=self.wanted,
            way="tunnel" if self.tunnelled else "direct",
            wanted_kind=self._choice.wanted,
            kind=self._tunnel.kind if self._tunnel is not None else "",
            detail=self._remark(),
            gateways=links,
        )

    def _detail(self) -> str:
        if self._tunnel is None:
            return self._remark() or "the tunnel is being started"
        down = [each for each in self._tunnel.state.gateways if not each.up]
        return "; ".join(f"{each.name}: {each.reason}" for each in down)

    def _remark(self) -> str:
        if self.wanted == "tunnel" and self._offer is None:
            return self._problem or NO_GATEWAYS
        if self._problem:
            return self._problem
        why = self._choice.why_not_envoy
        return f"Envoy cannot hold it: {why}" if why and self._tunnel is not None else ""

    async def run(self) -> None:
        """Keep the tunnel as it has to be, until cancelled."""
        try:
            while True:
                self._wake.clear()
                again = not await self._apply()
                self._round.set()
                self._round = asyncio.Event()
                self._changed()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(AGAIN if again else None):
                        await self._wake.wait()
        finally:
            await self._close()

    async def _apply(self) -> bool:
        """One round; returns whether all is as it has to be."""
        offer = self._offer
        wanted = (self._session_targets or frozenset()).union(*self._held.values())
        try:
            if self._tunnel is not None and (broken := self._tunnel.state.broken):
                await self._close()
                self._choice.give_up_envoy(broken)
            if offer is None:
                await self._close()
            elif self._tunnel is None:
                self._tunnel = await self._choice.open(offer, wanted, self._tunnel_changed)
                log.info("the tunnel is held by %s", self._tunnel.kind)
            else:
                if offer != self._applied:
                    await self._tunnel.offer(offer)
                if wanted != self._served:
                    await self._tunnel.declare(wanted)
        except (CannotRunError, OSError) as error:
            if str(error) != self._problem:
                log.error("no tunnel: %s", error)
            self._problem = str(error) or type(error).__name__
            return False
        self._applied, self._served, self._problem = offer, wanted, ""
        return True

    def _tunnel_changed(self) -> None:
        if self._tunnel is not None and self._tunnel.state.broken:
            self._wake.set()
        self._changed()

    async def _close(self) -> None:
        tunnel, self._tunnel = self._tunnel, None
        self._applied, self._served = None, frozenset()
        if tunnel is not None:
            await tunnel.stop()
