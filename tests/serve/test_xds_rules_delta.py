"""Rules of the delta variant, on the stream itself, without gRPC."""

from __future__ import annotations

import pytest

from tests.serve.configs import opaque
from tests.serve.peer import VIEW, DeltaPeer
from xds.serve import CLUSTER, ENDPOINT, LISTENER, ROUTE, SyncState
from xds.serve.status import Ack, Nack


@pytest.fixture
def peer() -> DeltaPeer:
    return DeltaPeer()


def version(type_url: str, name: str, content: str = "1") -> str:
    return opaque(type_url, name, content).version


def test_only_what_changed_is_sent(peer: DeltaPeer) -> None:
    peer.put(opaque(CLUSTER, "a"), opaque(CLUSTER, "b"))
    peer.get(CLUSTER)
    peer.put(opaque(CLUSTER, "b", "2"))
    (answer,) = peer.answers()
    assert answer.resources == {"b": "2"}
    assert answer.versions == {"b": version(CLUSTER, "b", "2")}


def test_a_stale_nonce_does_not_lose_a_change_of_subscription(peer: DeltaPeer) -> None:
    peer.put(opaque(ROUTE, "a"), opaque(ROUTE, "b"))
    peer.get(ROUTE, "a")
    peer.ask(ROUTE, ["b"], ["a"], nonce="long-gone")
    assert [each.resources for each in peer.exchange()] == [{"b": "1"}]
    peer.put(opaque(ROUTE, "a", "2"))
    assert peer.answers() == []


def test_a_stale_nonce_acknowledges_and_refuses_nothing(peer: DeltaPeer) -> None:
    peer.put(opaque(ROUTE, "a"))
    peer.subscribe(ROUTE, "a")
    (answer,) = peer.answers()
    assert peer.ask(ROUTE, nonce="long-gone") is None
    assert peer.ask(ROUTE, nonce="long-gone", error="no") is None
    assert peer.status(ROUTE).state is SyncState.STALE
    assert isinstance(peer.ack(answer), Ack)


def test_an_acknowledgement_may_change_the_subscription_too(peer: DeltaPeer) -> None:
    peer.put(opaque(ROUTE, "a"), opaque(ROUTE, "b"))
    peer.subscribe(ROUTE, "a")
    (answer,) = peer.answers()
    assert isinstance(peer.ask(ROUTE, ["b"], nonce=answer.nonce), Ack)
    assert [each.resources for each in peer.exchange()] == [{"b": "1"}]


def test_a_refusal_may_change_the_subscription_too(peer: DeltaPeer) -> None:
    peer.put(opaque(ROUTE, "a"), opaque(ROUTE, "b"))
    peer.subscribe(ROUTE, "a")
    (answer,) = peer.answers()
    assert isinstance(peer.ask(ROUTE, ["b"], ["a"], nonce=answer.nonce, error="no"), Nack)
    assert [each.resources for each in peer.exchange()] == [{"b": "1"}]
    assert peer.status(ROUTE).state is SyncState.SYNCED


@pytest.mark.parametrize("wildcard", [False, True])
def test_a_name_subscribed_again_is_sent_again_although_unchanged(peer: DeltaPeer, wildcard: bool) -> None:
    peer.put(opaque(CLUSTER, "a"), opaque(CLUSTER, "b"))
    peer.get(CLUSTER, "a", *(["*"] if wildcard else []))
    assert [each.resources for each in peer.get(CLUSTER, "a")] == [{"a": "1"}]


def test_the_wildcard_subscribed_again_sends_everything_again(peer: DeltaPeer) -> None:
    peer.put(opaque(CLUSTER, "a"), opaque(CLUSTER, "b"))
    peer.get(CLUSTER, "*")
    assert [each.resources for each in peer.get(CLUSTER, "*")] == [{"a": "1", "b": "1"}]


def test_a_refused_resource_that_is_asked_for_by_name_is_sent(peer: DeltaPeer) -> None:
    peer.put(opaque(ROUTE, "a"))
    peer.subscribe(ROUTE, "a")
    (answer,) = peer.answers()
    peer.nack(answer)
    assert peer.answers() == []
    assert [each.resources for each in peer.get(ROUTE, "a")] == [{"a": "1"}]


def test_an_absent_name_is_reported_in_removed_resources(peer: DeltaPeer) -> None:
    peer.put(opaque(ROUTE, "a"))
    (answer,) = peer.get(ROUTE, "a", "b")
    assert (answer.resources, answer.removed) == ({"a": "1"}, ("b",))


def test_an_absent_name_is_reported_once_and_again_when_asked_again(peer: DeltaPeer) -> None:
    peer.get(ROUTE, "b")
    peer.put(opaque(ROUTE, "a"))
    assert peer.answers() == []
    assert [each.removed for each in peer.get(ROUTE, "b")] == [("b",)]


def test_an_absent_name_is_answered_without_waiting_for_removals(peer: DeltaPeer) -> None:
    peer.put(opaque(CLUSTER, "a"), opaque(LISTENER, "l"))
    peer.subscribe(ROUTE, "missing")
    assert [each.removed for each in peer.answers()] == [("missing",)]


def test_what_is_removed_is_reported_in_removed_resources(peer: DeltaPeer) -> None:
    peer.put(opaque(CLUSTER, "a"), opaque(CLUSTER, "b"))
    peer.get(CLUSTER)
    peer.drop((CLUSTER, "a"))
    (answer,) = peer.exchange()
    assert (answer.resources, answer.removed) == ({}, ("a",))
    assert peer.status(CLUSTER).acked == {"b": version(CLUSTER, "b")}


def test_what_came_and_went_between_two_responses_is_never_mentioned(peer: DeltaPeer) -> None:
    peer.get(CLUSTER)
    peer.put(opaque(CLUSTER, "a"))
    peer.drop((CLUSTER, "a"))
    assert peer.answers() == []


def test_unsubscribing_a_name_under_the_wildcard_is_answered_with_the_resource(peer: DeltaPeer) -> None:
    peer.put(opaque(CLUSTER, "a"))
    peer.get(CLUSTER, "*", "a")
    peer.unsubscribe(CLUSTER, "a")
    assert [each.resources for each in peer.exchange()] == [{"a": "1"}]


def test_unsubscribing_a_name_under_the_wildcard_is_answered_with_its_absence(peer: DeltaPeer) -> None:
    peer.get(CLUSTER, "*", "a")
    peer.unsubscribe(CLUSTER, "a")
    assert [each.removed for each in peer.exchange()] == [("a",)]
    peer.put(opaque(CLUSTER, "a"))
    assert [each.resources for each in peer.exchange()] == [{"a": "1"}]


def test_unsubscribing_what_was_never_subscribed_is_ignored(peer: DeltaPeer) -> None:
    peer.put(opaque(CLUSTER, "a"), opaque(ROUTE, "r"))
    peer.get(CLUSTER)
    peer.unsubscribe(CLUSTER, "a", "phantom")
    peer.get(ROUTE, "r")
    peer.unsubscribe(ROUTE, "*", "phantom")
    assert peer.exchange() == []
    peer.put(opaque(CLUSTER, "a", "2"), opaque(ROUTE, "r", "2"))
    assert len(peer.exchange()) == 2


def test_unsubscribing_is_not_answered(peer: DeltaPeer) -> None:
    peer.put(opaque(ROUTE, "a"))
    peer.get(ROUTE, "a")
    peer.unsubscribe(ROUTE, "a")
    assert peer.answers() == []
    peer.drop((ROUTE, "a"))
    assert peer.answers() == []


def test_dropping_the_wildcard_keeps_the_names(peer: DeltaPeer) -> None:
    peer.put(opaque(CLUSTER, "a"), opaque(CLUSTER, "b"))
    peer.get(CLUSTER, "*", "a")
    peer.unsubscribe(CLUSTER, "*")
    peer.put(opaque(CLUSTER, "a", "2"), opaque(CLUSTER, "b", "2"))
    assert [each.resources for each in peer.exchange()] == [{"a": "2"}]
    assert [each.resources for each in peer.get(CLUSTER, "b")] == [{"b": "2"}]


def test_silence_and_then_a_name_keeps_the_wildcard(peer: DeltaPeer) -> None:
    peer.put(opaque(CLUSTER, "a"), opaque(CLUSTER, "b"))
    peer.get(CLUSTER)
    assert [each.resources for each in peer.get(CLUSTER, "a")] == [{"a": "1"}]
    peer.put(opaque(CLUSTER, "b", "2"))
    assert [each.resources for each in peer.exchange()] == [{"b": "2"}]


def test_a_reconnect_is_sent_only_what_differs(peer: DeltaPeer) -> None:
    peer.put(opaque(CLUSTER, "same"), opaque(CLUSTER, "changed", "new"), opaque(CLUSTER, "added"))
    peer.ask(CLUSTER, initial={"same": version(CLUSTER, "same"), "changed": version(CLUSTER, "changed", "old")})
    assert [each.resources for each in peer.exchange()] == [{"changed": "new", "added": "1"}]


def test_a_reconnect_is_told_what_is_gone(peer: DeltaPeer) -> None:
    peer.put(opaque(CLUSTER, "same"))
    peer.ask(CLUSTER, initial={"same": version(CLUSTER, "same"), "gone": "f00"})
    assert [each.removed for each in peer.exchange()] == [("gone",)]


def test_a_reconnect_of_names_is_sent_only_what_differs(peer: DeltaPeer) -> None:
    peer.put(opaque(ROUTE, "same"), opaque(ROUTE, "changed", "new"), opaque(ROUTE, "new"))
    peer.ask(
        ROUTE,
        ["same", "changed", "gone", "new", "missing"],
        initial={"same": version(ROUTE, "same"), "changed": "0ld", "gone": "f00", "not asked for": "f00"},
    )
    first, last = peer.exchange()
    assert (first.resources, first.removed) == ({"changed": "new", "new": "1"}, ("missing",))
    assert (last.resources, last.removed) == ({}, ("gone",))


def test_a_reconnect_with_everything_up_to_date_is_sent_nothing_and_counts_as_acknowledged(peer: DeltaPeer) -> None:
    revision = peer.put(opaque(CLUSTER, "a"), opaque(ROUTE, "r"))
    peer.ask(CLUSTER, initial={"a": version(CLUSTER, "a")})
    peer.ask(ROUTE, ["r"], initial={"r": version(ROUTE, "r")})
    assert peer.answers() == []
    assert not peer.stream.lag(revision, [CLUSTER, ROUTE])
    assert peer.status(ROUTE).state is SyncState.SYNCED
    assert peer.status(ROUTE).acked == {"r": version(ROUTE, "r")}


def test_initial_versions_count_only_in_the_first_request(peer: DeltaPeer) -> None:
    peer.put(opaque(ROUTE, "a"), opaque(ROUTE, "b"))
    peer.get(ROUTE, "a")
    peer.ask(ROUTE, ["b"], initial={"b": version(ROUTE, "b")})
    assert [each.resources for each in peer.exchange()] == [{"b": "1"}]


def test_versions_are_the_same_on_every_replica() -> None:
    one, other = DeltaPeer(), DeltaPeer()
    other.put(opaque(CLUSTER, "unrelated"))
    other.drop((CLUSTER, "unrelated"))
    for each in (one, other):
        each.put(opaque(CLUSTER, "a"), opaque(CLUSTER, "b"))
    (from_one,), (from_other,) = one.get(CLUSTER), other.get(CLUSTER)
    assert from_one.versions == from_other.versions


def test_a_reconnect_with_an_edited_cluster_gets_its_endpoints_although_it_has_them(peer: DeltaPeer) -> None:
    peer.put(opaque(CLUSTER, "c", "new", eds="s"), opaque(ENDPOINT, "s"))
    peer.ask(CLUSTER, initial={"c": "0ld"})
    assert [each.type_url for each in peer.answers()] == [CLUSTER]
    peer.ask(ENDPOINT, ["s"], initial={"s": version(ENDPOINT, "s")})
    assert [each.resources for each in peer.answers()] == [{"s": "1"}]


def test_a_reconnect_is_sent_removals_after_it_asked_for_everything(peer: DeltaPeer) -> None:
    peer.put(opaque(CLUSTER, "new"), opaque(ROUTE, "r", "to new"))
    peer.ask(CLUSTER, initial={"old": "f00"})
    (added,) = peer.answers()
    peer.ack(added)
    assert peer.answers() == [], "a route that the client still has may point to the old cluster"
    peer.ask(ROUTE, ["r"], initial={"r": "0ld"})
    routes, removed = peer.answers()
    assert routes.resources == {"r": "to new"}
    assert (removed.type_url, removed.removed) == (CLUSTER, ("old",))


def test_a_reconnect_that_never_asks_for_everything_is_sent_removals_after_a_while(peer: DeltaPeer) -> None:
    peer.put(opaque(ROUTE, "r"))
    peer.ask(CLUSTER, initial={"old": "f00"})
    assert peer.answers() == []
    assert peer.stream.settle()
    assert [each.removed for each in peer.answers()] == [("old",)]
    assert not peer.stream.settle()


def test_removals_are_last_and_the_listener_goes_before_the_cluster(peer: DeltaPeer) -> None:
    old = [opaque(each, "old") for each in (CLUSTER, ENDPOINT, LISTENER, ROUTE)]
    new = [opaque(each, "new") for each in (CLUSTER, ENDPOINT, LISTENER, ROUTE)]
    peer.put(*old)
    for each in old:
        peer.get(each.type_url, "*")
    peer.store.update(
        group={
            VIEW.group: {(each.type_url, each.name): each for each in new}
            | {(each.type_url, each.name): None for each in old}
        }
    )
    said = peer.exchange()
    assert [each.type_url for each in said] == [CLUSTER, ENDPOINT, LISTENER, ROUTE, LISTENER, ROUTE, CLUSTER, ENDPOINT]
    assert [bool(each.removed) for each in said] == [False] * 4 + [True] * 4


def test_removals_wait_until_no_type_has_anything_to_add(peer: DeltaPeer) -> None:
    peer.put(opaque(CLUSTER, "c1"), opaque(ROUTE, "r", "c1"))
    peer.get(CLUSTER)
    peer.subscribe(ROUTE, "r")
    (routes,) = peer.answers()
    peer.store.update(
        group={
            VIEW.group: {
                (CLUSTER, "c1"): None,
                (CLUSTER, "c2"): opaque(CLUSTER, "c2"),
                (ROUTE, "r"): opaque(ROUTE, "r", "c2"),
            }
        }
    )
    (added,) = peer.answers()
    peer.ack(added)
    assert peer.answers() == [], "c1 is in use until the route has moved"
    peer.ack(routes)
    moved, removed = peer.answers()
    assert (moved.resources, removed.removed) == ({"r": "c2"}, ("c1",))


def test_what_was_refused_and_is_gone_is_not_missed_although_its_removal_came_with_another_refusal(
    peer: DeltaPeer,
) -> None:
    peer.subscribe(CLUSTER)
    peer.put(opaque(CLUSTER, "gone"), opaque(CLUSTER, "kept"))
    (answer,) = peer.answers()
    peer.nack(answer)
    peer.store.update(group={VIEW.group: {(CLUSTER, "gone"): None, (CLUSTER, "new"): opaque(CLUSTER, "new")}})
    peer.subscribe(CLUSTER, "gone")
    (answer,) = peer.answers()
    assert (set(answer.resources), answer.removed) == ({"new"}, ("gone",))
    peer.nack(answer)
    peer.put(opaque(CLUSTER, "kept", "2"), opaque(CLUSTER, "new", "2"))
    peer.exchange()
    assert peer.status(CLUSTER).state is SyncState.SYNCED
    assert not peer.stream.lag(peer.store.revision, [CLUSTER])
