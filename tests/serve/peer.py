"""A client and a stream with no gRPC between them: requests in, answers out, one step at a time."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryResponse, DiscoveryResponse

from tests.serve.configs import content_of
from xds.serve import Resource, Store, StreamInfo, TypeStatus, Variant, View
from xds.serve.status import Ack, Nack
from xds.serve.stream import DeltaStream, SotwStream
from xds.serve.wire import DeltaRequest, ErrorDetail, SotwRequest

VIEW = View("group", "node")
_nonces = (f"run{number}" for number in itertools.count(1))


@dataclass(frozen=True)
class Answer:
    """A response, read by the library's parser. `resources` maps names to contents."""

    type_url: str
    resources: Mapping[str, str]
    removed: tuple[str, ...]
    nonce: str
    version: str = ""
    versions: Mapping[str, str] | None = None


def info(variant: Variant, *, aggregated: bool = True) -> StreamInfo:
    return StreamInfo(1, VIEW, VIEW.node, "test/1", "nowhere", variant, aggregated, 0.0)


class Peer(ABC):
    """What tests say in both variants."""

    variant: Variant

    def __init__(self, store: Store | None = None, *, aggregated: bool = True) -> None:
        self.store = store or Store()
        self.paced = False
        """Whether changes are held back until `stream.release()`."""
        self.stream = self._connect(aggregated=aggregated)
        self.stop = self.store.watch(VIEW, self._changed)

    def _changed(self, types: frozenset[str], revision: int, reason: str) -> None:
        if self.stream.on_change(types, revision, reason) and not self.paced:
            self.stream.release()

    def reconnect(self) -> None:
        """A new stream of the same client, to the same store."""
        self.stop()
        self.stream = self._connect(aggregated=True)
        self.stop = self.store.watch(VIEW, self._changed)

    @abstractmethod
    def _connect(self, *, aggregated: bool) -> DeltaStream | SotwStream: ...

    def put(self, *resources: Resource) -> int:
        return self.store.update(group={VIEW.group: {(each.type_url, each.name): each for each in resources}})

    def drop(self, *keys: tuple[str, str]) -> int:
        return self.store.update(group={VIEW.group: dict.fromkeys(keys)})

    def answer(self) -> Answer | None:
        data = self.stream.next_response(0.0)
        return None if data is None else self._parse(data)

    def answers(self) -> list[Answer]:
        """All that the stream says before it waits for something."""
        return list(iter(self.answer, None))

    def exchange(self) -> list[Answer]:
        """Take and acknowledge everything, until there is silence."""
        seen = []
        while (answer := self.answer()) is not None:
            seen.append(answer)
            self.ack(answer)
            assert len(seen) < 100, "it never ends"
        return seen

    def get(self, type_url: str, *names: str) -> list[Answer]:
        """Subscribe and acknowledge everything until there is silence."""
        self.subscribe(type_url, *names)
        return self.exchange()

    def status(self, type_url: str) -> TypeStatus:
        return self.stream.status().types[type_url]

    @abstractmethod
    def _parse(self, data: bytes) -> Answer: ...
    @abstractmethod
    def subscribe(self, type_url: str, *names: str) -> Ack | Nack | None: ...
    @abstractmethod
    def unsubscribe(self, type_url: str, *names: str) -> Ack | Nack | None: ...
    @abstractmethod
    def ack(self, answer: Answer) -> Ack | Nack | None: ...
    @abstractmethod
    def nack(self, answer: Answer, text: str = "refused") -> Ack | Nack | None: ...


class DeltaPeer(Peer):
    variant = Variant.DELTA
    stream: DeltaStream

    def _connect(self, *, aggregated: bool) -> DeltaStream:
        return DeltaStream(self.store, info(self.variant, aggregated=aggregated), identifier="t", nonces=next(_nonces))

    def _parse(self, data: bytes) -> Answer:
        message = DeltaDiscoveryResponse.parse(data)
        names = [each.name for each in message.resources] + list(message.removed_resources)
        assert len(set(names)) == len(names), f"a name comes twice: {names}"
        resources, versions = {}, {}
        for each in message.resources:
            assert each.resource is not None
            assert each.resource.type_url == message.type_url
            resources[each.name] = content_of(each.resource.value)[1]
            versions[each.name] = each.version
        return Answer(message.type_url, resources, tuple(message.removed_resources), message.nonce, "", versions)

    def ask(
        self,
        type_url: str,
        subscribe: Iterable[str] = (),
        unsubscribe: Iterable[str] = (),
        *,
        initial: Mapping[str, str] | None = None,
        nonce: str = "",
        error: str | None = None,
    ) -> Ack | Nack | None:
        detail = ErrorDetail(3, error) if error is not None else None
        request = DeltaRequest(type_url, tuple(subscribe), tuple(unsubscribe), initial or {}, nonce, detail)
        return self.stream.on_request(request, 0.0)

    def subscribe(self, type_url: str, *names: str) -> Ack | Nack | None:
        return self.ask(type_url, names)

    def unsubscribe(self, type_url: str, *names: str) -> Ack | Nack | None:
        return self.ask(type_url, (), names)

    def ack(self, answer: Answer) -> Ack | Nack | None:
        return self.ask(answer.type_url, nonce=answer.nonce)

    def nack(self, answer: Answer, text: str = "refused") -> Ack | Nack | None:
        return self.ask(answer.type_url, nonce=answer.nonce, error=text)


class SotwPeer(Peer):
    variant = Variant.SOTW
    stream: SotwStream

    def _connect(self, *, aggregated: bool) -> SotwStream:
        self._last: dict[str, tuple[str, str]] = {}
        self.names: dict[str, list[str]] = {}
        return SotwStream(self.store, info(self.variant, aggregated=aggregated), identifier="t", nonces=next(_nonces))

    def _parse(self, data: bytes) -> Answer:
        message = DiscoveryResponse.parse(data)
        assert all(each.type_url == message.type_url for each in message.resources)
        pairs = [content_of(each.value) for each in message.resources]
        resources = dict(pairs)
        assert len(resources) == len(pairs), f"a name comes twice: {pairs}"
        return Answer(message.type_url, resources, (), message.nonce, message.version_info)

    def ask(
        self, type_url: str, names: Iterable[str], *, nonce: str = "", version: str = "", error: str | None = None
    ) -> Ack | Nack | None:
        detail = ErrorDetail(3, error) if error is not None else None
        return self.stream.on_request(SotwRequest(type_url, tuple(names), version, nonce, detail), 0.0)

    def _repeat(self, type_url: str, error: str | None = None) -> Ack | Nack | None:
        version, nonce = self._last.get(type_url, ("", ""))
        return self.ask(type_url, self.names.get(type_url, []), nonce=nonce, version=version, error=error)

    def subscribe(self, type_url: str, *names: str) -> Ack | Nack | None:
        known = self.names.setdefault(type_url, [])
        known += [name for name in names if name not in known]
        return self._repeat(type_url)

    def unsubscribe(self, type_url: str, *names: str) -> Ack | Nack | None:
        self.names[type_url] = [name for name in self.names.get(type_url, []) if name not in names]
        return self._repeat(type_url)

    def ack(self, answer: Answer) -> Ack | Nack | None:
        self._last[answer.type_url] = (answer.version, answer.nonce)
        return self._repeat(answer.type_url)

    def nack(self, answer: Answer, text: str = "refused") -> Ack | Nack | None:
        version, _ = self._last.get(answer.type_url, ("", ""))
        self._last[answer.type_url] = (version, answer.nonce)
        return self._repeat(answer.type_url, text)
