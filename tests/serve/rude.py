"""Requests that no client of good manners sends, in any order, beside a model of what they mean.

Where the stateful tests play clients that behave, this one says anything: names nobody has, unsubscribing from what was
never asked for, nonces that are stale, of another type or invented, refusals of what was not sent, versions kept from
nowhere at any time. After each step:

* nothing has raised;
* the stream's subscription is what the requests say by the protocol's rules, and it keeps nothing of other names;
* responses end, have nonces of their own, no name twice, and only what is subscribed to, or endpoints of clusters;
* what was refused has not come again since nothing that concerns it has changed and nobody has asked for it.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.serve.configs import opaque
from tests.serve.peer import VIEW, info
from xds.serve import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource, Store, Variant
from xds.serve.client.messages import (
    Response,
    decode_delta_response,
    decode_sotw_response,
    encode_delta_request,
    encode_sotw_request,
)
from xds.serve.protobuf import encode_field
from xds.serve.resource import FULL_STATE
from xds.serve.stream import DeltaStream, SotwStream

TYPES = (CLUSTER, ENDPOINT, LISTENER, ROUTE)
NAMES = ("a", "b", "c", "nobody", "")
STEPS = 120


@dataclass
class Wanted:
    """What a client has asked for of one type, by the protocol's rules."""

    names: set[str] = field(default_factory=set)
    wildcard: bool = False
    named: bool = False
    started: bool = False
    last_nonce: str = ""

    def covers(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def replace(self, names: list[str]) -> None:
        self.named = self.named or bool(names)
        self.wildcard = "*" in names or not self.named
        self.names = set(names) - {"*"}
        self.started = True

    def change(self, subscribe: list[str], unsubscribe: list[str]) -> None:
        if not self.started and not subscribe and not unsubscribe:
            self.wildcard = True
        # A name in both lists is subscribed to.
        dropped = set(unsubscribe) - set(subscribe)
        if "*" in dropped:
            self.wildcard = False
        if "*" in subscribe:
            self.wildcard = True
        self.names = (self.names | set(subscribe)) - dropped - {"*"}
        self.started = True


class Rude:
    """One stream and what it is told. `seen` counts what happened."""

    def __init__(self, rng: random.Random, variant: Variant, seen: Counter[str]) -> None:
        self.rng, self.variant, self.seen = rng, variant, seen
        self.types = rng.choice([TYPES, (ENDPOINT, ROUTE), (ROUTE,)])
        self.store = Store()
        self.contents = itertools.count(1)
        self.wanted: dict[str, Wanted] = {}
        self.nonces: list[str] = ["", "invented"]
        self.open: dict[str, Response] = {}
        self.stirred: Counter[str] = Counter()
        self.sent_at: dict[str, int] = {}
        self.said: list[str] = []
        """What was said and done, for people."""
        self.refused: dict[str, set[tuple[str, bytes]]] = {}
        kind: Any = DeltaStream if variant is Variant.DELTA else SotwStream
        self.stream: DeltaStream | SotwStream = kind(self.store, info(variant), identifier="t", nonces="n")
        self.stop = self.store.watch(VIEW, self.on_change)
        for name in "ab":
            for url in self.types:
                self.put(url, name)

    def on_change(self, types: frozenset[str], revision: int, reason: str) -> None:
        self.stream.on_change(types, revision, reason)

    def resource(self, url: str, name: str) -> Resource:
        one = opaque(url, name, str(next(self.contents)), eds=name if url == CLUSTER and name != "c" else None)
        return Resource.of(url, name, encode_field(1, name) + one.body)

    def put(self, url: str, name: str) -> None:
        self.store.update(group={VIEW.group: {(url, name): self.resource(url, name)}})

    # Steps

    def step(self) -> None:
        act = self.rng.choices([self.change, self.ask, self.answer, self.release, self.settle], [3, 5, 5, 2, 1])[0]
        self.seen[act.__name__] += 1
        act()
        self.drain()
        self.check()

    def change(self) -> None:
        url, name = self.rng.choice(self.types), self.rng.choice("abc")
        if self.rng.random() < 0.3:
            self.store.update(group={VIEW.group: {(url, name): None}})
        else:
            self.put(url, name)
        self.said.append(f"{kind_of(url)} {name} changes")
        self.concerns(url)

    def concerns(self, url: str) -> None:
        """Something of this type may go out again for a reason; endpoints for a reason of clusters too."""
        for each in (url, ENDPOINT) if url == CLUSTER else (url,):
            self.refused.pop(each, None)
            self.stirred[each] += 1

    def release(self) -> None:
        self.said.append("released")
        self.stream.release()

    def settle(self) -> None:
        self.stream.settle()

    def some_names(self) -> list[str]:
        return self.rng.sample([*NAMES, "*"], self.rng.choice([0, 0, 1, 1, 2, 3]))

    def ask(self) -> None:
        """Anything about any type."""
        url = self.rng.choice(self.types)
        nonce = self.rng.choice([*self.nonces[-6:], "", "", "invented"])
        error = "no" if self.rng.random() < 0.2 else ""
        self.concerns(url)
        if self.variant is Variant.SOTW:
            self.sotw(url, self.some_names(), nonce, error)
        else:
            versions = {name: "1" for name in self.rng.sample(NAMES, self.rng.choice([0, 0, 2]))}
            self.delta(url, self.some_names(), self.some_names(), nonce, error, versions)

    def sotw(self, url: str, names: list[str], nonce: str, error: str) -> None:
        wanted = self.wanted.setdefault(url, Wanted())
        version = self.rng.choice(["", "1"])
        self.said.append(f"{kind_of(url)} {names} nonce {nonce!r} {error}")
        self.stream.receive(encode_sotw_request(url, names, version=version, nonce=nonce, error=error), 0.0)
        stale = bool(nonce) and bool(wanted.last_nonce) and nonce != wanted.last_nonce
        if not (wanted.started and stale):
            wanted.replace(names)
        self.open.pop(nonce, None)

    def delta(
        self, url: str, subscribe: list[str], unsubscribe: list[str], nonce: str, error: str, versions: dict[str, str]
    ) -> None:
        self.said.append(f"{kind_of(url)} +{subscribe} -{unsubscribe} has {versions} nonce {nonce!r} {error}")
        request = encode_delta_request(url, subscribe, unsubscribe, nonce=nonce, error=error, versions=versions)
        self.stream.receive(request, 0.0)
        self.wanted.setdefault(url, Wanted()).change(subscribe, unsubscribe)
        self.open.pop(nonce, None)

    def answer(self) -> None:
        """Accept or refuse a response, as a client does."""
        if not self.open:
            return
        nonce = self.rng.choice(list(self.open))
        response = self.open.pop(nonce)
        url, refuse = response.type_url, self.rng.random() < 0.4
        error = "no" if refuse else ""
        self.said.append(f"{kind_of(url)} {'refuses' if refuse else 'takes'} {nonce}")
        wanted = self.wanted[url]
        if self.variant is Variant.SOTW:
            names = [*wanted.names, *(["*"] if wanted.wildcard and wanted.named else [])]
            newest = nonce == wanted.last_nonce
            if not wanted.started:
                return
            self.stream.receive(
                encode_sotw_request(url, names, version=response.version, nonce=nonce, error=error), 0.0
            )
        else:
            newest = True
            self.stream.receive(encode_delta_request(url, nonce=nonce, error=error), 0.0)
            if not wanted.started:
                # An unasked response, answered: the first word about this type, and one that names nothing.
                wanted.change([], [])
        unasked = url == ENDPOINT and CLUSTER in self.types
        stirred = self.sent_at[nonce] != self.stirred[url]
        if refuse and newest and not unasked and not stirred and url not in FULL_STATE:
            # What was stirred meanwhile goes out, and what was refused with it. Of a full set what was not at fault may
            # come again with the next change.
            self.refused[url] = {(each.name, each.body) for each in response.resources if wanted.covers(each.name)}
            self.seen["refused"] += 1

    # What comes of it

    def drain(self) -> None:
        for _ in range(50):
            data = self.stream.next_response(0.0)
            if data is None:
                return
            decode = decode_delta_response if self.variant is Variant.DELTA else decode_sotw_response
            self.take(decode(data))
        raise AssertionError("it never ends")

    def take(self, response: Response) -> None:
        url = response.type_url
        assert response.nonce
        assert response.nonce not in self.nonces
        self.nonces.append(response.nonce)
        names = [each.name for each in response.resources]
        self.said.append(f"    {kind_of(url)} {response.nonce}: {names} removed {response.removed}")
        assert len(set(names) | set(response.removed)) == len(names) + len(response.removed), "a name comes twice"
        wanted = self.wanted.setdefault(url, Wanted())
        strange = [name for name in names if not wanted.covers(name)]
        assert url == ENDPOINT or not strange, f"{strange} came, and nobody asked for them"
        again = {(each.name, each.body) for each in response.resources} & self.refused.get(url, set())
        assert not again, f"{sorted(name for name, _ in again)} were refused and come again"
        if url == CLUSTER:
            self.concerns(ENDPOINT)
        self.sent_at[response.nonce] = self.stirred[url]
        wanted.last_nonce = response.nonce
        self.open[response.nonce] = response
        self.seen["responses"] += 1

    def check(self) -> None:
        for url, status in self.stream.status().types.items():
            wanted = self.wanted[url]
            assert (set(status.names), status.wildcard) == (wanted.names, wanted.wildcard), url
        watches: Any = self.stream._order
        for watch in watches:
            wanted = self.wanted.get(watch.type_url, Wanted())
            kept = {*watch.acked, *watch._known, *watch._rejected, *watch._asked}
            if not (self.variant is Variant.SOTW and watch.type_url in FULL_STATE) and watch.type_url != ENDPOINT:
                leaked = [name for name in kept if not wanted.covers(name)]
                assert not leaked, f"{watch.type_url}: {leaked} are kept, and nobody wants them"
            assert sum(flight.gating for flight in watch.flights.values()) <= 1

    def close(self) -> None:
        """The stream ends."""
        self.stream.close(0.0)
        self.stop()
        assert self.store.watchers == 0


def kind_of(url: str) -> str:
    return url.rpartition(".")[2]


def converse(seed: str, seen: Counter[str]) -> None:
    """One conversation. Raises AssertionError, or whatever it should not."""
    rng = random.Random(seed)
    rude = Rude(rng, rng.choice(list(Variant)), seen)
    for _ in range(STEPS):
        try:
            rude.step()
        except Exception as error:
            error.add_note("\n".join([f"{rude.variant}, conversation {seed!r}:", *rude.said[-25:]]))
            raise
    rude.close()
    seen["conversations"] += 1
