"""A tunnel that comes and goes is used again later and later, and at once when it has become steady."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xds.manager.flapping import FREE, LONGEST, MEMORY, Flapping


def flap(one: Flapping, times: int, *, start: float = 0.0, every: float = 0.5) -> float:
    """Up and down so many times; returns when the last loss was."""
    now = start
    for _ in range(times):
        one.look(up=True, now=now)
        now += every
        one.look(up=False, now=now)
    return now


def test_a_tunnel_that_is_lost_now_and_then_is_used_again_at_once() -> None:
    one = Flapping()
    now = flap(one, FREE)
    assert one.look(up=True, now=now + 0.1) == 0


def test_one_that_is_lost_over_and_over_has_to_hold_for_longer_each_time() -> None:
    waits = []
    for losses in range(FREE + 1, FREE + 6):
        one = Flapping()
        now = flap(one, losses)
        waits.append(one.look(up=True, now=now))
    assert waits == [2, 4, 8, LONGEST, LONGEST]


def test_it_is_used_when_it_has_held() -> None:
    one = Flapping()
    now = flap(one, FREE + 1)
    assert one.look(up=True, now=now) == 2
    assert one.look(up=True, now=now + 1.5) == 0.5
    assert one.look(up=True, now=now + 2) == 0


def test_losses_are_forgotten() -> None:
    one = Flapping()
    now = flap(one, FREE + 3)
    assert one.look(up=True, now=now + MEMORY) == 0
    assert one.losses == 0


@given(st.lists(st.tuples(st.booleans(), st.floats(0.01, 10)), max_size=60))
def test_a_tunnel_that_stays_up_is_used_within_the_longest_time(words: list[tuple[bool, float]]) -> None:
    one, now = Flapping(), 0.0
    for up, pause in words:
        now += pause
        assert 0 <= one.look(up=up, now=now) <= LONGEST
    one.look(up=True, now=now)
    assert one.look(up=True, now=now + LONGEST) == 0
