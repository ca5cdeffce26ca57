"""What a client has asked for: the rules of the wildcard and of names, without streams."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xds.serve.subscription import Subscription


def sotw(*requests: list[str]) -> Subscription:
    subscription = Subscription()
    for names in requests:
        subscription.replace(names)
    return subscription


def delta(*requests: tuple[list[str], list[str]]) -> Subscription:
    subscription = Subscription()
    for number, (subscribe, unsubscribe) in enumerate(requests):
        subscription.change(subscribe, unsubscribe, first=number == 0)
    return subscription


def test_sotw_silence_means_everything_until_something_is_named() -> None:
    assert sotw([]).wildcard
    assert sotw([], []).wildcard


def test_sotw_the_protocol_documents_example() -> None:
    steps = [[], ["*", "A"], ["A"], []]
    states = [(each.wildcard, each.names) for each in (sotw(*steps[: n + 1]) for n in range(4))]
    assert states == [(True, set()), (True, {"A"}), (False, {"A"}), (False, set())]


def test_sotw_an_explicit_wildcard_ends_with_an_empty_list() -> None:
    assert not sotw(["*"], []).wildcard


def test_sotw_says_what_is_newly_asked_for() -> None:
    subscription = sotw(["A"])
    assert subscription.replace(["A", "B"]) == {"B"}
    assert subscription.replace(["*", "B"]) == {"*"}
    assert subscription.replace(["*"]) == set()
    assert subscription.replace(["B"]) == {"B"}


def test_delta_the_protocol_documents_example() -> None:
    steps: list[tuple[list[str], list[str]]] = [([], []), (["A"], []), ([], ["*"]), ([], ["A"])]
    states = [(each.wildcard, each.names) for each in (delta(*steps[: n + 1]) for n in range(4))]
    assert states == [(True, set()), (True, {"A"}), (False, {"A"}), (False, set())]


def test_delta_an_acknowledgement_without_names_is_no_wildcard() -> None:
    assert not delta((["A"], []), ([], [])).wildcard
    assert not delta((["A"], []), ([], ["A"]), ([], [])).wildcard


def test_delta_a_first_request_that_only_unsubscribes_is_no_wildcard() -> None:
    assert not delta(([], ["A"])).wildcard


def test_delta_subscribing_again_is_to_be_answered() -> None:
    assert delta((["A"], [])).change(["A"], [], first=False) == ({"A"}, set())


def test_delta_unsubscribing_a_name_under_the_wildcard_is_to_be_answered() -> None:
    assert delta((["*", "A"], [])).change([], ["A"], first=False) == ({"A"}, set())


def test_delta_unsubscribing_what_was_never_subscribed_is_ignored() -> None:
    assert delta((["*"], [])).change([], ["A"], first=False) == (set(), set())
    assert delta((["B"], [])).change([], ["A", "*"], first=False) == (set(), set())


def test_delta_unsubscribing_drops_the_name() -> None:
    assert delta((["A"], [])).change([], ["A"], first=False) == (set(), {"A"})
    assert delta((["*"], [])).change([], ["*"], first=False) == (set(), {"*"})


names = st.lists(st.sampled_from("ABC*"), max_size=4)


@given(st.lists(names, min_size=1, max_size=6))
def test_sotw_the_latest_list_is_the_subscription(requests: list[list[str]]) -> None:
    subscription = sotw(*requests)
    assert subscription.names == set(requests[-1]) - {"*"}
    assert subscription.wildcard == ("*" in requests[-1] or not any(requests))


@given(st.lists(st.tuples(names, names), min_size=1, max_size=6))
def test_delta_names_are_the_sum_of_the_changes(requests: list[tuple[list[str], list[str]]]) -> None:
    wanted: set[str] = set()
    for subscribe, unsubscribe in requests:
        wanted = (wanted - set(unsubscribe)) | set(subscribe)
    subscription = delta(*requests)
    assert subscription.names == wanted - {"*"}
    if "*" in wanted or any(requests[0]):
        assert subscription.wildcard == ("*" in wanted)
