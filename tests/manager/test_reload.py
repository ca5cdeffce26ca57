"""What a changed file does to those who are connected, and what a file that can't be taken over does not do."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner

from tests.manager.running import FILE, Laptop, Running, refused, running
from xds.manager import process
from xds.manager.commands.manager import manager as command
from xds.manager.process import Standalone
from xds.paths import StateDir

WITHOUT_BOB = ("ann, bob, cat", "ann, cat")
ALL_OF_ORDERS = FILE[FILE.index("- name: orders") :]


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as manager:
        yield manager


def told(there: Running, laptop: Laptop) -> list[str]:
    return [one.text for one in there.manager.mailboxes[laptop.id].messages]


async def test_a_file_whose_tokens_can_not_be_kept_is_not_used_at_all(
    there: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    there.change("{intercept.inactiveBlockTimeout: 30s}", replace=("ann, bob, cat", "ann, bob, cat, dan"))
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(process, "issue", full)
        there.standalone.reload()
    assert "its tokens can't be kept: no space left on device" in caplog.text
    assert there.manager.settings.inactive_block_timeout == 600
    there.standalone.reload()
    assert there.manager.settings.inactive_block_timeout == 30
    assert (await there.connect("dan")).user == "dan"


class TestWhoIsNoUserAnyMore:
    async def test_has_no_session_any_more(self, there: Running) -> None:
        ann, bob = await there.connect("ann"), await there.connect("bob")
        await bob.create("his", "x-user=b")
        there.change(replace=WITHOUT_BOB)
        there.standalone.reload()
        assert not there.manager.state.intercepts
        with refused(grpc.StatusCode.UNAUTHENTICATED, "the session has ended"):
            await bob.list()
        assert await ann.list(every=True) == []
        last = there.audit()[-1]
        assert (last["event"], last["owner"], last["by"]) == ("session ended", "bob@lap", "byway")
        assert last["text"] == "its user is not among the manager's users any more"

    async def test_has_none_after_a_restart_either(self, tmp_path: Path) -> None:
        async with running(tmp_path) as first:
            bob, ann = await first.connect("bob"), await first.connect("ann")
            await bob.create("his", "x-user=b")
            await ann.create("hers", "x-user=a")
            first.change(replace=WITHOUT_BOB)
        async with running(tmp_path) as second:
            assert [one.user for one in second.manager.state.sessions.values()] == ["ann"]
            assert [one.spec.name for one in second.manager.state.intercepts.values()] == ["hers"]


class TestWhatLeavesTheFile:
    async def test_a_workload_that_is_gone_is_told_and_shown_until_it_is_back(self, there: Running) -> None:
        ann = await there.connect("ann", present=True)
        await ann.create("hers", "x-user=a")
        there.change(replace=("workloads:\n" + ALL_OF_ORDERS.format(), "workloads: []\n"))
        there.standalone.reload()
        assert told(there, ann) == [
            "intercept 'hers' of dev/deployment/orders takes nothing: dev/deployment/orders is not there any more"
        ]
        (hers,) = await ann.list()
        assert hers.answered_by == "cluster: dev/deployment/orders is not there any more"
        assert not hers.laptop_answers
        there.change()
        there.standalone.reload()
        assert told(there, ann)[1:] == [
            "intercept 'hers' of dev/deployment/orders: its workload and ports are all there again"
        ]
        assert (await ann.list())[0].laptop_answers

    async def test_a_port_that_is_gone_is_told_to_those_who_need_it(self, there: Running) -> None:
        ann, bob = await there.connect("ann", present=True), await there.connect("bob", present=True)
        await ann.create("hers", "x-user=a", remote=["admin"])
        await bob.create("his", "x-user=b")
        without = FILE.replace(", {{name: admin, port: 9090, appProtocol: http}}", "")
        without = without.replace(', admin: "127.0.0.1:2"', "").replace(', admin: "127.0.0.1:4"', "")
        there.file.write_text(without.format(settings="{}"))
        there.standalone.reload()
        assert told(there, ann) == [
            "intercept 'hers' of dev/deployment/orders takes nothing: "
            "port 9090 of dev/deployment/orders is not there any more"
        ]
        assert told(there, bob) == []
        by_name = {one.name: one.answered_by for one in await ann.list(every=True)}
        assert by_name == {"hers": "cluster: port 9090 of dev/deployment/orders is not there any more", "his": "laptop"}


def test_what_was_wrong_with_the_store_is_in_the_audit_log(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "state")
    state.manager.mkdir(parents=True)
    (state.manager / "state.db").write_bytes(b"this was a database " * 300)
    file = tmp_path / "byway.yaml"
    file.write_text(FILE.format(settings="{}"))
    standalone = Standalone(file, state)
    standalone._store.close()
    text = (state.manager / "audit.jsonl").read_text()
    assert '"event": "store"' in text
    assert "state.db" in text


def test_listen_takes_loopback_addresses_only(tmp_path: Path) -> None:
    file = tmp_path / "byway.yaml"
    file.write_text(FILE.format(settings="{}"))
    result = CliRunner().invoke(command, ["--standalone", str(file), "--listen", "0.0.0.0:0"])
    assert result.exit_code == 2
    assert "no TLS" in result.output
    assert "127.0.0.1:0" in result.output
