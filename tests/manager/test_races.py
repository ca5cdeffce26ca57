"""The manager over gRPC: who wins, who may, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from tests.manager.running import PATIENCE, Laptop, Running, refused, running, until
from tests.serve.client import DeltaClient
from xds.api.byway.manager import v1
from xds.api.rpc import Unary, bearer
from xds.api.services import Debug
from xds.api.services import Manager as Methods
from xds.manager import process
from xds.manager.store import StoreError
from xds.serve.resource import ROUTE

CONFLICT = grpc.StatusCode.FAILED_PRECONDITION


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as manager:
        yield manager


async def attempt(laptop: Laptop, *headers: str) -> grpc.aio.AioRpcError | v1.InterceptProgress:
    try:
        return await laptop.create("race", *headers)
    except grpc.aio.AioRpcError as error:
        return error


async def test_a_refusal_arrives_however_long_what_it_quotes_is(there: Running) -> None:
    ann, bob = await there.connect("ann"), await there.connect("bob")
    long = "y" * 20_000
    await ann.create("orders", f"x-user={long}")
    with refused(CONFLICT, "x-user: yyy", "…") as conflicts:
        await bob.create("orders", f"x-user={long}")
    assert conflicts[0].intercept_id.startswith("i-")
    assert conflicts[0].witness.startswith("GET / with x-user: yyy")
    with refused(grpc.StatusCode.NOT_FOUND, "you have no intercept named", "€€", "…", "; you have none"):
        await bob.leave("€" * 20_000)


async def test_of_fifty_conflicting_creations_at_once_exactly_one_wins(there: Running) -> None:
    laptops = await asyncio.gather(*(there.connect("bob", host=f"lap-{number}", present=True) for number in range(50)))
    outcomes = await asyncio.gather(*(attempt(one, r"x-user~=^b[aeiou]b\d*$") for one in laptops))
    won = [one for one in outcomes if isinstance(one, v1.InterceptProgress)]
    lost = [one for one in outcomes if isinstance(one, grpc.aio.AioRpcError)]
    assert len(won) == 1
    assert won[0].done
    assert won[0].intercept is not None
    for error in lost:
        assert error.code() is CONFLICT
        (detail,) = [bytes(value) for key, value in error.trailing_metadata() or () if key == "byway-conflict-bin"]  # type: ignore[arg-type]
        conflict = v1.Conflict.parse(detail)
        assert (conflict.intercept_id, conflict.owner) == (won[0].intercept.id, won[0].intercept.owner)
        assert conflict.yours
        assert conflict.port == 8080
        assert conflict.witness.startswith("GET / with x-user: b")
        assert conflict.proven
        assert "it is you, on host lap-" in (error.details() or "")
    assert [one.id for one in await laptops[0].list(every=True)] == [won[0].intercept.id]
    assert len(there.manager.state.intercepts) == 1


async def test_disjoint_creations_at_once_all_succeed(there: Running) -> None:
    laptops = await asyncio.gather(*(there.connect("bob", host=f"lap-{number}") for number in range(50)))
    await asyncio.gather(*(one.create("mine", f"x-user={one.id}") for one in laptops))
    listed = await laptops[0].list(every=True)
    assert len({one.sequence for one in listed}) == 50
    assert {one.disposition for one in listed} == {"active"}


async def test_cancelled_creations_leave_nothing(there: Running) -> None:
    sidecar = await there.silent_sidecar()
    laptops = await asyncio.gather(*(there.connect("bob", host=f"lap-{number}") for number in range(10)))
    calls = [one.creation("mine", f"x-user={one.id}") for one in laptops]
    firsts = await asyncio.gather(*(anext(aiter(call)) for call in calls))
    assert {one.intercept.disposition for one in firsts} == {"pending"}
    assert len(there.manager.state.intercepts) == 10
    for call in calls:
        call.cancel()
    await until(lambda: not there.manager.state.intercepts)
    assert await laptops[0].list(every=True) == []
    assert not there.manager.state.of_session(laptops[0].id)
    sidecar.close()


async def test_what_can_not_be_taken_back_on_a_full_disk_is_taken_back_later(
    there: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StoreError("the disk is full")

    sidecar = await there.silent_sidecar()
    ann = await there.connect("ann")
    call = ann.creation("mine", "x-user=a")
    await anext(aiter(call))
    with monkeypatch.context() as patch:
        patch.setattr(there.standalone._store, "save", full)
        call.cancel()
        await until(lambda: there.manager._owed)
    assert len(there.manager.state.intercepts) == 1
    await until(lambda: not there.manager.state.intercepts)
    sidecar.close()


async def test_cancelling_a_take_over_gives_back_what_it_took(there: Running) -> None:
    ann, bob = await there.connect("ann"), await there.connect("bob")
    await ann.create("hers", "x-user=a")
    there.manager.clock.step(601)
    sidecar = await there.silent_sidecar()
    call = bob.creation("his", "x-user=a")
    await anext(aiter(call))
    (hers,) = there.manager.state.of_session(ann.id)
    assert hers.disposition == "displaced"
    call.cancel()
    await until(lambda: not there.manager.state.of_session(bob.id))
    (hers,) = there.manager.state.of_session(ann.id)
    assert hers.disposition.routed
    sidecar.close()


async def test_cancelling_a_reclaim_leaves_the_displaced_one_as_it_was(there: Running) -> None:
    ann, bob = await there.connect("ann"), await there.connect("bob")
    await ann.create("hers", "x-user=a")
    there.manager.clock.step(601)
    await bob.create("his", "x-user=a")
    (before,) = there.manager.state.of_session(ann.id)
    there.manager.clock.step(601)
    sidecar = await there.silent_sidecar()
    call = ann.creation("hers", "x-user=a")
    await anext(aiter(call))
    assert there.manager.state.of_session(bob.id)[0].disposition == "displaced"
    call.cancel()
    await until(lambda: there.manager.state.of_session(ann.id) == [before])
    assert there.manager.state.of_session(bob.id)[0].disposition.routed
    sidecar.close()


async def test_a_creation_that_is_not_acknowledged_in_time_is_taken_back(there: Running) -> None:
    sidecar = await there.silent_sidecar()
    ann = await there.connect("ann")
    with refused(grpc.StatusCode.DEADLINE_EXCEEDED, "not acknowledged within 0.1 s", "orders-1"):
        await ann.create("mine", "x-user=a", timeout_seconds=0.1)
    assert await ann.list(every=True) == []
    sidecar.close()


async def opinionated(sidecar: DeltaClient) -> None:
    """Refuses any route configuration with a word in it that no hash and no id can hold."""
    while True:
        response = await sidecar.response()
        if response.type_url == ROUTE and b"wrong" in bytes(response):
            await sidecar.nack(response, "no such thing")
        else:
            await sidecar.ack(response)


async def test_an_intercept_that_envoy_refuses_stays_with_its_text_until_left(there: Running) -> None:
    sidecar = await there.silent_sidecar()
    answering = asyncio.create_task(opinionated(sidecar))
    ann = await there.connect("ann")
    with refused(grpc.StatusCode.INTERNAL, "no such thing", "byway leave mine"):
        await ann.create("mine", "x-user=wrong")
    (mine,) = await ann.list()
    assert (mine.disposition, mine.reason) == ("rejected", "no such thing")
    await ann.leave("mine")
    assert await ann.list() == []
    answering.cancel()
    sidecar.close()


async def test_of_several_at_once_only_the_refused_one_is_rejected_and_the_others_go_live(there: Running) -> None:
    sidecar = await there.silent_sidecar()
    laptops = await asyncio.gather(*(there.connect("bob", host=f"lap-{number}") for number in range(6)))
    words = ["good-1", "good-2", "wrong-1", "good-3", "wrong-2", "good-4"]
    creating = [
        asyncio.ensure_future(attempt(laptop, f"x-user={word}")) for laptop, word in zip(laptops, words, strict=True)
    ]
    await until(lambda: len(there.manager.state.intercepts) == 6)
    answering = asyncio.create_task(opinionated(sidecar))
    outcomes = await asyncio.gather(*creating)
    answering.cancel()
    for word, outcome in zip(words, outcomes, strict=True):
        if word.startswith("wrong"):
            assert isinstance(outcome, grpc.aio.AioRpcError)
            assert "no such thing" in (outcome.details() or "")
        else:
            assert isinstance(outcome, v1.InterceptProgress)
    listed = await laptops[0].list(every=True)
    assert sorted(one.disposition for one in listed) == ["active"] * 4 + ["rejected"] * 2
    sidecar.close()


class TestRights:
    async def test_nobody_leaves_or_quits_for_somebody_else(self, there: Running) -> None:
        ann, bob = await there.connect("ann"), await there.connect("bob")
        await ann.create("hers", "x-user=a")
        with refused(grpc.StatusCode.NOT_FOUND, "you have no intercept named 'hers'"):
            await bob.leave("hers")
        await bob.quit()
        assert [one.name for one in await ann.list()] == ["hers"]

    async def test_a_session_is_resumed_only_by_its_own_user(self, there: Running) -> None:
        ann = await there.connect("ann")
        with refused(grpc.StatusCode.PERMISSION_DENIED, "another user's"):
            await there.connect("bob", resume_token=ann.token)
        assert there.manager.state.session(ann.id).epoch == 1

    async def test_attending_with_another_epoch_is_refused_for_good(self, there: Running) -> None:
        ann = await there.connect("ann")
        again = await there.connect("ann", resume_token=ann.token)
        assert (again.id, again.epoch) == (ann.id, 2)
        with refused(grpc.StatusCode.ABORTED, "taken over by a newer connection"):
            await _attend(ann, epoch=1)
        assert not there.manager.state.session(ann.id).present

    async def test_attending_needs_a_session_of_ones_own(self, there: Running) -> None:
        ann = await there.connect("ann")
        for token in (there.user_token("ann"), there.admin_token, "guess", ""):
            stranger = Laptop(there.channel, "ann", ann.id, token, 1)
            with refused(grpc.StatusCode.UNAUTHENTICATED):
                await _attend(stranger, epoch=1)

    async def test_the_old_token_is_worth_nothing_after_an_adoption(self, there: Running) -> None:
        ann = await there.connect("ann")
        await ann.create("hers", "x-user=a")
        again = await there.connect("ann", adopt=True)
        assert again.id == ann.id
        assert [one.name for one in await again.list()] == ["hers"]
        with refused(grpc.StatusCode.UNAUTHENTICATED):
            await ann.list()

    async def test_nobody_adopts_another_users_session(self, there: Running) -> None:
        ann = await there.connect("ann")
        bob = await there.connect("bob", adopt=True)
        assert bob.id != ann.id

    @pytest.mark.parametrize("who", ["session", "user"])
    async def test_revoking_needs_the_admin_token(self, there: Running, who: str) -> None:
        ann, bob = await there.connect("ann"), await there.connect("bob")
        progress = await ann.create("hers", "x-user=a")
        assert progress.intercept is not None
        request = v1.RevokeRequest(intercept_id=progress.intercept.id, reason="in the way")
        token = bob.token if who == "session" else there.user_token("bob")
        with refused(grpc.StatusCode.PERMISSION_DENIED, "administrator"):
            await Methods.REVOKE(there.channel, request, metadata=bearer(token))
        assert len(await ann.list()) == 1
        await Methods.REVOKE(there.channel, request, metadata=bearer(there.admin_token))
        assert await ann.list() == []
        told = [one.text for one in there.manager.mailboxes[ann.id].messages]
        assert told == ["intercept 'hers' of dev/deployment/orders was ended by the administrator: revoked: in the way"]
        assert there.audit()[-1] | {"time": "", "from": ""} == {
            "time": "",
            "event": "intercept ended",
            "intercept": progress.intercept.id,
            "name": "hers",
            "workload": "dev/deployment/orders",
            "kind": "personal",
            "match": ["--http-header", "x-user=a"],
            "session": ann.id,
            "owner": "ann@lap",
            "by": "the administrator",
            "text": "revoked: in the way",
            "from": "",
        }

    @pytest.mark.parametrize("token", ["", "guess"])
    async def test_every_method_needs_a_token_that_the_manager_knows(self, there: Running, token: str) -> None:
        methods = [*vars(Methods).values(), *vars(Debug).values()]
        unary = [one for one in methods if isinstance(one, Unary)]
        assert len(unary) >= 13
        metadata = bearer(token) if token else ()
        for method in unary:
            # Of what needs the administrator's token, a token that is none is one that is not the administrator's.
            admins = method is Methods.REVOKE or method in vars(Debug).values()
            status = grpc.StatusCode.PERMISSION_DENIED if token and admins else grpc.StatusCode.UNAUTHENTICATED
            with refused(status):
                await method(there.channel, method.request(), metadata=metadata)
        with refused(grpc.StatusCode.UNAUTHENTICATED):
            await Laptop(there.channel, "ann", "", token, 1).create("x")
        with refused(grpc.StatusCode.UNAUTHENTICATED):
            await anext(aiter(Methods.EXPLAIN(there.channel, v1.ExplainRequest(live=True), metadata=metadata)))
        assert not there.manager.state.sessions

    async def test_an_address_that_envoy_would_refuse_is_refused_here(self, there: Running) -> None:
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "--address", "'laptop.local' is no IP address"):
            await there.connect("ann", address="laptop.local")
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "--host"):
            await there.connect("ann", host="lap\x1b[2J")


async def _attend(laptop: Laptop, *, epoch: int) -> None:
    async def words() -> AsyncIterator[v1.Presence]:
        while True:
            yield v1.Presence(epoch=epoch)
            await asyncio.sleep(0.1)

    async with asyncio.timeout(PATIENCE):
        async for _ in Methods.ATTEND(laptop.channel, words(), metadata=laptop.proof):
            pass


async def test_the_audit_log_tells_who_did_what(there: Running) -> None:
    ann, bob = await there.connect("ann"), await there.connect("bob")
    await ann.create("hers", "x-user=a")
    there.manager.clock.step(601)
    await bob.create("his", "x-user=a")
    await bob.leave("his")
    await ann.quit()
    assert [(line["event"], line["owner"], line["by"]) for line in there.audit()] == [
        ("session started", "ann@lap", "ann@lap"),
        ("session started", "bob@lap", "bob@lap"),
        ("intercept created", "ann@lap", "ann@lap"),
        ("intercept active", "ann@lap", ""),
        ("intercept displaced", "ann@lap", "bob@lap"),
        ("intercept created", "bob@lap", "bob@lap"),
        ("intercept active", "bob@lap", ""),
        ("intercept ended", "bob@lap", "bob@lap"),
        ("intercept restored", "ann@lap", ""),
        ("intercept active", "ann@lap", ""),
        ("intercept ended", "ann@lap", "ann@lap"),
        ("session ended", "ann@lap", "ann@lap"),
    ]
    assert all(line["from"].startswith("ipv4:127.0.0.1:") for line in there.audit() if line["by"])


class TestSettings:
    @pytest.fixture(autouse=True)
    def often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(process, "RELOAD_EVERY", 0.02)

    async def test_a_change_takes_effect_without_a_restart(self, there: Running) -> None:
        ann, bob = await there.connect("ann"), await there.connect("bob")
        await ann.create("hers", "x-user=a")
        there.manager.clock.step(60)
        with refused(CONFLICT, "idle for 1 min", "after 9 min more"):
            await bob.create("his", "x-user=a")
        there.change("{intercept.inactiveBlockTimeout: 30s}")
        await until(lambda: there.manager.settings.inactive_block_timeout == 30)
        await bob.create("his", "x-user=a")
        assert (await ann.list())[0].displaced_by == "bob@lap"

    async def test_a_bad_file_is_refused_and_told_and_the_last_good_one_stays(
        self, there: Running, caplog: pytest.LogCaptureFixture
    ) -> None:
        there.change("{intercept.inactiveBlockTimeout: 30s}")
        await until(lambda: there.manager.settings.inactive_block_timeout == 30)
        with caplog.at_level(logging.ERROR):
            there.change("{intercept.inactiveBlockTimeout: soon}")
            await until(lambda: caplog.records)
        assert "intercept.inactiveBlockTimeout" in caplog.text
        assert "byway.yaml" in caplog.text
        assert there.manager.settings.inactive_block_timeout == 30
        there.change("{intercept.inactiveBlockTimeout: 40s}")
        await until(lambda: there.manager.settings.inactive_block_timeout == 40)


async def test_comparing_a_newcomer_with_hundreds_never_holds_up_the_loop(there: Running) -> None:
    """What each is compared with is new to the manager, and much of it is made to be dear."""
    dear = [r"x-user~=(.{{{0}}})+$", r"x-user~=(a|b|ab)*c{{1,{0}}}$", r"x-user~=\b(\w{{1,{0}}} )+x$"]
    ann, bob = await there.connect("ann"), await there.connect("bob")
    for number in range(60):
        # Each has a field that the others lack, so that all may be there at once.
        await ann.create(f"a-{number}", dear[number % 3].format(10 + number % 30), f"x-{number}=1")
    assert len(there.manager.state.intercepts) == 60
    longest = 0.0
    stop = asyncio.Event()
    # What earlier tests left on the heap is not the manager's to collect.
    gc.collect()
    gc.freeze()

    async def watch() -> None:
        nonlocal longest
        while not stop.is_set():
            began = time.thread_time()
            await asyncio.sleep(0)
            # What other threads and processes took of the machine is not the loop's fault.
            longest = max(longest, time.thread_time() - began)

    watching = asyncio.create_task(watch())
    for number in range(3):
        await bob.create(f"b-{number}", dear[number].format(41), f"y-{number}=1", timeout_seconds=PATIENCE)
    many = [f"z-{number}~=((a{{1,5}}){{1,5}}){{1,6}}x{{{number + 1}}}" for number in range(16)]
    await bob.create("many", *many)
    stop.set()
    await watching
    gc.unfreeze()
    assert longest < 0.05


async def test_there_is_a_limit_to_the_number_of_conditions(there: Running) -> None:
    ann = await there.connect()
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "--http-header", "more than 32 conditions"):
        await ann.create("hers", *(f"x-{number}=1" for number in range(33)))
    await ann.create("hers", *(f"x-{number}=1" for number in range(32)))
