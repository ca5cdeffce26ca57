"""The manager's log: its two forms, the ids in its lines, and that no secret is ever in one."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from click.testing import CliRunner

from tests.manager.running import WATCHED, Laptop, Running, refused, running, until
from xds.api.byway.manager import v1
from xds.api.rpc import bearer
from xds.api.services import Manager as Methods
from xds.manager.commands.manager import manager as command
from xds.manager.logs import JsonLines, TextLines, configure, fields_of
from xds.manager.timers import Timers
from xds.registry import sessions
from xds.registry.change import Change

GATEWAY = "\ngateways: [{name: gw-1, tunnel: 127.0.0.1:7, sidecars: 127.0.0.1:8}]"
BECOMES = ("created", "active", "displaced", "restored", "rejected", "ended")


class Kept(logging.Handler):
    """Every record in both forms, debugging ones of every library included."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.text: list[str] = []
        self.json: list[dict[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.text.append(TextLines().format(record))
        self.json.append(json.loads(JsonLines().format(record)))

    def of(self, word: str) -> list[dict[str, str]]:
        """The lines whose message begins so."""
        return [one for one in self.json if one["message"].startswith(word)]


@pytest.fixture
def kept() -> Iterator[Kept]:
    root, handler = logging.getLogger(), Kept()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.fixture
async def there(tmp_path: Path, kept: Kept) -> AsyncIterator[Running]:
    async with running(tmp_path, replace=(WATCHED[0], WATCHED[1] + GATEWAY)) as one:
        yield one


async def the_whole_life(there: Running, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """All that can become of intercepts and sessions. Returns every secret."""
    manager = there.manager
    ann, bob, cat = [await there.connect(user, host="lap", present=True) for user in ("ann", "bob", "cat")]
    secrets = {ann.token, bob.token, cat.token, there.admin_token, *map(there.user_token, ("ann", "bob", "cat"))}
    secrets.add((there.state.sidecar("dev/deployment/orders", "orders-1") / "token").read_text().strip())
    secrets |= keys(there)
    reply = await Methods.CONNECT(
        there.channel,
        v1.ConnectRequest(host="desk", daemon="0123456789abcdef"),
        metadata=bearer(there.user_token("ann")),
    )
    assert reply.tunnel
    secrets |= {reply.tunnel.token, reply.session_token}
    await Methods.QUIT(there.channel, v1.QuitRequest(), metadata=bearer(reply.session_token))
    await attended(ann)

    async def create(laptop: Laptop, name: str, *headers: str) -> str:
        made = await laptop.create(name, *headers)
        assert made.intercept
        return made.intercept.id

    async with there.obliging_sidecar(refuses=b"bad-value"):
        first = await create(ann, "first", "x-user=1")
        with refused(grpc.StatusCode.INTERNAL):
            await ann.create("bad", "x-other=bad-value")
        with refused(grpc.StatusCode.FAILED_PRECONDITION):
            await bob.create("same", "x-user=1")
        request = v1.ExplainRequest(workload="orders", port="http", request_line="/", live=True)
        call: Any = Methods.EXPLAIN(ann.channel, request, metadata=ann.proof)
        question = (await anext(aiter(call))).live
        secrets.add(question.token)
        call.cancel()
        manager.clock.step(11 * 60)
        await create(bob, "same", "x-user=1")
        assert manager.state.intercepts[first].disposition == "displaced"
        await bob.leave("same")
        await until(lambda: manager.state.intercepts[first].disposition == "active")
        second = await create(cat, "second", "x-cat=1")
        revoke = v1.RevokeRequest(intercept_id=second, reason="load test")
        await Methods.REVOKE(there.channel, revoke, metadata=bearer(there.admin_token))
    secrets |= await strangers(there)
    again = await there.connect("ann", host="lap", adopt=True)
    secrets.add(again.token)
    await create(again, "third", "x-user=3")
    await trouble(there, again, monkeypatch)
    await bob.quit()
    manager.clock.step(25 * 3600)
    manager.commit(sessions.expire(manager.state, manager.settings, manager.clock.now()))
    assert not manager.state.sessions
    return secrets


def keys(there: Running) -> set[str]:
    """What gateways prove themselves with, and the lines of every private key."""
    identity = there.state.manager / "identity"
    kept = (identity / "ca.pem").read_text() + json.loads((identity / "keys.json").read_text())["keys"][0]["key"]
    blocks = re.findall("-----BEGIN PRIVATE KEY-----(.*?)-----END", kept, re.DOTALL)
    assert len(blocks) == 2
    lines = {line for block in blocks for line in block.split() if len(line) > 20}
    return {(there.state.gateway("gw-1") / "token").read_text().strip(), *lines}


async def attended(laptop: Laptop) -> None:
    """The laptop is there for a moment."""

    async def presence() -> AsyncIterator[v1.Presence]:
        yield v1.Presence(epoch=laptop.epoch)
        await asyncio.Event().wait()

    call: Any = Methods.ATTEND(laptop.channel, presence(), metadata=laptop.proof)
    assert (await anext(aiter(call))).session.id == laptop.id
    call.cancel()


async def strangers(there: Running) -> set[str]:
    """Tokens that are not the manager's; returns them."""
    # What a stranger tries is nobody's token, but may be one of tomorrow.
    tried = {"wrong-token-of-a-stranger", there.admin_token[:-1] + "x"}
    for wrong in tried:
        with refused(grpc.StatusCode.UNAUTHENTICATED):
            await Methods.LIST_INTERCEPTS(there.channel, v1.ListInterceptsRequest(), metadata=bearer(wrong))
        with refused(grpc.StatusCode.UNAUTHENTICATED):
            await Methods.CONNECT(there.channel, v1.ConnectRequest(host="x"), metadata=bearer(wrong))
    return tried


async def trouble(there: Running, laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk while a user is taken out of the file, and a file that can't be used."""
    with monkeypatch.context() as patch:
        patch.setattr(there.standalone._store, "_run", full)
        with refused(grpc.StatusCode.RESOURCE_EXHAUSTED):
            await laptop.leave("third")
        there.change(replace=("ann, bob, cat", "ann, bob"))
        there.standalone.reload()
    there.file.write_text("users: 7")
    there.standalone.reload()
    Timers(there.manager, there.standalone._store).tick()


def full(*_: object, **__: object) -> None:
    raise sqlite3.OperationalError("database or disk is full")


async def pages(there: Running) -> str:
    found = []
    async with aiohttp.ClientSession() as session:
        for path in ("/metrics", "/healthz", "/readyz"):
            async with session.get(f"http://{there.standalone.monitoring}{path}") as response:
                found.append(await response.text())
    return "\n".join(found)


async def test_no_secret_is_in_the_log_the_audit_log_or_the_metrics_and_what_happened_is_logged_with_its_ids(
    there: Running, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = await the_whole_life(there, monkeypatch)
    assert len(secrets) >= 17
    assert all(len(one) > 20 for one in secrets)
    audit = (there.state.manager / "audit.jsonl").read_text()
    for where, text in {
        "log": "\n".join(kept.text),
        "json log": "\n".join(map(json.dumps, kept.json)),
        "audit log": audit,
        "pages": await pages(there),
    }.items():
        assert text
        leaked = [one for one in secrets if one in text]
        assert not leaked, f"the {where} has {leaked}"
    events = [one for one in there.audit() if "session" in one]
    kinds = {"session started", "session ended", *(f"intercept {how}" for how in BECOMES)}
    assert {one["event"] for one in events} >= kinds
    said = [one for one in kept.json if one["logger"] == "xds.manager.logs"]
    assert [(one["message"].partition(":")[0], one.get("intercept"), one["session"]) for one in said] == [
        (one["event"], one.get("intercept"), one["session"]) for one in events
    ]
    (refusal,) = [one for one in kept.json if "it will be tried again" in one["message"]]
    assert refusal["session"] in {one["session"] for one in events}


async def test_a_line_about_an_intercept_says_who_did_what_and_why(there: Running, kept: Kept) -> None:
    ann = await there.connect("ann")
    made = (await ann.create("mine", "x-user=ann")).intercept
    assert made
    revoke = v1.RevokeRequest(intercept_id=made.id, reason="load test")
    await Methods.REVOKE(there.channel, revoke, metadata=bearer(there.admin_token))
    (line,) = kept.of("intercept ended")
    assert line["message"].startswith("intercept ended: 'mine' of ann@lap by the administrator: revoked: load test")
    text = next(one for one in kept.text if "intercept ended" in one)
    assert f"intercept={made.id} session={ann.id} workload=dev/deployment/orders peer=" in text


def record(**more: Any) -> logging.LogRecord:
    record = logging.LogRecord("xds.x", logging.INFO, "x.py", 1, "%s is here", ("a\nb\x7f\x9b",), None)
    vars(record).update({"created": 0.0, **more})
    return record


def test_the_two_forms() -> None:
    one = record(intercept="i-1", session="s-1", token="not a field")
    assert TextLines().format(one) == (
        r"1970-01-01T00:00:00.000Z INFO xds.x: a\x0ab\x7f\x9b is here (intercept=i-1 session=s-1)"
    )
    line = JsonLines().format(one)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:00.000Z",
        "level": "info",
        "logger": "xds.x",
        "message": "a\nb\x7f\x9b is here",
        "intercept": "i-1",
        "session": "s-1",
    }


def test_a_traceback_follows_its_line() -> None:
    try:
        raise ValueError("broken")
    except ValueError as error:
        one = record(exc_info=(ValueError, error, error.__traceback__))
    assert TextLines().format(one).endswith("\nValueError: broken")
    assert json.loads(JsonLines().format(one))["exception"].endswith("\nValueError: broken")


def test_without_a_terminal_lines_are_json_unless_text_is_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    monkeypatch.setattr(root, "handlers", [])
    try:
        for style, first in ((None, "{"), ("json", "{"), ("text", "2")):
            configure(style, verbose=False)
            logging.getLogger("xds.x").info("here")
            assert capsys.readouterr().err.startswith(first)
    finally:
        root.handlers, root.level = before, level


def test_a_change_is_about_the_sessions_of_its_intercepts() -> None:
    assert fields_of(Change()) == {}
    assert fields_of(Change(intercepts={"i-2": None, "i-1": None}, sessions={"s-1": None})) == {
        "intercept": "i-1,i-2",
        "session": "s-1",
    }


def test_an_unknown_format_is_refused() -> None:
    done = CliRunner().invoke(command, ["--standalone", "x.yaml", "--log-format", "xml"])
    assert done.exit_code == 2
    assert "'xml' is not one of 'text', 'json'" in done.output
