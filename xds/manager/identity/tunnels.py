"""What laptops are told of their tunnels: where the gateways are, and a token that they let in.

A token is good for minutes, so each attended session is offered a new one when half of that is over, and the gateways
that the file names now whenever that changes. Only the laptop that the session belongs to hears of it: an older daemon
of the session is told nothing any more, see `Attendance`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from xds.api.byway.manager import v1
from xds.manager.core import Manager
from xds.manager.identity.authority import SERVER_NAME
from xds.manager.identity.identity import Identity
from xds.manager.identity.rotation import TOKEN_SECONDS
from xds.registry.gateway import Gateway
from xds.registry.session import Session

RENEW_AFTER = TOKEN_SECONDS / 2


@dataclass(frozen=True, slots=True)
class Offered:
    """What an offer to a session was made of, and when (registry clock, seconds)."""

    node: str
    namespaces: tuple[str, ...]
    gateways: tuple[Gateway, ...]
    at: float


class Tunnels:
    """Offers to every session. `namespaces` says which ones a user may reach; who isn't there may reach all."""

    def __init__(self, manager: Manager, identity: Identity) -> None:
        self._manager = manager
        self._identity = identity
        self._gateways: tuple[Gateway, ...] = ()
        self._namespaces: Mapping[str, tuple[str, ...]] = {}
        self._offered: dict[str, Offered] = {}

    def configure(self, gateways: Iterable[Gateway], namespaces: Mapping[str, tuple[str, ...]]) -> None:
        """These are the gateways, and the namespaces of users, from now on."""
        self._gateways = tuple(gateways)
        self._namespaces = namespaces
        self.tick()

    def offer(self, session: Session, since: Offered | None = None) -> tuple[v1.Tunnel | None, Offered | None]:
        """What a session is to be told now, if it is, and what that was made of. `since` is what it was told last.

        Without gateways, or a daemon that takes the offer, there is nothing to tell but that there was something.
        """
        wanted = self._wanted(session)
        if not wanted.gateways or not session.daemon:
            self._offered.pop(session.id, None)
            return (v1.Tunnel(node=session.node), None) if since is not None else (None, None)
        if since is not None and not _due(since, wanted):
            return None, since
        self._offered[session.id] = wanted
        token, seconds = self._identity.keys.sign(wanted.node, wanted.namespaces)
        gateways = [
            v1.Gateway(name=one.name, address=str(one.tunnel), server_name=SERVER_NAME) for one in wanted.gateways
        ]
        authority = self._identity.authority.pem.decode()
        return v1.Tunnel(node=wanted.node, token=token, token_seconds=seconds, ca=authority, gateways=gateways), wanted

    def tick(self) -> None:
        """Wake the attendances of those sessions that are to be told something new."""
        sessions = self._manager.state.sessions
        self._offered = {key: one for key, one in self._offered.items() if key in sessions}
        for key in self._manager.attended:
            session = sessions.get(key)
            if session is not None and self._stale(session):
                self._manager.mailboxes[key].pulse.fire()

    def _stale(self, session: Session) -> bool:
        offered, wanted = self._offered.get(session.id), self._wanted(session)
        if offered is None:
            return bool(wanted.gateways and session.daemon)
        return _due(offered, wanted)

    def _wanted(self, session: Session) -> Offered:
        namespaces = self._namespaces.get(session.user, ("*",))
        return Offered(session.node, namespaces, self._gateways, self._manager.clock.now())


def _due(last: Offered, wanted: Offered) -> bool:
    same = (last.node, last.namespaces, last.gateways) == (wanted.node, wanted.namespaces, wanted.gateways)
    return not same or wanted.at - last.at >= RENEW_AFTER
