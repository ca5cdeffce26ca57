"""A server by one transport: what it has for the node, how long to wait, and how to make it change."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import grpc
import grpc.aio

from xds.serve.client import Response, StreamEndedError, client_of, endpoint_names, open_stream, route_names
from xds.serve.resource import CLUSTER, ENDPOINT, FULL_STATE, LISTENER, PUSH_ORDER, ROUTE
from xds.serve.wire import Node
from xds.terminal.words import plain
from xdsctl.conform.probe import ANYTHING, Probe
from xdsctl.conform.rule import BrokenError, On, Transport, UnjudgedError
from xdsctl.fetched import kind_of
from xdsctl.resources import TYPES

ABSENT: Final = "xdsctl-conformance/absent"
"""A name that no server has."""
_MADE: Final = "xdsctl-conformance/{}"
_LOOKING: Final = 5.0
"""Seconds to wait for what the server has."""

Change: TypeAlias = Callable[[str, str, str], Awaitable[None]]
"""Has the server change: a verb, a type's plural and a name. Raises UnjudgedError where that can't be."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A response, and which types had been asked for on its stream."""

    stream: int
    asked: frozenset[str]
    response: Response


@dataclass(slots=True, eq=False)
class Bench:
    """One server by one transport. Times in seconds: `patience` for what has to come, `quiet` for what must not."""

    channel: grpc.aio.Channel
    transport: Transport
    who: Node
    metadata: tuple[tuple[str, str], ...] = ()
    patience: float = 10.0
    quiet: float = 0.3
    change: Change | None = None
    inventory: dict[str, tuple[str, ...]] = field(default_factory=dict)
    endpoints: dict[str, str] = field(default_factory=dict)
    """Clusters, and under which name each asks for its endpoints."""
    seen: list[Seen] = field(default_factory=list)
    _made: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @asynccontextmanager
    async def open(self, url: str) -> AsyncIterator[Probe]:
        """A new stream, for this type."""
        service = url if self.transport.per_type else None
        client = client_of(self.transport.variant, self.who)
        async with open_stream(self.channel, client, type_url=service, metadata=self.metadata) as stream:
            yield Probe(self, stream, url)

    def note(self, probe: Probe, response: Response) -> None:
        """Keep a response for the rules that look at all of them."""
        self.seen.append(Seen(probe.number, frozenset(probe.asked), response))

    async def fence(self) -> None:
        """Have the server answer somebody else: it has had the time to say what it has to say."""
        url, names = next(iter(self.inventory.items()))
        async with self.open(url) as probe:
            await probe.want(names[0])
            await probe.next(self.patience)

    def is_full(self, url: str) -> bool:
        """Whether the type has a wildcard and, in state of the world, full sets."""
        return url in FULL_STATE

    def by_push_order(self) -> list[tuple[str, tuple[str, ...]]]:
        """What there is, in the order in which Envoy asks for it."""
        ranks = {url: rank for rank, url in enumerate(PUSH_ORDER)}
        return sorted(self.inventory.items(), key=lambda item: ranks.get(item[0], len(ranks)))

    def types(self, on: On) -> list[str]:
        """The types to try a rule for."""
        if on is On.SERVER:
            return [""]
        least = 2 if on in {On.PAIR, On.FULL_PAIR} else 1
        wanted = [url for url, names in self.inventory.items() if len(names) >= least]
        return [url for url in wanted if self.is_full(url)] if on in {On.FULL, On.FULL_PAIR} else wanted

    def one(self, url: str) -> str:
        """A resource of the type."""
        return self.inventory[url][0]

    def pair(self, url: str) -> tuple[str, str]:
        """Two resources of the type."""
        return self.inventory[url][0], self.inventory[url][1]

    async def changed(self, verb: str, url: str, name: str) -> None:
        """Have the server change, once it has heard all that was said. Raises UnjudgedError where it can't be."""
        if self.change is None:
            raise UnjudgedError("needs --change-command")
        await self.fence()
        await self.change(verb, kind_of(url), name)

    @asynccontextmanager
    async def made(self, url: str) -> AsyncIterator[str]:
        """A name that the server has not yet; what is put under it goes away again."""
        if self.change is None:
            raise UnjudgedError("needs --change-command")
        name = _MADE.format(next(self._made))
        try:
            yield name
        finally:
            with contextlib.suppress(UnjudgedError):
                await self.changed("drop", url, name)


def run_command(command: str) -> Change:
    """A change by a command of the user's own: it is given a verb, a type and a name, and fails where it can't."""
    words = shlex.split(command)

    async def change(verb: str, kind: str, name: str) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                verb,
                kind,
                name,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise UnjudgedError(f"--change-command: {(error.strerror or str(error)).lower()}") from None
        _, said = await process.communicate()
        if process.returncode:
            reason = plain((said.decode(errors="replace").strip().splitlines() or ["it says nothing"])[-1])
            raise UnjudgedError(f"the change command would not {verb} {kind}: {reason}")

    return change


async def look(bench: Bench, more: Mapping[str, Iterable[str]]) -> None:
    """Find what the server has: all clusters and listeners, what those name, and `more`. Raises StreamEndedError for a
    stream that the server ends at once, and UnjudgedError where there is nothing."""
    clusters = await _look(bench, CLUSTER, None)
    listeners = await _look(bench, LISTENER, None)
    try:
        bench.endpoints = {name: found[0] for name, body in clusters.items() if (found := endpoint_names(body))}
        routes = [name for body in listeners.values() for name in route_names(body)]
    except ValueError as error:
        raise BrokenError(f"a resource is none: {plain(str(error))}") from None
    named: dict[str, list[str]] = {ENDPOINT: list(bench.endpoints.values()), ROUTE: routes}
    for url, names in more.items():
        named[url] = [*named.get(url, ()), *names]
    everything = {CLUSTER: clusters, LISTENER: listeners}
    for url, names in named.items():
        everything[url] = {
            **everything.get(url, {}),
            **(await _look(bench, url, list(dict.fromkeys(names))) if names else {}),
        }
    bench.inventory = {url: tuple(sorted(names)) for url, names in sorted(everything.items(), key=_rank) if names}
    if not bench.inventory:
        raise UnjudgedError("the server has no clusters and no listeners for this node; name what it has: --resource")


def _rank(item: tuple[str, object]) -> int:
    kind = kind_of(item[0])
    return TYPES.index(kind) if kind in TYPES else len(TYPES)


async def _look(bench: Bench, url: str, names: list[str] | None) -> dict[str, bytes]:
    """Names and bodies of what comes: of these names, or all there is, asked for by `*` or else by silence."""
    found: dict[str, bytes] = {}
    for wanted in ((ANYTHING,), ()) if names is None else (tuple(names),):
        try:
            async with bench.open(url) as probe:
                await probe.want(*wanted)
                while names is None or found.keys() != set(names):
                    response = await probe.next(bench.quiet if found else _LOOKING)
                    if response is None:
                        break
                    found |= {each.name: each.body for each in response.resources}
                    await probe.ack(response)
                    if not response.resources:
                        break
        except StreamEndedError as error:
            if found:
                break
            if error.code is not grpc.StatusCode.UNIMPLEMENTED or not bench.transport.per_type:
                raise
        if found:
            break
    return found
