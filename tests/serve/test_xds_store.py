"""What is to be served: groups and nodes, revisions, and who hears of what."""

from __future__ import annotations

import pytest

from tests.serve.configs import opaque
from xds.serve import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource, Store, View, content_version
from xds.serve.store import Past

VIEW = View("g", "n")


def keyed(*resources: Resource) -> dict[tuple[str, str], Resource | None]:
    return {(each.type_url, each.name): each for each in resources}


def test_every_change_gets_the_next_revision_and_no_change_gets_none() -> None:
    store = Store()
    assert store.revision == 0
    assert store.update(group={"g": keyed(opaque(CLUSTER, "a"))}) == 1
    assert store.update(group={"g": keyed(opaque(CLUSTER, "a"))}) == 1
    assert store.update(group={"g": {(CLUSTER, "missing"): None}}) == 1
    assert store.update(group={"g": keyed(opaque(CLUSTER, "a", "2"))}) == 2
    assert store.update(group={"g": {(CLUSTER, "a"): None}}) == 3


def test_a_change_is_one_step_for_all_who_hear_of_it() -> None:
    store = Store()
    heard: list[tuple[frozenset[str], int, int]] = []

    def hear(types: frozenset[str], revision: int, reason: str) -> None:
        heard.append((types, revision, len(store.snapshot(VIEW, ENDPOINT).resources)))

    store.watch(VIEW, hear)
    store.update(
        group={"g": keyed(opaque(CLUSTER, "a"), opaque(ROUTE, "r"))}, nodes={"n": keyed(opaque(ENDPOINT, "e"))}
    )
    assert heard == [(frozenset({CLUSTER, ROUTE, ENDPOINT}), 1, 1)]


def test_only_the_groups_and_nodes_that_change_hear_of_it() -> None:
    store = Store()
    heard: list[str] = []
    for view in (View("g", "n1"), View("g", "n2"), View("h", "n3")):
        store.watch(view, lambda types, revision, reason, name=view.node: heard.append(name))  # type: ignore[misc]
    store.update(group={"g": keyed(opaque(CLUSTER, "a"))})
    assert heard == ["n1", "n2"]
    store.update(nodes={"n2": keyed(opaque(ENDPOINT, "a"))})
    assert heard == ["n1", "n2", "n2"]


def test_a_watch_that_is_stopped_hears_nothing_and_leaves_nothing() -> None:
    store = Store()
    heard: list[int] = []
    stop = store.watch(VIEW, lambda types, revision, reason: heard.append(revision))
    assert store.watchers == 1
    stop()
    store.update(group={"g": keyed(opaque(CLUSTER, "a"))})
    assert heard == []
    assert store.watchers == 0
    stop()


def test_a_resource_under_a_wrong_key_changes_nothing() -> None:
    store = Store()
    with pytest.raises(ValueError, match="the key must be its type and name"):
        store.update(group={"g": {**keyed(opaque(CLUSTER, "a")), (CLUSTER, "b"): opaque(CLUSTER, "c")}})
    assert store.revision == 0
    assert not store.snapshot(VIEW, CLUSTER).resources


def test_what_was_changed_or_removed_is_remembered_for_a_while() -> None:
    store = Store()
    first, second = opaque(ROUTE, "r", "1"), opaque(ROUTE, "r", "2")
    store.update(group={"g": keyed(first)})
    assert store.past(ROUTE, "r", first.version) is None
    store.update(group={"g": keyed(second)})
    store.update(group={"g": {(ROUTE, "r"): None}})
    assert store.past(ROUTE, "r", first.version) is first
    assert store.past(ROUTE, "r", second.version) is second


def test_of_the_past_so_many_bytes_are_remembered_and_no_more() -> None:
    made = [opaque(ROUTE, f"r{number}", "x" * 1000) for number in range(4)]
    past = Past(most=3 * (500 + len(made[0].body)))
    for one in (*made[:2], made[0], *made[2:]):
        past.note(one)
    # The one that was noted again counts as newer than the next.
    assert [past.find(ROUTE, one.name, one.version) is one for one in made] == [True, False, True, True]


def test_a_view_is_the_groups_resources_under_the_nodes_own() -> None:
    store = Store()
    store.update(group={"g": keyed(opaque(ENDPOINT, "b", "group"), opaque(ENDPOINT, "a", "group"))})
    store.update(nodes={"n": keyed(opaque(ENDPOINT, "b", "own"), opaque(ENDPOINT, "c", "own"))})
    mine = store.snapshot(VIEW, ENDPOINT)
    assert list(mine.resources) == ["a", "b", "c"]
    assert mine.resources["b"] == opaque(ENDPOINT, "b", "own")
    assert list(store.snapshot(View("g", "other"), ENDPOINT).resources) == ["a", "b"]
    assert store.types(VIEW) == {ENDPOINT}


def test_a_view_is_merged_once_per_state() -> None:
    store = Store()
    store.update(group={"g": keyed(opaque(ENDPOINT, "a"))}, nodes={"n": keyed(opaque(ENDPOINT, "b"))})
    before = store.snapshot(VIEW, ENDPOINT)
    assert store.snapshot(VIEW, ENDPOINT) is before
    store.update(group={"g": keyed(opaque(ENDPOINT, "a", "2"))})
    after = store.snapshot(VIEW, ENDPOINT)
    assert after is not before
    assert (before.revision, after.revision) == (1, 2)
    store.update(group={"g": {(ENDPOINT, "a"): None}})
    assert list(store.snapshot(VIEW, ENDPOINT).resources) == ["b"]


def test_replacing_the_content_removes_what_is_not_listed() -> None:
    store = Store()
    store.replace(group={"g": [opaque(CLUSTER, "a"), opaque(ROUTE, "r")], "h": [opaque(CLUSTER, "x")]})
    assert store.replace(group={"g": [opaque(CLUSTER, "b"), opaque(ROUTE, "r")]}) == 2
    assert set(store.contents(group="g")) == {(CLUSTER, "b"), (ROUTE, "r")}
    assert set(store.contents(group="h")) == {(CLUSTER, "x")}
    store.replace(nodes={"n": [opaque(ENDPOINT, "e")]})
    assert store.contents(node="n") == keyed(opaque(ENDPOINT, "e"))


def test_a_group_without_resources_is_forgotten() -> None:
    store = Store()
    store.replace(group={"g": [opaque(CLUSTER, "a")]}, nodes={"n": [opaque(ENDPOINT, "a")]})
    store.replace(group={"g": []}, nodes={"n": []})
    assert repr(store) == "<Store incomplete revision=2 groups=0 nodes=0>"


def test_a_version_is_made_from_the_content_alone() -> None:
    assert Resource.of(LISTENER, "a", b"x").version == Resource.of(ROUTE, "b", b"x").version == content_version(b"x")
    assert content_version(b"x") != content_version(b"y")
    assert len(content_version(b"")) == 16
