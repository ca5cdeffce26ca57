"""A short share of the fuzzers, with fixed seeds; `make soak-wire` and `make soak-xds` go on for longer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from tests.serve import wire_oracle
from tests.serve.peer import DeltaPeer, Peer, SotwPeer
from tests.serve.rude import converse
from tests.serve.wire_oracle import Tally, fuzz
from xds.serve import CLUSTER, ROUTE, Resource, wire
from xds.serve.watch import Watch
from xds.serve.wire import DeltaRequest, decode_delta_request

MESSAGES = 3000
CONVERSATIONS = 60


def test_strange_messages_are_read_and_written_as_the_library_does() -> None:
    tally = Tally()
    fuzz("fixed", MESSAGES, tally)
    assert tally.apart == []
    assert tally.messages == MESSAGES
    for kind in ("sotw", "delta", "sotw, spoilt", "delta, spoilt", "responses", "refused"):
        assert tally.seen[kind] > 0, kind


def test_a_codec_that_reads_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(data: bytes) -> DeltaRequest:
        request = decode_delta_request(data)
        request.unsubscribe = request.unsubscribe[:1]
        return request

    monkeypatch.setattr(wire_oracle, "decode_delta_request", forgetful)
    tally = Tally()
    fuzz("fixed", 200, tally)
    assert tally.apart


def test_a_codec_that_writes_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    write = wire.sotw_prefix

    def careless(url: str, version: str, resources: Iterable[Resource], who: str) -> bytes:
        return write(url, version, list(resources)[1:], who)

    monkeypatch.setattr(wire_oracle, "sotw_prefix", careless)
    tally = Tally()
    fuzz("fixed", 400, tally)
    assert any("bytes of a response" in each for each in tally.apart)


def test_whatever_a_client_says_nothing_raises_leaks_or_comes_again_after_a_refusal() -> None:
    seen: Counter[str] = Counter()
    _all_conversations(seen)
    assert seen["conversations"] == CONVERSATIONS
    assert seen["refused"] > 20
    assert seen["responses"] > 500


def _all_conversations(seen: Counter[str]) -> None:
    for number in range(CONVERSATIONS):
        converse(f"fixed {number}", seen)


def _resending(watch: Any) -> Any:
    reject = watch._reject

    def resend(self: Any, flight: Any, error: Any, at: float) -> Any:
        self._known.clear()
        self.make_due = True
        return reject(self, flight, error, at)

    return resend


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("_reject", _resending, "were refused and come again"),
        ("_forget", lambda _: lambda self, names: None, "are kept, and nobody wants them"),
    ],
)
def test_a_stream_that_breaks_a_promise_is_found(
    monkeypatch: pytest.MonkeyPatch, name: str, change: Any, message: str
) -> None:
    monkeypatch.setattr(Watch, name, change(Watch))
    with pytest.raises(AssertionError, match=message):
        _all_conversations(Counter())


@pytest.mark.parametrize("kind", [DeltaPeer, SotwPeer])
def test_an_acknowledgement_of_what_was_unsubscribed_from_meanwhile_keeps_nothing(kind: type[Peer]) -> None:
    peer = kind()
    peer.put(Resource.of(ROUTE, "a", b"\xa2\x06\x03a=1"), Resource.of(ROUTE, "b", b"\xa2\x06\x03b=1"))
    peer.subscribe(ROUTE, "a", "b")
    answer = peer.answer()
    assert answer is not None
    if isinstance(peer, DeltaPeer):
        peer.unsubscribe(ROUTE, "a")
        peer.ack(answer)
    else:
        assert isinstance(peer, SotwPeer)
        peer.ask(ROUTE, ["b"])
        peer.ask(ROUTE, ["b"], nonce=answer.nonce)
    assert peer.status(ROUTE).acked.keys() == {"b"}


def test_a_name_that_went_with_the_wildcard_is_not_answered_any_more() -> None:
    peer = DeltaPeer()
    peer.put(Resource.of(CLUSTER, "a", b"\xa2\x06\x03a=1"))
    peer.subscribe(CLUSTER, "*", "nobody")
    answer = peer.answer()
    assert answer is not None
    peer.unsubscribe(CLUSTER, "nobody")
    peer.unsubscribe(CLUSTER, "*")
    peer.ack(answer)
    assert peer.answers() == []
