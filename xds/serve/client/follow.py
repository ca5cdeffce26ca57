"""Asking for what resources name, as Envoy does: all clusters and their endpoints, all listeners and their routes.

Clusters come first and listeners once clusters are answered, since a listener may lead to any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final

from xds.serve.client.client import Client
from xds.serve.client.messages import Received, Response
from xds.serve.protobuf import as_bytes, as_text, fields
from xds.serve.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource

_MANAGER: Final = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)


@lru_cache(maxsize=4096)
def endpoint_names(body: bytes) -> tuple[str, ...]:
    """Under which name a serialised Cluster asks for its endpoints, if it does. Raises ValueError."""
    names = [as_text("name", kind, value) for number, kind, value in fields(body) if number == 1]
    found = Resource(names[-1] if names else "", "", CLUSTER, body).endpoints
    return (found,) if found else ()


@lru_cache(maxsize=4096)
def route_names(body: bytes) -> tuple[str, ...]:
    """The route configurations that a serialised Listener asks for, each once. Raises ValueError."""
    chains = (value for number in (3, 25) for value in _inner(body, number))
    filters = (each for chain in chains for each in _inner(chain, 3))
    configs = (config for each in filters for config in _inner(each, 4))
    managers = (_value(config) for config in configs if _text(config, 1) == _MANAGER)
    found = (_text(rds, 2) for manager in managers for rds in _inner(manager, 3))
    return tuple(dict.fromkeys(name for name in found if name))


def _inner(data: bytes, wanted: int) -> Iterator[bytes]:
    """The messages in a field."""
    return (as_bytes(f"field {wanted}", kind, value) for number, kind, value in fields(data) if number == wanted)


def _value(config: bytes) -> bytes:
    return next(_inner(config, 2), b"")


def _text(data: bytes, wanted: int) -> str:
    found = (as_text(f"field {wanted}", kind, value) for number, kind, value in fields(data) if number == wanted)
    return next(found, "")


NAMED: Final[dict[str, tuple[str, Callable[[bytes], tuple[str, ...]]]]] = {
    CLUSTER: (ENDPOINT, endpoint_names),
    LISTENER: (ROUTE, route_names),
}
"""What resources of a type name: another type, and how to find the names."""


class References:
    """Which names the resources of a type, as they come and go, refer to."""

    def __init__(self, find: Callable[[bytes], tuple[str, ...]]) -> None:
        self._find = find
        self._by_name: dict[str, tuple[str, ...]] = {}

    def take(self, response: Response) -> tuple[list[str], list[str]]:
        """Note an acknowledged response; returns the names that are new, and those that nothing names any more.

        Raises ValueError for a resource that can't be read, and notes nothing then.
        """
        found = {each.name: self._names(each) for each in response.resources}
        before = self.names
        self._by_name |= found
        for name in response.removed:
            self._by_name.pop(name, None)
        after = self.names
        return [name for name in after if name not in before], [name for name in before if name not in after]

    def _names(self, resource: Received) -> tuple[str, ...]:
        return self._by_name.get(resource.name, ()) if resource.is_heartbeat else self._find(resource.body)

    @property
    def names(self) -> dict[str, None]:
        """All of them, in order."""
        return {name: None for names in self._by_name.values() for name in names}


class Follower:
    """Drives a client over one aggregated stream after the other, as Envoy asks."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._references = {type_url: References(find) for type_url, (_, find) in NAMED.items()}

    def begin(self) -> list[bytes]:
        """What to send first on a new stream."""
        return self.client.restart() or [self.client.subscribe(CLUSTER)]

    def answer(self, response: Response) -> list[bytes]:
        """Acknowledge a response or, if it can't be taken, refuse it; and ask for what it makes worth asking for."""
        if response.type_url not in NAMED or response.problem:
            return [self.client.answer(response)]
        wanted, _ = NAMED[response.type_url]
        try:
            new, gone = self._references[response.type_url].take(response)
        except ValueError as error:
            return [self.client.refuse(response, str(error))]
        requests = [self.client.acknowledge(response)]
        requests += [self.client.subscribe(wanted, new)] if new else []
        requests += [self.client.unsubscribe(wanted, gone)] if gone else []
        if response.type_url == CLUSTER and not self.client.names(LISTENER):
            requests.append(self.client.subscribe(LISTENER))
        return requests
