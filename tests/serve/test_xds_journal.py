"""What was pushed, why, and what was said of it; and who watches."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.serve.client import delta, sotw
from tests.serve.configs import opaque
from tests.serve.harness import GROUP, NODE, serve, until
from tests.serve.peer import VIEW, DeltaPeer, Peer, SotwPeer
from xds.serve import CLUSTER, ENDPOINT, ROUTE, Refused, Resource, StreamInfo, Variant, View
from xds.serve.journal import Bounds, Journal, TooManyWatchersError
from xds.serve.push import MOST_NAMES, MOST_REASONS, Contents, Outcome, Pushed
from xds.serve.tap import Asked, Came, Lost, Went


def put(peer: Peer, resource: Resource, reason: str) -> None:
    peer.store.update(group={VIEW.group: {(resource.type_url, resource.name): resource}}, reason=reason)


class Listening:
    """A peer whose stream's pushes are kept."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.journal = Journal()
        peer.stream._scribe = self.journal.open(peer.stream.info)

    @property
    def pushes(self) -> tuple[Pushed, ...]:
        return self.journal.history(VIEW.node)

    def last(self) -> Pushed:
        return self.pushes[-1]


@pytest.fixture(params=[DeltaPeer, SotwPeer])
def listening(request: pytest.FixtureRequest) -> Listening:
    return Listening(request.param())


def test_a_push_says_why_and_what_and_what_became_of_it(listening: Listening) -> None:
    peer = listening.peer
    put(peer, opaque(ROUTE, "r"), "the beginning")
    peer.subscribe(ROUTE, "r")
    (answer,) = peer.answers()
    assert listening.last().reasons == ("subscription",)
    assert listening.last().outcome is Outcome.WAITING
    peer.ack(answer)
    assert (listening.last().outcome, listening.last().answered) == (Outcome.ACKED, 0.0)
    put(peer, opaque(ROUTE, "r", "longer"), "somebody wants it longer")
    (answer,) = peer.answers()
    peer.nack(answer, "too long")
    push = listening.last()
    assert push.reasons == ("somebody wants it longer",)
    assert (push.outcome, push.nack, push.revision) == (Outcome.NACKED, "too long", 2)
    assert [(one.name, one.size) for one in push.contents.items] == [("r", len(opaque(ROUTE, "r", "longer").body))]
    assert push.contents.version == (answer.version or "")
    assert push.size > push.contents.items[0].size


def test_a_refusal_stays_in_the_history_when_it_is_over(listening: Listening) -> None:
    peer = listening.peer
    put(peer, opaque(ROUTE, "r"), "bad")
    peer.subscribe(ROUTE, "r")
    (answer,) = peer.answers()
    peer.nack(answer, "no")
    put(peer, opaque(ROUTE, "r", "good"), "good")
    peer.exchange()
    assert peer.status(ROUTE).nack is None
    assert [one.nack for one in listening.pushes] == ["no", ""]


def test_a_push_carries_the_reason_of_every_change_that_it_carries(listening: Listening) -> None:
    peer = listening.peer
    put(peer, opaque(ROUTE, "r"), "")
    peer.get(ROUTE, "r")
    peer.paced = True
    for number in range(3):
        put(peer, opaque(ROUTE, "r", f"a{number}"), f"change {number % 2}")
    peer.stream.release()
    peer.exchange()
    assert listening.last().reasons == ("change 0", "change 1")
    for number in range(MOST_REASONS + 3):
        put(peer, opaque(ROUTE, "r", f"b{number}"), f"change {number}")
    peer.stream.release()
    peer.exchange()
    assert listening.last().reasons == (*(f"change {number}" for number in range(MOST_REASONS)), "and 3 more")


def test_a_change_that_needs_no_push_is_no_reason_for_the_next(listening: Listening) -> None:
    peer = listening.peer
    put(peer, opaque(ROUTE, "r"), "")
    peer.get(ROUTE, "r")
    put(peer, opaque(ROUTE, "another"), "nobody here asked for it")
    assert peer.answers() == []
    put(peer, opaque(ROUTE, "r", "2"), "wanted")
    peer.exchange()
    assert listening.last().reasons == ("wanted",)


def test_a_removal_that_follows_has_the_reason_of_its_change() -> None:
    listening = Listening(DeltaPeer())
    peer = listening.peer
    put(peer, opaque(CLUSTER, "a"), "")
    peer.get(CLUSTER, "*")
    assert listening.last().reasons == ("connected",)
    changes = {(CLUSTER, "a"): None, (CLUSTER, "b"): opaque(CLUSTER, "b")}
    peer.store.update(group={VIEW.group: changes}, reason="a is b now")
    peer.exchange()
    added, removed = listening.pushes[-2:]
    assert [one.name for one in added.contents.items] == ["b"]
    assert removed.contents.removed == ("a",)
    assert added.reasons == removed.reasons == ("a is b now",)


def test_endpoints_that_go_out_unasked_say_so() -> None:
    listening = Listening(DeltaPeer())
    peer = listening.peer
    put(peer, opaque(CLUSTER, "c", eds="e"), "")
    put(peer, opaque(ENDPOINT, "e"), "")
    peer.get(CLUSTER, "*")
    peer.get(ENDPOINT, "e")
    peer.subscribe(CLUSTER, "c")
    sent = {(one.type_url, one.reasons) for one in listening.pushes if one.type_url == ENDPOINT}
    assert (ENDPOINT, ("subscription",)) in sent
    put(peer, opaque(CLUSTER, "c", "2", eds="e"), "changed")
    peer.answers()
    assert listening.last().type_url == ENDPOINT


def test_what_is_in_flight_when_the_stream_ends_is_cut_off(listening: Listening) -> None:
    peer = listening.peer
    put(peer, opaque(ROUTE, "r"), "")
    peer.subscribe(ROUTE, "r")
    peer.answers()
    peer.stream.close(3.0)
    assert (listening.last().outcome, listening.last().answered) == (Outcome.CUT_OFF, 3.0)


def test_of_a_large_push_some_names_are_kept_and_the_others_counted() -> None:
    resources = [opaque(CLUSTER, f"c{number:04}") for number in range(MOST_NAMES + 7)]
    contents = Contents.of(resources, [f"g{number}" for number in range(MOST_NAMES + 1)], "v")
    assert (len(contents.items), contents.more_items) == (MOST_NAMES, 7)
    assert (len(contents.removed), contents.more_removed) == (MOST_NAMES, 1)


# What is kept


def pushed(names: int = 1) -> Pushed:
    contents = Contents.of([opaque(ROUTE, f"r{number}") for number in range(names)], [], "")
    return Pushed(ROUTE, "n", 1, 0.0, 10, contents, ())


def stream(node: str, number: int = 1) -> StreamInfo:
    return StreamInfo(number, View("g", node), node, "envoy/1", "peer", Variant.DELTA, True, 0.0)


def test_the_last_pushes_of_a_node_are_kept() -> None:
    journal = Journal(Bounds(pushes=3))
    kept = [pushed() for _ in range(5)]
    for one in kept:
        journal.keep("n", one)
    assert journal.history("n") == tuple(kept[2:])


def test_who_was_sent_nothing_for_longest_is_forgotten_first() -> None:
    one = pushed().contents.weight
    journal = Journal(Bounds(weight=4 * one))
    for node in ("a", "b", "a", "c", "a"):
        journal.keep(node, pushed())
    assert [len(journal.history(node)) for node in "abc"] == [3, 0, 1]
    assert journal.weight == 4 * one


def test_nodes_that_are_gone_are_remembered_for_a_while_and_not_too_many_of_them() -> None:
    journal = Journal(Bounds(gone_nodes=2, gone_seconds=100))
    for at, node in enumerate("abc"):
        journal.open(stream(node))
        journal.keep(node, pushed())
        journal.close(stream(node), float(at))
    assert [journal.knows(node) for node in "abc"] == [False, True, True]
    journal.open(stream("c"))
    journal.forget_old(150.0)
    assert [journal.knows(node) for node in "abc"] == [False, False, True]


def test_a_node_with_another_stream_is_not_gone() -> None:
    journal = Journal(Bounds(gone_nodes=0))
    journal.open(stream("a", 1))
    journal.open(stream("a", 2))
    journal.keep("a", pushed())
    journal.close(stream("a", 1), 1.0)
    assert journal.knows("a")
    journal.close(stream("a", 2), 2.0)
    assert not journal.knows("a")
    assert journal.weight == 0


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.sampled_from("abcd"), st.just(0)),
        st.tuples(st.just("close"), st.sampled_from("abcd"), st.just(0)),
        st.tuples(st.just("keep"), st.sampled_from("abcd"), st.integers(0, MOST_NAMES + 2)),
    ),
    max_size=80,
)


@given(STEPS)
def test_whatever_happens_the_bounds_hold(steps: list[tuple[str, str, int]]) -> None:
    bounds = Bounds(pushes=5, weight=120, gone_nodes=2)
    journal = Journal(bounds)
    streams: dict[str, int] = {}
    for at, (what, node, names) in enumerate(steps):
        if what == "open":
            journal.open(stream(node))
            streams[node] = streams.get(node, 0) + 1
        elif what == "close" and streams.get(node):
            journal.close(stream(node), float(at))
            streams[node] -= 1
        elif what == "keep" and streams.get(node):
            journal.keep(node, pushed(names))
        kept = {each: journal.history(each) for each in "abcd"}
        assert journal.weight == sum(one.contents.weight for held in kept.values() for one in held)
        assert journal.weight <= bounds.weight or sum(map(bool, kept.values())) == 1
        assert all(len(held) <= bounds.pushes for held in kept.values())
        assert sum(bool(held) and not streams.get(each) for each, held in kept.items()) <= bounds.gone_nodes


# Who watches


async def test_a_watcher_sees_both_directions_and_comings_and_goings() -> None:
    async with serve() as served:
        served.put(opaque(ROUTE, "r"))
        with served.xds.journal.tap(NODE) as tap:
            async with delta(served.address) as client:
                response = await client.request_ack(ROUTE, ["r"])
            seen = [await asyncio.wait_for(tap.next(), 5) for _ in range(5)]
        came, asked, sent, acked, went = seen
        assert isinstance(came, Came)
        assert isinstance(asked, Asked)
        assert (asked.meaning, asked.names, asked.after) == ("request", ("r",), None)
        assert isinstance(sent, Pushed)
        assert sent.nonce == response.nonce
        assert isinstance(acked, Asked)
        assert (acked.meaning, acked.nonce) == ("ack", sent.nonce)
        assert acked.after is not None
        assert acked.after >= 0
        assert isinstance(went, Went)


async def test_a_watcher_sees_refusals_stale_answers_and_what_was_kept() -> None:
    async with serve() as served, sotw(served.address) as old, delta(served.address, node_id="node-2") as client:
        served.put(opaque(ROUTE, "r"))
        with served.xds.journal.tap(NODE, [ROUTE]) as tap, served.xds.journal.tap("node-2") as other:
            await old.request_nack(ROUTE, ["r"])
            await old.request(ROUTE, nonce="long-ago")
            await client.request(ROUTE, ["r"], ["s"], initial={"r": "1", "t": "2"})
            meanings: list[tuple[str, str]] = []
            while len(meanings) < 3:
                event = await asyncio.wait_for(tap.next(), 5)
                meanings += [(event.meaning, event.error)] if isinstance(event, Asked) else []
            assert meanings == [("request", ""), ("nack", "refused"), ("stale", "")]
            assert isinstance(await asyncio.wait_for(other.next(), 5), Came)
            event = await asyncio.wait_for(other.next(), 5)
            assert isinstance(event, Asked)
            assert (event.names, event.unsubscribed, event.kept) == (("r",), ("s",), 2)


async def test_only_the_types_that_are_wanted_are_told_of() -> None:
    async with serve() as served, delta(served.address) as client:
        served.put(opaque(ROUTE, "r"), opaque(CLUSTER, "c"))
        with served.xds.journal.tap(NODE, [CLUSTER]) as tap:
            await client.request_ack(ROUTE, ["r"])
            await client.request_ack(CLUSTER, ["*"])
            seen = [await asyncio.wait_for(tap.next(), 5) for _ in range(4)]
        assert [one.type_url for one in seen if isinstance(one, Asked | Pushed)] == [CLUSTER] * 3


async def test_a_slow_watcher_is_told_what_he_missed_and_no_stream_waits_for_him() -> None:
    journal = Journal(Bounds(events=4))
    async with serve(journal=journal) as served, delta(served.address) as client:
        served.put(opaque(ROUTE, "r"))
        with journal.tap(NODE) as tap:
            await client.request_ack(ROUTE, ["r"])
            for number in range(20):
                served.put(opaque(ROUTE, "r", f"{number}"))
                await client.response_ack()
            await until(lambda: journal.history(NODE)[-1].outcome is Outcome.ACKED)
            seen = [await asyncio.wait_for(tap.next(), 5) for _ in range(5)]
            assert [isinstance(one, Lost) for one in seen] == [False] * 4 + [True]
            (lost,) = (one for one in seen if isinstance(one, Lost))
            # The beginning, 21 pushes, their acknowledgements and the request; four of them were kept.
            assert lost.count == 1 + 21 + 21 + 1 - 4
            served.put(opaque(ROUTE, "r", "again"))
            event = await asyncio.wait_for(tap.next(), 5)
            assert isinstance(event, Pushed)


def test_so_many_may_watch_and_no_more() -> None:
    journal = Journal(Bounds(watchers=1))
    with journal.tap("a"), pytest.raises(TooManyWatchersError, match="1 others"), journal.tap("b"):
        raise AssertionError
    with journal.tap("b"):
        assert "taps=1" in repr(journal)
    assert "taps=0" in repr(journal)


# Ending streams


async def test_an_expelled_node_has_its_streams_ended_and_the_others_stay() -> None:
    async with serve() as served, delta(served.address) as one, delta(served.address, node_id="node-2") as two:
        served.put_own(opaque(ROUTE, "r"))
        served.put(opaque(CLUSTER, "c"))
        await one.request_ack(ROUTE, ["r"])
        await two.request_ack(CLUSTER, ["*"])
        served.store.replace(nodes={NODE: []})
        served.xds.expel(NODE, Refused(grpc.StatusCode.PERMISSION_DENIED, "gone"))
        assert await one.expect_end() == (grpc.StatusCode.PERMISSION_DENIED, "gone")
        served.put(opaque(CLUSTER, "c", "2"))
        assert [each.name for each in (await two.response_ack()).resources] == ["c"]
        assert [each.stream.view for each in served.xds.clients()] == [View(GROUP, "node-2")]
