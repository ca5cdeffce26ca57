"""Rules of the protocol that hold in both variants, on the streams themselves, without gRPC."""

from __future__ import annotations

import pytest

from tests.serve.configs import opaque
from tests.serve.peer import VIEW, DeltaPeer, Peer, SotwPeer
from xds.serve import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, SyncState
from xds.serve.status import Ack, Nack


@pytest.fixture(params=[DeltaPeer, SotwPeer])
def peer(request: pytest.FixtureRequest) -> Peer:
    made: Peer = request.param()
    return made


def test_an_acknowledgement_is_known_by_its_nonce(peer: Peer) -> None:
    revision = peer.put(opaque(CLUSTER, "a"))
    peer.subscribe(CLUSTER)
    (answer,) = peer.answers()
    assert peer.status(CLUSTER).state is SyncState.STALE
    assert peer.ack(answer) == Ack(revision)
    assert peer.ack(answer) is None
    assert peer.status(CLUSTER).state is SyncState.SYNCED
    assert peer.status(CLUSTER).acked == {"a": opaque(CLUSTER, "a").version}


def test_a_refusal_is_known_by_its_error_detail_and_its_text_is_kept(peer: Peer) -> None:
    revision = peer.put(opaque(CLUSTER, "a"))
    peer.subscribe(CLUSTER)
    (answer,) = peer.answers()
    nack = peer.nack(answer, "no such thing")
    assert isinstance(nack, Nack)
    assert (nack.text, nack.revision) == ("no such thing", revision)
    assert nack.resources == {"a": opaque(CLUSTER, "a").version}
    assert peer.status(CLUSTER).nack == nack
    assert peer.status(CLUSTER).state is SyncState.NACKED
    assert not peer.status(CLUSTER).acked


@pytest.mark.parametrize("type_url", [CLUSTER, ROUTE])
def test_a_refusal_is_never_answered_with_the_same_content(peer: Peer, type_url: str) -> None:
    peer.put(opaque(type_url, "a", "good"))
    peer.get(type_url, "a")
    peer.put(opaque(type_url, "a", "bad"))
    (answer,) = peer.answers()
    peer.nack(answer)
    assert peer.answers() == []
    peer.put(opaque(LISTENER, "unrelated"))
    peer.put(opaque(type_url, "not subscribed"))
    assert peer.answers() == []


@pytest.mark.parametrize("type_url", [CLUSTER, ROUTE])
def test_after_a_refusal_new_content_is_sent(peer: Peer, type_url: str) -> None:
    peer.put(opaque(type_url, "a", "bad"))
    peer.subscribe(type_url, "a")
    (answer,) = peer.answers()
    peer.nack(answer)
    peer.put(opaque(type_url, "a", "good"))
    (answer,) = peer.answers()
    assert answer.resources == {"a": "good"}
    peer.ack(answer)
    assert peer.status(type_url).nack is None
    assert peer.status(type_url).state is SyncState.SYNCED


@pytest.mark.parametrize("type_url", [CLUSTER, ROUTE])
def test_after_a_refusal_the_last_acknowledged_content_can_be_sent_again(peer: Peer, type_url: str) -> None:
    peer.put(opaque(type_url, "a", "good"))
    peer.get(type_url, "a")
    peer.put(opaque(type_url, "a", "bad"))
    (answer,) = peer.answers()
    peer.nack(answer)
    peer.put(opaque(type_url, "a", "good"))
    (answer,) = peer.answers()
    assert answer.resources == {"a": "good"}


def test_what_was_refused_together_goes_out_together_when_one_of_them_changes(peer: Peer) -> None:
    peer.put(opaque(ROUTE, "a"), opaque(ROUTE, "b"), opaque(ROUTE, "c"))
    peer.get(ROUTE, "a", "b", "c")
    peer.put(opaque(ROUTE, "a", "bad"), opaque(ROUTE, "b", "innocent"))
    (answer,) = peer.answers()
    peer.nack(answer)
    peer.put(opaque(ROUTE, "c", "new"))
    assert [each.resources for each in peer.exchange()] == [{"c": "new"}]
    assert peer.status(ROUTE).state is SyncState.NACKED
    peer.put(opaque(ROUTE, "a", "good"))
    assert [each.resources for each in peer.exchange()] == [{"a": "good", "b": "innocent"}]
    assert peer.status(ROUTE).state is SyncState.SYNCED


def test_an_acknowledgement_of_something_else_does_not_excuse_what_was_refused(peer: Peer) -> None:
    peer.put(opaque(ROUTE, "a"), opaque(ROUTE, "b"))
    peer.get(ROUTE, "a", "b")
    bad = peer.put(opaque(ROUTE, "a", "bad"))
    (answer,) = peer.answers()
    peer.nack(answer)
    peer.put(opaque(ROUTE, "b", "new"))
    peer.exchange()
    assert [(lag.type_url, lag.state) for lag in peer.stream.lag(bad, [ROUTE])] == [(ROUTE, SyncState.NACKED)]


def test_nothing_is_sent_without_a_change(peer: Peer) -> None:
    peer.put(opaque(CLUSTER, "a"), opaque(ROUTE, "r"))
    assert len(peer.get(CLUSTER)) == 1
    assert len(peer.get(ROUTE, "r")) == 1
    assert peer.answers() == []
    before = peer.store.revision
    assert peer.put(opaque(CLUSTER, "a")) == before, "the same content is no change"
    assert peer.answers() == []


def test_a_change_of_what_was_not_asked_for_is_not_sent(peer: Peer) -> None:
    peer.put(opaque(ROUTE, "a"))
    peer.get(ROUTE, "a")
    peer.put(opaque(ROUTE, "b"))
    assert peer.answers() == []
    assert not peer.stream.lag(peer.store.revision, [ROUTE])


def test_a_type_that_was_not_asked_for_is_not_sent(peer: Peer) -> None:
    peer.get(CLUSTER)
    peer.put(opaque(LISTENER, "a"))
    assert peer.answers() == []


def test_a_name_that_is_absent_is_remembered_and_sent_when_it_appears(peer: Peer) -> None:
    peer.get(ROUTE, "a")
    peer.put(opaque(ROUTE, "a"))
    assert [each.resources for each in peer.answers()] == [{"a": "1"}]


def test_a_name_that_vanishes_and_appears_again_is_sent_again(peer: Peer) -> None:
    peer.put(opaque(ROUTE, "a"))
    peer.get(ROUTE, "a")
    peer.drop((ROUTE, "a"))
    peer.exchange()
    peer.put(opaque(ROUTE, "a"))
    assert [each.resources for each in peer.exchange()] == [{"a": "1"}]


@pytest.mark.parametrize("type_url", [CLUSTER, ROUTE])
def test_a_name_that_is_unsubscribed_and_subscribed_again_is_sent_again(peer: Peer, type_url: str) -> None:
    peer.put(opaque(type_url, "a"), opaque(type_url, "b"))
    peer.get(type_url, "a", "b")
    peer.unsubscribe(type_url, "a")
    assert peer.exchange() == []
    peer.subscribe(type_url, "a")
    (answer,) = peer.exchange()
    assert answer.resources["a"] == "1"


def test_after_any_name_an_empty_subscription_is_to_nothing(peer: Peer) -> None:
    peer.put(opaque(CLUSTER, "a"), opaque(CLUSTER, "b"))
    peer.get(CLUSTER, "a")
    peer.unsubscribe(CLUSTER, "a")
    peer.put(opaque(CLUSTER, "a", "2"), opaque(CLUSTER, "b", "2"))
    assert peer.answers() == []
    assert not peer.status(CLUSTER).wildcard


def test_silence_and_a_star_both_ask_for_everything(peer: Peer) -> None:
    peer.put(opaque(CLUSTER, "a"), opaque(LISTENER, "b"))
    assert [each.resources for each in peer.get(CLUSTER)] == [{"a": "1"}]
    assert [each.resources for each in peer.get(LISTENER, "*")] == [{"b": "1"}]


def test_asking_for_clusters_is_answered_even_when_there_are_none(peer: Peer) -> None:
    assert [each.resources for each in peer.get(CLUSTER)] == [{}]


def test_an_answer_to_a_name_unsubscribed_meanwhile_is_dropped(peer: Peer) -> None:
    peer.put(opaque(ROUTE, "a"), opaque(ROUTE, "b"))
    peer.subscribe(ROUTE, "a", "b")
    peer.unsubscribe(ROUTE, "a")
    assert [each.resources for each in peer.answers()] == [{"b": "1"}]


def test_one_response_of_a_type_is_in_flight_and_the_next_has_the_newest_state(peer: Peer) -> None:
    peer.put(opaque(ROUTE, "a", "1"))
    peer.subscribe(ROUTE, "a")
    (first,) = peer.answers()
    peer.put(opaque(ROUTE, "a", "2"))
    peer.put(opaque(ROUTE, "a", "3"))
    assert peer.answers() == []
    peer.ack(first)
    assert [each.resources for each in peer.answers()] == [{"a": "3"}]


def test_types_do_not_wait_for_each_other(peer: Peer) -> None:
    peer.put(opaque(CLUSTER, "c"), opaque(ROUTE, "r"))
    peer.subscribe(CLUSTER)
    peer.subscribe(ROUTE, "r")
    assert [each.type_url for each in peer.answers()] == [CLUSTER, ROUTE]


def test_a_push_goes_out_in_the_order_in_which_nothing_breaks(peer: Peer) -> None:
    for type_url in (SECRET, ROUTE, LISTENER, ENDPOINT, CLUSTER, "some.other.Type"):
        peer.get(type_url, "*")
    peer.put(*(opaque(each, "x") for each in ("some.other.Type", SECRET, ROUTE, LISTENER, ENDPOINT, CLUSTER)))
    order = [CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, "some.other.Type"]
    assert [each.type_url for each in peer.answers()] == order


def test_routes_wait_while_clusters_that_are_to_be_added_have_to_wait(peer: Peer) -> None:
    peer.put(opaque(CLUSTER, "c1"), opaque(ROUTE, "r", "c1"))
    peer.get(ROUTE, "r")
    peer.subscribe(CLUSTER)
    (clusters,) = peer.answers()
    peer.put(opaque(CLUSTER, "c2"), opaque(ROUTE, "r", "c2"))
    assert peer.answers() == [], "a route to c2 must not arrive before c2"
    peer.ack(clusters)
    assert [(each.type_url, each.resources) for each in peer.answers()][-1] == (ROUTE, {"r": "c2"})


def test_routes_wait_while_listeners_that_are_to_be_added_have_to_wait(peer: Peer) -> None:
    peer.put(opaque(LISTENER, "l1"), opaque(ROUTE, "r", "l1"))
    peer.get(ROUTE, "r")
    peer.subscribe(LISTENER)
    (listeners,) = peer.answers()
    peer.put(opaque(LISTENER, "l2"), opaque(ROUTE, "r", "l2"))
    assert peer.answers() == [], "a route that leads to the internal listener l2 must not arrive before l2"
    peer.ack(listeners)
    assert [(each.type_url, each.resources) for each in peer.answers()][-1] == (ROUTE, {"r": "l2"})


def test_routes_do_not_wait_for_listeners_that_were_refused(peer: Peer) -> None:
    peer.put(opaque(LISTENER, "l"), opaque(ROUTE, "r", "1"))
    peer.get(ROUTE, "r")
    peer.subscribe(LISTENER)
    (listeners,) = peer.answers()
    peer.put(opaque(ROUTE, "r", "2"))
    peer.nack(listeners)
    assert [(each.type_url, each.resources) for each in peer.answers()] == [(ROUTE, {"r": "2"})]


def test_endpoints_follow_a_changed_cluster_unasked(peer: Peer) -> None:
    peer.put(opaque(CLUSTER, "c", eds="s"), opaque(CLUSTER, "d", eds="t"), opaque(ENDPOINT, "s"), opaque(ENDPOINT, "t"))
    peer.get(CLUSTER)
    peer.get(ENDPOINT, "s", "t")
    peer.put(opaque(CLUSTER, "c", "2", eds="s"))
    clusters, endpoints = peer.answers()
    assert clusters.type_url == CLUSTER
    assert (endpoints.type_url, endpoints.resources) == (ENDPOINT, {"s": "1"})


def test_endpoints_of_a_warming_cluster_do_not_wait_for_an_acknowledgement(peer: Peer) -> None:
    peer.put(opaque(CLUSTER, "c", eds="s"), opaque(ENDPOINT, "s"), opaque(ENDPOINT, "t"))
    peer.get(CLUSTER)
    peer.subscribe(ENDPOINT, "s", "t")
    (pending,) = peer.answers()
    assert pending.type_url == ENDPOINT
    peer.put(opaque(CLUSTER, "c", "2", eds="s"), opaque(ENDPOINT, "t", "2"))
    clusters, endpoints = peer.answers()
    assert (endpoints.type_url, endpoints.resources) == (ENDPOINT, {"s": "1"})
    peer.ack(endpoints)
    assert [each.resources for each in peer.answers()] == [{"t": "2"}]
    assert clusters.type_url == CLUSTER


def test_endpoints_of_a_new_cluster_go_out_ahead_of_the_request_and_again_behind_it(peer: Peer) -> None:
    peer.put(opaque(CLUSTER, "c", eds="s"), opaque(ENDPOINT, "s"))
    peer.get(CLUSTER)
    peer.get(ENDPOINT, "s")
    peer.put(opaque(CLUSTER, "d", eds="t"), opaque(ENDPOINT, "t"), opaque(ROUTE, "r"))
    pushed = peer.exchange()
    assert [(each.type_url, each.resources) for each in pushed][1] == (ENDPOINT, {"t": "1"})
    assert [each.resources for each in peer.get(ENDPOINT, "t")] == [{"t": "1"}]


def test_a_stream_of_one_type_has_no_clusters_to_follow() -> None:
    peer = DeltaPeer(aggregated=False)
    peer.put(opaque(CLUSTER, "c", eds="s"), opaque(ENDPOINT, "s"))
    assert [each.type_url for each in peer.get(CLUSTER)] == [CLUSTER]
    peer.put(opaque(CLUSTER, "c", "2", eds="s"))
    assert [each.type_url for each in peer.answers()] == [CLUSTER]


def test_the_nonce_of_an_earlier_stream_means_nothing_on_a_new_one(peer: Peer) -> None:
    peer.put(opaque(CLUSTER, "a"))
    (old,) = peer.get(CLUSTER)
    peer.reconnect()
    peer.subscribe(CLUSTER)
    (new,) = peer.answers()
    assert new.nonce != old.nonce
    assert peer.ack(old) is None
    assert peer.status(CLUSTER).state is SyncState.STALE


def test_the_same_bytes_serve_every_stream_of_a_group(peer: Peer) -> None:
    other = type(peer)(peer.store)
    peer.put(opaque(ROUTE, "r"))
    for each in (peer, other):
        each.subscribe(ROUTE, "r")
        assert len(each.answers()) == 1
    assert len(peer.store.snapshot(VIEW, ROUTE).encoded) == 1


def test_everything_up_to_a_revision_is_acknowledged_or_listed(peer: Peer) -> None:
    both = (CLUSTER, ROUTE)
    first = peer.put(opaque(CLUSTER, "c"), opaque(ROUTE, "r"))
    assert {lag.state for lag in peer.stream.lag(first, both)} == {SyncState.NOT_REQUESTED}
    peer.get(CLUSTER)
    assert [lag.type_url for lag in peer.stream.lag(first, both)] == [ROUTE]
    peer.get(ROUTE, "r")
    assert not peer.stream.lag(first, both)
    second = peer.put(opaque(ROUTE, "r", "2"))
    assert [lag.state for lag in peer.stream.lag(second, both)] == [SyncState.STALE]
    assert not peer.stream.lag(first, both), "a later change does not take back what is acknowledged"
    peer.exchange()
    assert not peer.stream.lag(second, both)


def test_a_change_that_touches_only_other_groups_is_acknowledged_at_once(peer: Peer) -> None:
    peer.put(opaque(CLUSTER, "c"))
    peer.get(CLUSTER)
    revision = peer.store.update(group={"another": {(CLUSTER, "x"): opaque(CLUSTER, "x")}})
    assert not peer.stream.lag(revision, [CLUSTER])
    assert peer.answers() == []


def test_a_revision_is_in_force_only_when_its_removals_are(peer: Peer) -> None:
    peer.put(opaque(CLUSTER, "c1"), opaque(ROUTE, "r", "c1"))
    peer.get(CLUSTER)
    peer.get(ROUTE, "r")
    revision = peer.store.update(
        group={
            VIEW.group: {
                (CLUSTER, "c1"): None,
                (CLUSTER, "c2"): opaque(CLUSTER, "c2"),
                (ROUTE, "r"): opaque(ROUTE, "r", "c2"),
            }
        }
    )
    added, moved = peer.answers()
    assert (added.type_url, moved.type_url) == (CLUSTER, ROUTE)
    peer.ack(added)
    assert [lag.type_url for lag in peer.stream.lag(revision, [CLUSTER])] == [CLUSTER]
    (removed,) = peer.answers()
    assert removed.type_url == CLUSTER
    assert peer.ack(removed) == Ack(revision)
    assert not peer.stream.lag(revision, [CLUSTER])


def test_progress_is_told_once_and_when_it_is_whole(peer: Peer) -> None:
    revision = peer.put(opaque(CLUSTER, "a"))
    peer.subscribe(CLUSTER)
    (answer,) = peer.answers()
    assert peer.stream.progress() == []
    peer.ack(answer)
    assert peer.stream.progress() == [(CLUSTER, revision)]
    assert peer.stream.progress() == []


def test_a_nodes_own_resource_hides_the_groups_of_the_same_name(peer: Peer) -> None:
    peer.put(opaque(ENDPOINT, "e", "group"))
    peer.get(ENDPOINT, "e")
    own = opaque(ENDPOINT, "e", "own")
    peer.store.update(nodes={VIEW.node: {(ENDPOINT, "e"): own}, "another": {(ENDPOINT, "e"): opaque(ENDPOINT, "e")}})
    assert [each.resources for each in peer.exchange()] == [{"e": "own"}]
    peer.put(opaque(ENDPOINT, "e", "group 2"))
    assert peer.exchange() == []
    peer.store.update(nodes={VIEW.node: {(ENDPOINT, "e"): None}})
    assert [each.resources for each in peer.exchange()] == [{"e": "group 2"}]


def test_a_change_that_is_held_back_is_owed_and_not_sent(peer: Peer) -> None:
    peer.put(opaque(CLUSTER, "c"))
    peer.get(CLUSTER)
    peer.paced = True
    revision = peer.put(opaque(CLUSTER, "c", "2"))
    assert peer.answers() == []
    assert [lag.state for lag in peer.stream.lag(revision, [CLUSTER])] == [SyncState.STALE]
    peer.stream.release()
    assert [each.resources for each in peer.exchange()] == [{"c": "2"}]
    assert not peer.stream.lag(revision, [CLUSTER])


def test_what_is_held_back_goes_out_with_whatever_goes_out_first(peer: Peer) -> None:
    peer.put(opaque(CLUSTER, "c1"), opaque(ROUTE, "r", "c1"))
    peer.get(CLUSTER)
    peer.paced = True
    peer.put(opaque(CLUSTER, "c2"), opaque(ROUTE, "r", "c2"))
    peer.subscribe(ROUTE, "r")
    assert [each.type_url for each in peer.answers()] == [CLUSTER, ROUTE]
