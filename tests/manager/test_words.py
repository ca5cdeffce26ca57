"""What the manager says to people: warnings, notices, reasons, and the lines that they are to copy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from tests.manager.running import FILE, Laptop, Running, refused, running
from xds.api.byway.manager import v1
from xds.api.rpc import bearer
from xds.api.services import Manager as Methods
from xds.registry import sessions

PORT_8080 = "{{name: http, port: 8080, appProtocol: http}}"


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as manager:
        yield manager


class Attending:
    """A laptop that listens to what it is told."""

    def __init__(self, laptop: Laptop) -> None:
        async def words() -> AsyncIterator[v1.Presence]:
            while True:
                yield v1.Presence(epoch=laptop.epoch)
                await asyncio.sleep(0.1)

        self.notices = aiter(Methods.ATTEND(laptop.channel, words(), metadata=laptop.proof))


class TestWarningOfAnOverlap:
    async def test_names_ones_own_intercept_as_such_and_the_rule_by_which_it_wins(self, there: Running) -> None:
        ann = await there.connect("ann")
        await ann.create("n1", "x-user=a")
        progress = await ann.create("n2", "x-team=red")
        (warning,) = progress.warnings
        assert warning.startswith("some requests also match your own intercept 'n1', such as GET / with ")
        assert warning.endswith("; those go to 'n1': it is older")

    async def test_names_somebody_elses_with_its_owner_and_says_when_the_newcomer_wins(self, there: Running) -> None:
        ann, bob = await there.connect("ann"), await there.connect("bob")
        await ann.create("n1", "x-user=a")
        request = v1.CreateInterceptRequest(
            name="n2",
            workload="orders",
            ports=[v1.CreateInterceptRequestPortFlag(target=v1.Target(host="localhost", port=1), remote="8080")],
            match=v1.MatchFlags(http_header=["x-team=red"], http_path_prefix="/api"),
        )
        steps = [step async for step in Methods.CREATE_INTERCEPT(bob.channel, request, metadata=bob.proof)]
        (warning,) = steps[-1].warnings
        assert warning.startswith("some requests also match intercept 'n1' of ann@lap, such as GET /api")
        assert warning.endswith("; those go to this one: a path prefix comes before no condition on the path")


class TestRevoking:
    @pytest.mark.parametrize("reason", ["\x1b[2Jgone", "two\nlines", "\x07", "\x9b31m", "x" * 301])
    async def test_refuses_a_reason_that_a_terminal_would_act_on(self, there: Running, reason: str) -> None:
        ann = await there.connect("ann")
        progress = await ann.create("hers", "x-user=a")
        assert progress.intercept is not None
        request = v1.RevokeRequest(intercept_id=progress.intercept.id, reason=reason)
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "--reason", "printable"):
            await Methods.REVOKE(there.channel, request, metadata=bearer(there.admin_token))
        assert len(await ann.list()) == 1


class TestKeyHeader:
    async def test_a_changed_setting_reaches_a_laptop_that_is_connected(self, there: Running) -> None:
        ann = await there.connect("ann")
        attending = Attending(ann)
        first = await anext(attending.notices)
        assert first.key_name == "x-telepresence-id"
        assert first.key_value.startswith("ann-")
        there.change("{intercept.defaultHeader: X-Dev}")
        there.standalone.reload()
        async with asyncio.timeout(10):
            names = [(await anext(attending.notices)).key_name]
            while names[-1] != "x-dev":
                names.append((await anext(attending.notices)).key_name)

    async def test_an_intercept_by_the_old_one_says_which_that_is(self, there: Running) -> None:
        ann = await there.connect("ann")
        await ann.create("old", "auto")
        assert (await ann.list())[0].match_flags == ["--http-header", "auto"]
        there.change("{intercept.defaultHeader: x-dev}")
        there.standalone.reload()
        await ann.create("new", "auto")
        assert [one.match_flags for one in await ann.list()] == [
            ["--http-header", "auto (x-telepresence-id)"],
            ["--http-header", "auto"],
        ]


@pytest.mark.parametrize(("protocol", "shown"), [("http", True), ("grpc", False), ("tcp", False)])
async def test_a_curl_command_is_shown_where_curl_can_ask(tmp_path: Path, protocol: str, shown: bool) -> None:
    other = PORT_8080.replace("appProtocol: http", f"appProtocol: {protocol}")
    (tmp_path / "byway.yaml").write_text(FILE.replace(PORT_8080, other).format(settings="{}"))
    async with running(tmp_path) as there:
        ann = await there.connect("ann")
        await ann.create("all")
        (one,) = await ann.list()
        assert (bool(one.curl_args), bool(one.base_url)) == (shown, shown)


async def test_the_end_of_a_session_is_said_once(there: Running) -> None:
    ann = await there.connect("ann")
    await ann.create("hers", "x-user=a")
    attending = Attending(ann)
    await anext(attending.notices)
    manager = there.manager
    manager.clock.step(25 * 3600)
    manager.commit(sessions.expire(manager.state, manager.settings, manager.clock.now()))
    said: list[str] = []
    with refused(grpc.StatusCode.NOT_FOUND, "the session has ended; your session was ended: ", "grpc.connectionTTL"):
        async for notice in attending.notices:
            said += [one.text for one in notice.notifications]
    assert said == []
