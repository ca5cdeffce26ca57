"""Rules of the state-of-the-world variant, on the stream itself, without gRPC."""

from __future__ import annotations

import pytest

from tests.serve.configs import opaque
from tests.serve.peer import VIEW, SotwPeer
from xds.serve import CLUSTER, ENDPOINT, LISTENER, ROUTE, SyncState
from xds.serve.status import Ack, Nack


@pytest.fixture
def peer() -> SotwPeer:
    return SotwPeer()


@pytest.mark.parametrize("type_url", [CLUSTER, LISTENER])
def test_clusters_and_listeners_are_always_the_full_set(peer: SotwPeer, type_url: str) -> None:
    peer.put(opaque(type_url, "a"), opaque(type_url, "b"))
    peer.get(type_url)
    peer.put(opaque(type_url, "b", "2"))
    assert [each.resources for each in peer.exchange()] == [{"a": "1", "b": "2"}]
    peer.drop((type_url, "a"))
    assert [each.resources for each in peer.exchange()] == [{"b": "2"}]
    peer.drop((type_url, "b"))
    assert [each.resources for each in peer.exchange()] == [{}]
    assert peer.status(type_url).acked == {}


@pytest.mark.parametrize("type_url", [ENDPOINT, ROUTE])
def test_other_types_send_only_what_changed(peer: SotwPeer, type_url: str) -> None:
    peer.put(opaque(type_url, "a"), opaque(type_url, "b"))
    peer.get(type_url, "a", "b")
    peer.put(opaque(type_url, "b", "2"))
    assert [each.resources for each in peer.exchange()] == [{"b": "2"}]


@pytest.mark.parametrize("type_url", [ENDPOINT, ROUTE])
def test_other_types_cannot_be_deleted_and_send_no_empty_lists(peer: SotwPeer, type_url: str) -> None:
    peer.put(opaque(type_url, "a"))
    peer.get(type_url, "a", "missing")
    revision = peer.drop((type_url, "a"))
    assert peer.answers() == []
    assert not peer.stream.lag(revision, [type_url])


def test_a_request_with_a_stale_nonce_is_ignored(peer: SotwPeer) -> None:
    peer.put(opaque(ROUTE, "a"), opaque(ROUTE, "b"))
    (first,) = peer.get(ROUTE, "a")
    peer.put(opaque(ROUTE, "a", "2"))
    (second,) = peer.answers()
    assert peer.ask(ROUTE, ["a", "b"], nonce=first.nonce, version=first.version) is None
    assert peer.answers() == []
    assert peer.status(ROUTE).names == {"a"}
    assert isinstance(peer.ask(ROUTE, ["a", "b"], nonce=second.nonce, version=second.version), Ack)
    assert [each.resources for each in peer.answers()] == [{"b": "1"}]


def test_a_version_that_differs_is_no_refusal(peer: SotwPeer) -> None:
    peer.put(opaque(CLUSTER, "a"))
    peer.subscribe(CLUSTER)
    (answer,) = peer.answers()
    assert isinstance(peer.ask(CLUSTER, [], nonce=answer.nonce, version="something else"), Ack)


def test_the_same_version_and_nonce_with_other_names_is_a_new_subscription(peer: SotwPeer) -> None:
    peer.put(opaque(ROUTE, "a"), opaque(ROUTE, "b"))
    (answer,) = peer.get(ROUTE, "a")
    assert peer.ask(ROUTE, ["a", "b"], nonce=answer.nonce, version=answer.version) is None
    assert [each.resources for each in peer.answers()] == [{"b": "1"}]


@pytest.mark.parametrize("type_url", [ENDPOINT, ROUTE])
def test_a_repeated_request_is_a_warming_request_and_is_answered(peer: SotwPeer, type_url: str) -> None:
    peer.put(opaque(type_url, "a"), opaque(type_url, "b"))
    (answer,) = peer.get(type_url, "a", "b")
    assert peer.answers() == []
    peer.ask(type_url, ["a", "b"], nonce=answer.nonce, version=answer.version)
    assert [each.resources for each in peer.exchange()] == [{"a": "1", "b": "1"}]
    assert peer.answers() == []


def test_a_repeated_request_does_not_bring_back_what_was_refused(peer: SotwPeer) -> None:
    peer.put(opaque(ROUTE, "a"), opaque(ROUTE, "b"))
    peer.get(ROUTE, "a", "b")
    peer.put(opaque(ROUTE, "a", "bad"))
    (answer,) = peer.answers()
    peer.nack(answer)
    peer.ask(ROUTE, ["a", "b"], nonce=answer.nonce)
    assert [each.resources for each in peer.answers()] == [{"b": "1"}]


def test_a_repeated_request_for_a_full_set_is_not_answered(peer: SotwPeer) -> None:
    peer.put(opaque(CLUSTER, "a"))
    (answer,) = peer.get(CLUSTER)
    peer.ask(CLUSTER, [], nonce=answer.nonce, version=answer.version)
    assert peer.answers() == []


def test_dropping_a_name_is_no_warming_request(peer: SotwPeer) -> None:
    peer.put(opaque(ROUTE, "a"), opaque(ROUTE, "b"))
    (answer,) = peer.get(ROUTE, "a", "b")
    peer.ask(ROUTE, ["b"], nonce=answer.nonce, version=answer.version)
    assert peer.answers() == []


def test_in_a_burst_with_empty_nonces_the_latest_names_win(peer: SotwPeer) -> None:
    peer.put(opaque(ENDPOINT, "c1"), opaque(ENDPOINT, "c2"))
    peer.ask(ENDPOINT, ["c1"])
    (first,) = peer.answers()
    peer.ask(ENDPOINT, ["c2", "c1"])
    assert peer.answers() == [], "the first response is still in flight"
    peer.ask(ENDPOINT, ["c2", "c1"], nonce=first.nonce, version=first.version)
    assert [each.resources for each in peer.exchange()] == [{"c2": "1"}]


def test_a_burst_before_the_first_response_is_answered_once(peer: SotwPeer) -> None:
    peer.put(opaque(ENDPOINT, "c1"), opaque(ENDPOINT, "c2"))
    peer.ask(ENDPOINT, ["c1"])
    peer.ask(ENDPOINT, ["c2", "c1"])
    assert [each.resources for each in peer.answers()] == [{"c1": "1", "c2": "1"}]


def test_a_first_request_may_carry_the_version_and_nonce_of_an_earlier_stream(peer: SotwPeer) -> None:
    peer.put(opaque(CLUSTER, "a"), opaque(ENDPOINT, "a"))
    peer.ask(CLUSTER, [], version="v", nonce="of-another-stream")
    peer.ask(ENDPOINT, ["a"], version="v", nonce="of-another-stream")
    assert [each.resources for each in peer.answers()] == [{"a": "1"}, {"a": "1"}]


def test_an_old_cluster_stays_in_the_set_until_the_routes_have_moved(peer: SotwPeer) -> None:
    peer.put(opaque(CLUSTER, "c1"), opaque(ROUTE, "r", "c1"))
    peer.get(CLUSTER)
    peer.get(ROUTE, "r")
    peer.store.update(
        group={
            VIEW.group: {
                (CLUSTER, "c1"): None,
                (CLUSTER, "c2"): opaque(CLUSTER, "c2"),
                (ROUTE, "r"): opaque(ROUTE, "r", "c2"),
            }
        }
    )
    said = [(each.type_url, dict(each.resources)) for each in peer.exchange()]
    assert said == [(CLUSTER, {"c1": "1", "c2": "1"}), (ROUTE, {"r": "c2"}), (CLUSTER, {"c2": "1"})]


def test_a_refused_set_is_not_followed_by_the_set_without_the_removed(peer: SotwPeer) -> None:
    peer.put(opaque(CLUSTER, "old"))
    peer.get(CLUSTER)
    peer.store.update(group={VIEW.group: {(CLUSTER, "old"): None, (CLUSTER, "bad"): opaque(CLUSTER, "bad")}})
    (answer,) = peer.answers()
    assert isinstance(peer.nack(answer), Nack)
    assert peer.answers() == [], "it would hold the refused cluster again"
    peer.put(opaque(CLUSTER, "bad", "repaired"))
    assert [dict(each.resources) for each in peer.exchange()] == [{"old": "1", "bad": "repaired"}, {"bad": "repaired"}]
    assert peer.status(CLUSTER).state is SyncState.SYNCED


def test_a_set_refused_after_the_store_has_changed_is_followed_by_the_new_set(peer: SotwPeer) -> None:
    peer.put(opaque(CLUSTER, "bad"))
    peer.subscribe(CLUSTER)
    (answer,) = peer.answers()
    peer.store.update(group={VIEW.group: {(CLUSTER, "bad"): None, (CLUSTER, "good"): opaque(CLUSTER, "good")}})
    peer.nack(answer)
    assert [dict(each.resources) for each in peer.exchange()][-1] == {"good": "1"}
    assert peer.status(CLUSTER).state is SyncState.SYNCED


def test_what_was_refused_is_not_kept_in_the_set_until_the_routes_have_moved(peer: SotwPeer) -> None:
    peer.put(opaque(CLUSTER, "bad"))
    peer.subscribe(CLUSTER)
    (answer,) = peer.answers()
    peer.nack(answer)
    peer.store.update(group={VIEW.group: {(CLUSTER, "bad"): None, (CLUSTER, "good"): opaque(CLUSTER, "good")}})
    assert [dict(each.resources) for each in peer.exchange()] == [{"good": "1"}]


def test_an_acknowledged_set_excuses_all_that_was_refused_before(peer: SotwPeer) -> None:
    peer.put(opaque(CLUSTER, "a"), opaque(CLUSTER, "bad"))
    peer.subscribe(CLUSTER)
    (answer,) = peer.answers()
    peer.nack(answer)
    revision = peer.drop((CLUSTER, "bad"))
    assert [dict(each.resources) for each in peer.exchange()] == [{"a": "1"}]
    assert peer.status(CLUSTER).state is SyncState.SYNCED
    assert not peer.stream.lag(revision, [CLUSTER])


def test_a_refused_route_that_is_removed_is_no_longer_held_against_the_client(peer: SotwPeer) -> None:
    peer.put(opaque(ROUTE, "a"))
    peer.subscribe(ROUTE, "a")
    (answer,) = peer.answers()
    peer.nack(answer)
    revision = peer.drop((ROUTE, "a"))
    assert peer.answers() == []
    assert not peer.stream.lag(revision, [ROUTE])


def test_the_version_of_a_set_is_made_from_its_content() -> None:
    one, other = SotwPeer(), SotwPeer()
    one.put(opaque(CLUSTER, "a"), opaque(CLUSTER, "b"))
    other.put(opaque(CLUSTER, "b"))
    other.put(opaque(CLUSTER, "a"))
    (from_one,), (from_other,) = one.get(CLUSTER), other.get(CLUSTER)
    assert from_one.version == from_other.version
    one.put(opaque(CLUSTER, "a", "2"))
    (changed,) = one.exchange()
    assert changed.version != from_one.version


def test_a_later_acknowledgement_settles_the_earlier_ones(peer: SotwPeer) -> None:
    peer.put(opaque(CLUSTER, "c", eds="s"), opaque(ENDPOINT, "s"))
    peer.get(CLUSTER)
    peer.subscribe(ENDPOINT, "s")
    (skipped,) = peer.answers()
    peer.put(opaque(CLUSTER, "c", "2", eds="s"))
    _, warming = peer.answers()
    assert skipped.type_url == warming.type_url == ENDPOINT
    peer.ack(warming)
    assert peer.status(ENDPOINT).state is SyncState.SYNCED


def test_what_is_refused_when_it_is_gone_already_is_not_missed(peer: SotwPeer) -> None:
    """Of endpoints nobody is told that they are gone, so nothing could make up for the refusal."""
    peer.put(opaque(ENDPOINT, "gone"), opaque(ENDPOINT, "kept"))
    peer.subscribe(ENDPOINT, "gone", "kept")
    (answer,) = peer.answers()
    peer.drop((ENDPOINT, "gone"))
    assert peer.answers() == []
    peer.nack(answer)
    assert peer.status(ENDPOINT).state is SyncState.NACKED
    peer.put(opaque(ENDPOINT, "kept", "2"))
    peer.exchange()
    assert peer.status(ENDPOINT).state is SyncState.SYNCED
