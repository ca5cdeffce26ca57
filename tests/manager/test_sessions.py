"""Whose session is whose: adopted, left behind, ended with its user."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from tests.manager.running import Running, refused, running

CONFLICT = grpc.StatusCode.FAILED_PRECONDITION


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as manager:
        yield manager


async def test_a_session_whose_laptop_is_there_is_not_adopted(there: Running) -> None:
    ann = await there.connect("ann", present=True)
    await ann.create("hers", "x-user=a")
    other = await there.connect("ann", adopt=True)
    assert other.id != ann.id
    assert there.manager.state.session(ann.id).epoch == 1
    assert [one.name for one in await ann.list()] == ["hers"]


async def test_of_two_sessions_on_a_host_the_lost_one_is_adopted(there: Running) -> None:
    lost = await there.connect("ann")
    await there.connect("ann", present=True)
    assert (await there.connect("ann", adopt=True)).id == lost.id


async def test_what_was_left_behind_on_another_host_is_displaced_by_its_own_user_alone(there: Running) -> None:
    old = await there.connect("ann", host="old")
    await old.create("orders", "x-user=a")
    bob = await there.connect("bob")
    with refused(CONFLICT, "ann@old"):
        await bob.create("his", "x-user=a")
    new = await there.connect("ann", host="new", adopt=True)
    assert new.id != old.id
    await new.create("orders", "x-user=a")
    (left,) = there.manager.state.of_session(old.id)
    assert (left.disposition, left.displaced and left.displaced.owner) == ("displaced", "ann@new")
    told = [one.text for one in there.manager.mailboxes[old.id].messages]
    assert told == [
        "intercept 'orders' of dev/deployment/orders was displaced by ann@new while this laptop was away; "
        "it comes back when that one ends"
    ]
    await new.quit()
    assert there.manager.state.of_session(old.id)[0].disposition.routed
