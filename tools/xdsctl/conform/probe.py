"""One stream, and someone at its end who may behave as no client would: stale nonces, no node, names never asked for.

`want`, `ack` and `gather` do what a client of good manners does; `sotw` and `delta` send whatever they are told to.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from xds.serve.client.messages import Received, Response, encode_delta_request, encode_node, encode_sotw_request
from xds.serve.client.stream import Stream
from xds.serve.status import Variant
from xdsctl.conform.rule import BrokenError
from xdsctl.nodes import listed

if TYPE_CHECKING:
    from xdsctl.conform.bench import Bench

ANYTHING = "*"
_NUMBERS = itertools.count(1)


def names_in(response: Response) -> list[str]:
    """The names of the resources in it."""
    return [each.name for each in response.resources]


def words(names: Iterable[str]) -> str:
    """Names, quoted and sorted, some of them only counted where there are many."""
    return listed([repr(name) for name in sorted(names)])


class Probe:
    """One stream. Methods are about the type `url` unless they are told another, which aggregated streams take.

    All raise StreamEndedError when the server ends the stream, and ValueError for a response that is none.
    """

    def __init__(self, bench: Bench, stream: Stream, url: str) -> None:
        self.url = url
        self.with_node = True
        """Whether the first request says who asks."""
        self.asked: set[str] = set()
        self.number = next(_NUMBERS)
        self._bench = bench
        self._stream = stream
        self._begun = False
        self._wanted: dict[str, tuple[str, ...]] = {}
        self._nonces: dict[str, str] = {}
        self._versions: dict[str, str] = {}
        self._taken: dict[str, deque[Response]] = {}
        """Responses that came, and were acknowledged, while another type was looked for."""
        self._answered: set[str] = set()
        self._early: deque[Response] = deque()

    @property
    def is_sotw(self) -> bool:
        """Whether state of the world is spoken."""
        return self._bench.transport.variant is Variant.SOTW

    def _who(self) -> bytes:
        begun, self._begun = self._begun, True
        return b"" if begun or not self.with_node else encode_node(self._bench.who)

    async def sotw(
        self,
        names: Sequence[str] = (),
        *,
        nonce: str | None = None,
        version: str | None = None,
        error: str = "",
        url: str | None = None,
    ) -> None:
        """A DiscoveryRequest with just this; nonce and version are the last ones unless they are given."""
        url = self.url if url is None else url
        nonce = self._nonces.get(url, "") if nonce is None else nonce
        version = self._versions.get(url, "") if version is None else version
        self.asked.add(url)
        who = self._who()
        await self._stream.send(encode_sotw_request(url, names, version=version, nonce=nonce, error=error, who=who))

    async def delta(
        self,
        subscribe: Sequence[str] = (),
        unsubscribe: Sequence[str] = (),
        *,
        versions: Mapping[str, str] | None = None,
        nonce: str = "",
        error: str = "",
        url: str | None = None,
    ) -> None:
        """A DeltaDiscoveryRequest with just this."""
        url = self.url if url is None else url
        self.asked.add(url)
        who = self._who()
        await self._stream.send(
            encode_delta_request(url, subscribe, unsubscribe, versions=versions, nonce=nonce, error=error, who=who)
        )

    async def want(self, *names: str, url: str | None = None) -> None:
        """Want these of the type, and no others."""
        url = self.url if url is None else url
        before = self._wanted.get(url, ())
        self._wanted[url] = names
        if self.is_sotw:
            await self.sotw(names, url=url)
            return
        added = [name for name in names if name not in before]
        await self.delta(added, [name for name in before if name not in names], url=url)

    async def ack(self, response: Response) -> None:
        """Take a response."""
        url = response.type_url
        if response.nonce and response.nonce in self._answered:
            return
        self._answered.add(response.nonce)
        self._nonces[url], self._versions[url] = response.nonce, response.version
        await self._settled(response)

    async def nack(self, response: Response) -> None:
        """Refuse a response."""
        self._nonces[response.type_url] = response.nonce
        await self._settled(response, "refused, to see what the server makes of it")

    async def _settled(self, response: Response, error: str = "") -> None:
        url = response.type_url
        if self.is_sotw:
            await self.sotw(self._wanted.get(url, ()), error=error, url=url)
        else:
            await self.delta(nonce=response.nonce, error=error, url=url)

    async def heard(self) -> None:
        """The server has had the time to answer what was said so far, and what it said has arrived."""
        # The read is begun before: what arrives for it then arrives before the answer to somebody else.
        response = await self._stream.receive_within(0.0)
        if response is not None:
            self._early.append(response)
        await self._bench.fence()

    async def any(self, within: float) -> Response | None:
        """The next response of whatever type."""
        response = self._early.popleft() if self._early else await self._stream.receive_within(within)
        if response is not None:
            self._bench.note(self, response)
        return response

    async def next(self, within: float, url: str | None = None) -> Response | None:
        """The next response of the type; those of others are acknowledged, and kept until they are looked for."""
        url = self.url if url is None else url
        loop = asyncio.get_running_loop()
        until = loop.time() + within
        if taken := self._taken.get(url):
            return taken.popleft()
        while (response := await self.any(max(until - loop.time(), 0.0))) is not None:
            if response.type_url == url:
                break
            await self.ack(response)
            self._taken.setdefault(response.type_url, deque()).append(response)
        return response

    async def answer(self, why: str, url: str | None = None) -> Response:
        """The next response, which has to come."""
        response = await self.next(self._bench.patience, url)
        if response is None:
            raise BrokenError(f"{why}: no answer within {self._bench.patience:g} s")
        return response

    async def gather(self, names: Collection[str], why: str, url: str | None = None) -> dict[str, Received]:
        """These resources, which have to come, in however many responses; all of those are taken."""
        found: dict[str, Received] = {}
        loop = asyncio.get_running_loop()
        until = loop.time() + self._bench.patience
        while missing := [name for name in names if name not in found]:
            response = await self.next(max(until - loop.time(), 0.0), url)
            if response is None:
                raise BrokenError(f"{why}: {words(missing)} not sent within {self._bench.patience:g} s")
            found |= {each.name: each for each in response.resources}
            await self.ack(response)
        return found

    async def get(self, *names: str, url: str | None = None) -> dict[str, Received]:
        """Want these, by name, and get them."""
        await self.want(*names, url=url)
        return await self.gather(names, "asked for by name", url)

    async def gone(self, name: str, why: str) -> None:
        """The name has to be said to be removed (delta), or left out of the full set (state of the world)."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._bench.patience
        while True:
            response = await self.next(max(until - loop.time(), 0.0))
            if response is None:
                raise BrokenError(f"{why}: nothing said that it is gone within {self._bench.patience:g} s")
            await self.ack(response)
            if name in response.removed if not self.is_sotw else name not in names_in(response):
                return

    async def settle(self) -> list[Response]:
        """Take whatever comes, until there is silence."""
        await self.heard()
        found = []
        while (response := await self.next(self._bench.quiet)) is not None:
            found.append(response)
            await self.ack(response)
            if len(found) > 20:
                raise BrokenError("the server goes on sending for ever what is acknowledged at once")
        return found

    async def silence(self, why: str, *, of: Collection[str] | None = None) -> None:
        """Nothing may come, or nothing with resources of these names in it (`*`: of any)."""
        await self.heard()
        for _ in range(20):
            response = await self.next(self._bench.quiet)
            if response is None:
                return
            await self.ack(response)
            if of is None:
                raise BrokenError(f"{why}: and was sent {_contents(response)}")
            if found := [name for name in names_in(response) if ANYTHING in of or name in of]:
                raise BrokenError(f"{why}: and was sent {words(found)}")
        raise BrokenError(f"{why}: and was sent one response after the other")

    async def not_again(self, refused: Response) -> None:
        """What was refused must not come again. Something else may: a server that goes back to what was in force has
        changed its mind, and does not repeat itself."""
        same = {(each.name, each.body) for each in refused.resources}
        await self.heard()
        for _ in range(5):
            response = await self.next(self._bench.quiet)
            if response is None:
                return
            await self.ack(response)
            if response.resources and {(each.name, each.body) for each in response.resources} <= same:
                raise BrokenError(f"refused what was sent: and was sent {_contents(response)} again")
        raise BrokenError("refused what was sent: and was sent one response after the other")

    async def all_types(self) -> None:
        """On an aggregated stream, ask for the rest as Envoy does: a server may hold removals back until then."""
        if self._bench.transport.per_type:
            return
        for url, names in self._bench.by_push_order():
            if url not in self.asked:
                wanted = () if self._bench.is_full(url) else names
                await self.want(*wanted, url=url)
                await self.gather(names, "asked for", url)


def _contents(response: Response) -> str:
    found = [words(names_in(response))] if response.resources else []
    found += [f"the removal of {words(response.removed)}"] if response.removed else []
    return " and ".join(found) or "an empty response"
