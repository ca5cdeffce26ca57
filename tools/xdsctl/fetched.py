"""What an xDS server was asked, what it answered, and that in words."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

from xds.serve import resource as types
from xds.serve.client import Client, Received, Response, Stream, StreamEndedError, open_stream
from xds.serve.services import method_path
from xds.serve.status import Variant
from xds.terminal.failure import Exit, FailureError, usage
from xds.terminal.output import styled
from xds.terminal.words import plain
from xdsctl.collect import Ask, Collector
from xdsctl.decode import decode
from xdsctl.nodes import listed
from xdsctl.redact import redacted
from xdsctl.resources import Listing, Resource
from xdsctl.server import Server, failure_of_end, metadata_of
from xdsctl.tables import listing_table

SETTLED = 0.2
"""Seconds of silence after which a server that has answered everything is taken to have said all of it."""
QUIET = 1.0
"""Seconds of silence after which one that has said something of each type is."""

URLS = {
    "listeners": types.LISTENER,
    "routes": types.ROUTE,
    "clusters": types.CLUSTER,
    "endpoints": types.ENDPOINT,
    "secrets": types.SECRET,
    "extensions": types.EXTENSION,
    "runtimes": types.RUNTIME,
    "scoped-routes": types.SCOPED_ROUTE,
    "virtual-hosts": types.VIRTUAL_HOST,
}
KINDS = {url: kind for kind, url in URLS.items()}


def type_url(kind: str) -> str:
    """The URL of a type that is named so."""
    return URLS.get(kind, kind)


def kind_of(url: str) -> str:
    """What a type is called."""
    return KINDS.get(url, url)


def check_services(variant: Variant, urls: Sequence[str]) -> None:
    """Whether each type has a service of its own. Raises FailureError."""
    for url in urls:
        try:
            method_path(variant, url)
        except ValueError as error:
            raise usage(f"--per-type: {error}", hint="leave it out") from None


class Fetch:
    """A conversation with a server, over one stream or one for each type. A context; raises FailureError."""

    def __init__(
        self,
        server: Server,
        new_client: Callable[[], Client],
        variant: Variant,
        type_urls: Sequence[str],
        *,
        names: Sequence[str] = (),
        per_type: bool = False,
    ) -> None:
        self.server = server
        self.variant = variant
        self.per_type = per_type
        self.collector = Collector(variant, type_urls, names)
        self.on_response: Callable[[Response], object] = lambda _: None
        self._new_client = new_client
        self._clients: dict[str, Client] = {}
        self._streams: dict[str, Stream] = {}
        self._readers: list[asyncio.Task[None]] = []
        self._inbox: asyncio.Queue[tuple[str, Response | Exception]] = asyncio.Queue()
        self._stack = AsyncExitStack()
        self._who = self._client("").node

    async def __aenter__(self) -> Fetch:
        self._metadata = metadata_of(self.server.token())
        try:
            self._channel = await self._stack.enter_async_context(self.server.channel())
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        await self._stack.aclose()

    @property
    def node(self) -> str:
        """Who we say we are."""
        return self._who.id

    @property
    def anything(self) -> bool:
        """Whether the server has answered at all."""
        return any(one.responses for one in self.collector.types.values())

    @property
    def control_planes(self) -> str:
        """Who the server says it is."""
        return ", ".join(sorted({one.control_plane for one in self.collector.types.values() if one.control_plane}))

    def client(self, url: str) -> Client:
        """The client that speaks of a type."""
        return self._client(url if self.per_type else "")

    def _client(self, key: str) -> Client:
        return self._clients.setdefault(key, self._new_client())

    async def _stream(self, url: str) -> Stream:
        key = url if self.per_type else ""
        if key not in self._streams:
            opening = open_stream(self._channel, self._client(key), type_url=key or None, metadata=self._metadata)
            self._streams[key] = await self._stack.enter_async_context(opening)
            self._readers.append(asyncio.create_task(self._read(key, self._streams[key])))
        return self._streams[key]

    async def _read(self, key: str, stream: Stream) -> None:
        try:
            while True:
                self._inbox.put_nowait((key, await stream.receive()))
        except (StreamEndedError, ValueError) as error:
            self._inbox.put_nowait((key, error))

    async def _ask(self, asks: Sequence[Ask]) -> None:
        for url, names in asks:
            await (await self._stream(url)).subscribe(url, names)

    async def collect(self, seconds: float) -> None:
        """Ask, and take what comes: until all of it is there, or nothing has come for a while."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        try:
            # What is sent waits for a connection.
            await asyncio.wait_for(self._ask(self.collector.first()), seconds)
        except TimeoutError:
            raise _unconnected(self.server.address, seconds) from None
        except StreamEndedError as error:
            raise self._failure(error) from None
        try:
            while (left := until - loop.time()) > 0:
                await self._take(await asyncio.wait_for(self._inbox.get(), min(left, self._patience(left))))
        except TimeoutError:
            return
        except (StreamEndedError, ValueError) as error:
            raise self._failure(error) from None

    def _patience(self, left: float) -> float:
        urls = [url for url, _ in self.collector.shown]
        if all(self.collector.answered(url, self.client(url)) for url in urls):
            return SETTLED
        return QUIET if all(map(self.collector.touched, urls)) else left

    async def follow(self) -> None:
        """Take what comes for as long as the stream lasts, then raise FailureError."""
        while True:
            try:
                await self._take(await self._inbox.get())
            except (StreamEndedError, ValueError) as error:
                raise self._failure(error) from None

    async def _take(self, received: tuple[str, Response | Exception]) -> None:
        key, response = received
        if isinstance(response, Exception):
            raise response
        answer, asks, drops = self.collector.take(self._clients[key], response)
        await self._streams[key].send(answer)
        one = self.collector.types[response.type_url]
        if one.shown:
            self.on_response(response)
        await self._ask(asks)
        for url, names in drops:
            await (await self._stream(url)).unsubscribe(url, names)

    def _failure(self, error: StreamEndedError | ValueError) -> FailureError:
        if isinstance(error, StreamEndedError):
            return failure_of_end(error, self.server.address)
        return FailureError(f"{self.server.address} does not speak xDS: {plain(str(error))}", code="malformed")

    def listing(self, url: str) -> Listing:
        """What is held of a type."""
        endpoints = self._resources(types.ENDPOINT) if url == types.CLUSTER else []
        return Listing(self.node, kind_of(url), "server", self._resources(url), endpoints=endpoints)

    def _resources(self, url: str) -> list[Resource]:
        one = self.collector.types.get(url)
        held = self.client(url).held(url) if one else {}
        return [shown(held[name], one.version if one else "") for name in sorted(held)]


def _unconnected(address: str, seconds: float) -> FailureError:
    return FailureError(
        f"no connection to {address} within {seconds:g} s: nothing answers there, or something that is no gRPC server",
        hint="is it the address of an xDS server, and does it want --tls?",
        code="unavailable",
        exit_code=Exit.NOT_CONNECTED,
    )


def shown(received: Received, version: str) -> Resource:
    """A resource as it is shown: without secrets. `version` is for one that has none of its own."""
    body = redacted(decode(received.type_url, received.body))
    if "unreadable" in body:
        # What can't be read can't be known to hold no secret.
        body.pop("value", None)
    return Resource(received.name, body, received.version or version)


def as_dict(one: Fetch) -> dict[str, Any]:
    """What `-o json` and `-o yaml` print."""
    found = []
    for url, progress in one.collector.shown:
        client = one.client(url)
        answered = one.collector.answered(url, client)
        more: dict[str, Any] = {"missing": missing} if (missing := one.collector.missing(url, client)) else {}
        more |= {"problems": progress.problems} if progress.problems else {}
        resources = [
            {"name": each.name, "version": each.version, "resource": each.body} for each in one.listing(url).resources
        ]
        found.append({"type": kind_of(url), "answered": answered, **more, "resources": resources})
    transport = f"{one.variant}, {'per type' if one.per_type else 'aggregated'}"
    return {
        "address": one.server.address,
        "node": one.node,
        "transport": transport,
        "control_plane": one.control_planes,
        "types": found,
    }


def text(one: Fetch, *, wide: bool) -> str:
    """The tables. Names and texts are a stranger's, and must not steer the terminal."""
    listings = [one.listing(url) for url, _ in one.collector.shown]
    parts = []
    for listing in listings:
        title = f"{styled(listing.type, bold=True)}: {len(listing.resources) or 'none'}\n" if len(listings) > 1 else ""
        table = listing_table(_harmless(listing), wide=wide) if listing.resources else ""
        parts.append(title + table)
    return "\n".join(part for part in parts if part)


def _harmless(listing: Listing) -> Listing:
    resources, endpoints = (
        [Resource(plain(each.name), _plain(each.body), plain(each.version)) for each in those]
        for those in (listing.resources, listing.endpoints)
    )
    return Listing(plain(listing.node), listing.type, listing.source, resources, endpoints=endpoints)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {plain(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return plain(value) if isinstance(value, str) else value


def problems(one: Fetch, seconds: float) -> list[tuple[str, str]]:
    """What did not come, each as a sentence and a hint."""
    return [found for url, _ in one.collector.shown for found in _problems_of(one, url, seconds)]


def _problems_of(one: Fetch, url: str, seconds: float) -> Iterator[tuple[str, str]]:
    address, kind, progress = one.server.address, kind_of(url), one.collector.types[url]
    for problem in progress.problems:
        yield f"{address} sent {kind} that no client may take, and they were refused: {plain(problem)}", ""
    if progress.names is None:
        source = "listeners" if url == types.ROUTE else "clusters"
        yield (
            f"no {kind} were asked for, since {address} did not answer about {source}",
            f"name them with --type {kind} --name",
        )
    elif not one.collector.touched(url):
        yield f"{address} took the question about {kind}, and has not answered within {seconds:g} s", _why_silent(one)
    elif missing := one.collector.missing(url, one.client(url)):
        absent = one.client(url).absent(url)
        said = "says that there is no" if set(missing) <= absent else "has not sent"
        yield f"{address} {said} {kind.removesuffix('s')} {plain(listed([repr(each) for each in missing]))}", ""


def _why_silent(one: Fetch) -> str:
    known = "it may not know the node " + repr(one.node)
    if one.variant is Variant.SOTW:
        return f"{known}, or have nothing of that type: in state of the world nothing need be said then; try --delta"
    return f"{known}, or not serve that type, or not be ready; try --sotw, or a longer --timeout"


def change_of(response: Response, control_plane: str) -> dict[str, Any]:
    """A response, for programs that watch."""
    resources = [shown(each, response.version) for each in response.resources if not each.is_heartbeat]
    return {
        "type": kind_of(response.type_url),
        "version": response.version,
        "nonce": response.nonce,
        "control_plane": control_plane,
        "removed": list(response.removed),
        "resources": [{"name": each.name, "version": each.version, "resource": each.body} for each in resources],
    }


def change_line(response: Response) -> str:
    """A response, for people who watch."""
    names = sorted(each.name for each in response.resources)
    parts = [f"got {listed(names)}"] if names else []
    parts += [f"removed {listed(sorted(response.removed))}"] if response.removed else []
    facts = [f"version {response.version}"] if response.version else []
    facts += [f"nonce {response.nonce}", f"{response.size} B"]
    line = f"{kind_of(response.type_url)}: {'; '.join(parts) or 'nothing'} ({', '.join(facts)})"
    return f"{time.strftime('%H:%M:%S')}  {plain(line)}\n"
