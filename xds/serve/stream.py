"""All types of one stream, and the order in which they speak.

No I/O: bytes of requests go in, bytes of responses come out. On an aggregated stream the order is make before break
(xDS protocol, "Eventual consistency considerations"): clusters, their endpoints, listeners, routes, back to back and
without waiting for acknowledgements, because a client works through a stream in order; removals when nothing is left to
add. Two more rules keep a client from pointing at what it has not got:

* While clusters have something to add but must wait for an acknowledgement, listeners and routes wait too; and routes
  wait for listeners, since a route may lead to an internal listener of the same client.
* A client that has just connected is sent no removals before it has asked for all that there is for it (or a few
  seconds have passed, see `settle`): its clusters may be in use by routes whose replacement it has yet to ask for.

Endpoints follow a cluster that was added or changed, unasked: a client that receives a cluster waits for its endpoints,
even if it has them, and in delta it does not ask (https://github.com/envoyproxy/envoy/issues/13009).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from typing import Generic, TypeAlias

import grpc

from xds.serve.delta import DeltaWatch
from xds.serve.journal import Scribe
from xds.serve.limits import Limits, Refused
from xds.serve.push import Pushed
from xds.serve.resource import CLUSTER, ENDPOINT, LISTENER, PUSH_ORDER, REMOVAL_ORDER, ROUTE, SCOPED_ROUTE, VIRTUAL_HOST
from xds.serve.sotw import SotwWatch
from xds.serve.status import Ack, ClientStatus, Lag, LastSent, Nack, StreamInfo, SyncState
from xds.serve.store import Store
from xds.serve.watch import Moment, Request, Response, Watch
from xds.serve.wire import DeltaRequest, SotwRequest, decode_delta_request, decode_sotw_request

_BEHIND_CLUSTERS = frozenset({LISTENER, SCOPED_ROUTE, ROUTE, VIRTUAL_HOST})
_BEHIND_LISTENERS = frozenset({SCOPED_ROUTE, ROUTE, VIRTUAL_HOST})
_AWAITED_ON_CONNECT = frozenset({CLUSTER, LISTENER, ROUTE})


class Stream(ABC, Generic[Request]):
    """One stream of either variant. It reads the store whenever it makes a response, and keeps none.

    `nonces` starts every nonce: something that no other stream has, so that a nonce of an earlier stream is never taken
    for one of this.
    """

    def __init__(
        self,
        store: Store,
        info: StreamInfo,
        *,
        identifier: str,
        nonces: str,
        type_url: str | None = None,
        limits: Limits | None = None,
        scribe: Scribe | None = None,
    ) -> None:
        self.info = info
        self.latest: tuple[str, LastSent] | None = None
        """The response that was made last, and its type."""
        self._scribe = scribe
        self._store = store
        self._type_url = type_url
        self._limits = limits or Limits()
        self._identifier = identifier
        self._nonces = nonces
        self._sent = 0
        self._watches: dict[str, Watch[Request]] = {}
        self._order: list[Watch[Request]] = []
        self._held: set[Watch[Request]] = set()
        self._reported: dict[str, int] = {}
        self._settled = not info.aggregated

    def __repr__(self) -> str:
        return f"<Stream {self.info} {self._order}>"

    def receive(self, data: bytes, at: float) -> tuple[str, Ack | Nack | None]:
        """Take in a serialised request. Returns the type it is about and what it says of a response.

        Raises ValueError for what is no request for a type of this stream, and Refused for too much of it.
        """
        request = self._decode(data)
        if request.mentions > self._limits.names:
            raise self._too_much(f"{request.mentions} resource names in one request", self._limits.names)
        if self._type_url is not None and not request.type_url:
            request = replace(request, type_url=self._type_url)
        if self._type_url not in {None, request.type_url}:
            raise ValueError(f"type_url is {request.type_url!r} in a request to the service for {self._type_url!r}")
        if not request.type_url:
            raise ValueError("a request on an aggregated stream has no type_url; set it")
        if self._scribe is not None and self._scribe.watched:
            self._scribe.asked(request, len(data), self._answered(request), at)
        verdict = self.on_request(request, at)
        if len(self._watches) > self._limits.types:
            raise self._too_much(f"{len(self._watches)} types on one stream", self._limits.types)
        names = len(self._watches[request.type_url].subscription.names)
        if names > self._limits.names:
            raise self._too_much(f"{names} subscriptions to {request.type_url}", self._limits.names)
        return request.type_url, verdict

    def _answered(self, request: Request) -> Pushed | None:
        """The response that a request speaks of."""
        watch = self._watches.get(request.type_url)
        flight = watch.flights.get(request.nonce) if watch is not None else None
        return flight.pushed if flight is not None else None

    def _too_much(self, what: str, limit: int) -> Refused:
        return Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{what}; the limit is {limit}")

    def on_request(self, request: Request, at: float) -> Ack | Nack | None:
        """Take in a request for the type that it names; say what it says of a response, if it does."""
        type_url = request.type_url
        watch = self._watch(type_url)
        verdict = watch.on_request(request, at)
        watch.expect(self._store.snapshot(self.info.view, type_url).revision)
        return verdict

    def on_change(self, types: Iterable[str], revision: int, reason: str = "") -> bool:
        """Something of these types changed in the view, for this reason. Says whether the client has asked for any of
        them; then `release` is to follow, at once or a little later."""
        dirty = [watch for type_url in types if (watch := self._watches.get(type_url)) is not None and watch.started]
        for watch in dirty:
            watch.dirty(revision, reason)
        self._held.update(dirty)
        return bool(dirty)

    def release(self) -> None:
        """What changed may go out."""
        for watch in self._held:
            watch.release()
        self._held.clear()

    def close(self, at: float) -> None:
        """The stream has ended."""
        for watch in self._order:
            watch.close(at)
        if self._scribe is not None:
            self._scribe.closed(at)

    def settle(self) -> bool:
        """The client has had time to ask for all that it wants. Says whether that was news."""
        news, self._settled = not self._settled, True
        return news

    def next_response(self, at: float) -> bytes | None:
        """The next response, made from the newest state, or None: then something has to happen first."""
        if any(watch.make_due or watch.unmake_due for watch in self._order):
            # Responses are made from the newest state of their type, so other types must not lag behind theirs.
            self.release()
        response = self._make(at)
        if response is None and self._may_remove():
            response = self._unmake(at)
        return response

    def _make(self, at: float) -> bytes | None:
        for watch in self._order:
            if not watch.make_due or self._must_wait(watch.type_url):
                continue
            response = watch.make(self._store.snapshot(self.info.view, watch.type_url), self._moment(at))
            if response is not None:
                return self._sending(watch, response)
        return None

    def _unmake(self, at: float) -> bytes | None:
        for watch in sorted(self._order, key=_removal_rank):
            if watch.unmake_due:
                response = watch.unmake(self._store.snapshot(self.info.view, watch.type_url), self._moment(at))
                if response is not None:
                    return self._sending(watch, response)
        return None

    def _must_wait(self, type_url: str) -> bool:
        """Whether what this type may point at is still to be added."""
        return (type_url in _BEHIND_CLUSTERS and self._adding(CLUSTER)) or (
            type_url in _BEHIND_LISTENERS and self._adding(LISTENER)
        )

    def _adding(self, type_url: str) -> bool:
        watch = self._watches.get(type_url)
        return watch is not None and watch.make_due

    def _may_remove(self) -> bool:
        if any(watch.make_due for watch in self._order):
            return False
        if not self._settled:
            awaited = _AWAITED_ON_CONNECT & self._store.types(self.info.view)
            self._settled = all(type_url in self._watches and self._watches[type_url].started for type_url in awaited)
        return self._settled

    def _moment(self, at: float) -> Moment:
        return Moment(self._store.revision, f"{self._nonces}-{self._sent + 1:x}", at)

    def _sending(self, watch: Watch[Request], response: Response) -> bytes:
        self._sent += 1
        if watch.last_sent is not None:
            self.latest = (watch.type_url, watch.last_sent)
        if self._scribe is not None:
            self._scribe.pushed(response.pushed)
        if watch.type_url == CLUSTER and self.info.aggregated:
            names = [each.endpoints for each in response.fresh if each.endpoints is not None]
            if names:
                endpoints = self._watch(ENDPOINT)
                endpoints.touch(names)
                # Before its first clusters have settled a client has no use for endpoints that it did not ask for; it
                # will ask, and gets these whatever it says it has.
                endpoints.make_due = endpoints.make_due or endpoints.started or watch.acked_revision > 0
        return response.data

    def _watch(self, type_url: str) -> Watch[Request]:
        watch = self._watches.get(type_url)
        if watch is None:
            watch = self._watches[type_url] = self._new_watch(type_url)
            self._order = sorted(self._watches.values(), key=_push_rank)
        return watch

    @abstractmethod
    def _new_watch(self, type_url: str) -> Watch[Request]:
        """The state of one more type."""

    @abstractmethod
    def _decode(self, data: bytes) -> Request:
        """Read a request of this variant."""

    def progress(self) -> list[tuple[str, int]]:
        """The types of which more is in force than at the last call, each with the newest revision in force."""
        now = {watch.type_url: watch.acked_revision for watch in self._order}
        news = [
            (type_url, revision) for type_url, revision in now.items() if revision > self._reported.get(type_url, 0)
        ]
        self._reported = now
        return news

    def lag(self, revision: int, types: Iterable[str]) -> list[Lag]:
        """Which of these types have not acknowledged everything up to this revision.

        A type without a change since the last acknowledgement has. One that exists for the client but was never asked
        for has not; on a stream of a single type, the other types are not missed.
        """
        found = []
        for type_url in types:
            watch = self._watches.get(type_url)
            if watch is None or not watch.started:
                if self.info.aggregated and self._store.snapshot(self.info.view, type_url).resources:
                    found.append(Lag(self.info, type_url, SyncState.NOT_REQUESTED, None))
            elif watch.owed is not None and watch.owed <= revision:
                found.append(Lag(self.info, type_url, watch.state, watch.nack))
        return found

    def status(self) -> ClientStatus:
        """All that is known of it, to be shown."""
        return ClientStatus(self.info, {watch.type_url: watch.status() for watch in self._order if watch.started})


class DeltaStream(Stream[DeltaRequest]):
    """A delta stream."""

    def _new_watch(self, type_url: str) -> DeltaWatch:
        return DeltaWatch(type_url, self._identifier)

    def _decode(self, data: bytes) -> DeltaRequest:
        return decode_delta_request(data)


class SotwStream(Stream[SotwRequest]):
    """A state-of-the-world stream."""

    def _new_watch(self, type_url: str) -> SotwWatch:
        return SotwWatch(type_url, self._identifier)

    def _decode(self, data: bytes) -> SotwRequest:
        return decode_sotw_request(data)


AnyStream: TypeAlias = DeltaStream | SotwStream


_PUSH_RANK = {type_url: rank for rank, type_url in enumerate(PUSH_ORDER)}
_REMOVAL_RANK = {type_url: rank for rank, type_url in enumerate(REMOVAL_ORDER)}


def _push_rank(watch: Watch[Request]) -> tuple[int, str]:
    return _PUSH_RANK.get(watch.type_url, len(_PUSH_RANK)), watch.type_url


def _removal_rank(watch: Watch[Request]) -> tuple[int, str]:
    return _REMOVAL_RANK.get(watch.type_url, len(_REMOVAL_RANK)), watch.type_url
