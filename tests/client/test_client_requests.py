"""`byway requests`: once, followed, and until so many were taken."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import Any

import grpc
import pytest

from tests.client.fake import Failure, FakeManager
from tests.client.laptop import Laptop
from xds.api.byway.manager.v1 import InterceptedRequest, RequestsReply, Traffic
from xds.client.cli.app import run
from xds.client.words import KEEPS_TRYING
from xds.terminal.options import Duration


def request(number: int, path: str = "/a", *, started: float = 0.0, **more: Any) -> InterceptedRequest:
    found = InterceptedRequest(
        number=number, started=started or 1_795_000_000.0 + number, method="GET", path=path, status=200,
        grpc_status=-1, duration_seconds=0.012, served_by="laptop", instance="orders-1", protocol="HTTP/1.1",
    )  # fmt: skip
    for name, value in more.items():
        setattr(found, name, value)
    return found


def reply(*requests: InterceptedRequest, total: int = 0, missed: int = 0) -> RequestsReply:
    return RequestsReply(
        intercept_id="i-1",
        name="orders",
        workload="dev/deployment/orders",
        requests=list(requests),
        missed=missed,
        traffic=Traffic(total=total or max((one.number for one in requests), default=0)),
    )


async def lines(process: asyncio.subprocess.Process, count: int) -> list[str]:
    assert process.stdout is not None
    async with asyncio.timeout(10):
        return [(await process.stdout.readline()).decode() for _ in range(count)]


async def test_the_requests_that_are_remembered(connected: Laptop, manager: FakeManager) -> None:
    manager.replies.put_nowait(reply(request(1), request(2, "/b", served_by="cluster")))
    result = await connected.byway("requests", "orders")
    assert result.code == 0, result.err
    heading, *rows = [line.split() for line in result.out.splitlines()]
    assert heading[:4] == ["TIME", "METHOD", "STATUS", "DURATION"]
    assert [row[1:] for row in rows] == [
        ["GET", "200", "12ms", "laptop", "/a"],
        ["GET", "200", "12ms", "cluster", "/b"],
    ]
    assert (manager.asked[0].intercept, manager.asked[0].follow, manager.asked[0].query) == ("orders", False, False)


async def test_where_there_is_none_it_says_what_to_do(connected: Laptop, manager: FakeManager) -> None:
    manager.replies.put_nowait(reply())
    result = await connected.byway("requests", "orders")
    assert (result.code, result.out) == (0, "")
    assert "byway why orders" in result.err


async def test_as_data(connected: Laptop, manager: FakeManager) -> None:
    manager.replies.put_nowait(reply(request(1, "/a?x=1"), missed=3))
    result = await connected.byway("requests", "orders", "--query", "-o", "json")
    assert manager.asked[0].query
    (found,) = result.json["requests"]
    assert (found["path"], found["answered_by"], found["open"]) == ("/a?x=1", "laptop", False)
    assert (result.json["intercept"]["id"], result.json["missed"], result.json["traffic"]["total"]) == ("i-1", 3, 1)


async def test_asked_once_it_does_not_wait_for_a_manager_that_is_away(connected: Laptop, manager: FakeManager) -> None:
    await manager.stop()
    async with asyncio.timeout(10):
        while (await connected.byway("status")).code == 0:
            pass
    result = await connected.byway("requests", "orders")
    assert (result.code, result.out) == (3, "")
    assert result.err.startswith("Error: not connected: ")
    assert KEEPS_TRYING in result.err


async def test_following_shows_a_request_when_it_opens_and_when_it_ends(
    connected: Laptop, manager: FakeManager
) -> None:
    process = await connected.start("requests", "orders", "--follow", "-o", "json")
    opened = request(1, "/ws", status=101, open=True)
    for each in (reply(opened), reply(opened), reply(request(2)), reply(request(1, "/ws", status=101))):
        manager.replies.put_nowait(each)
    found = [json.loads(line) for line in await lines(process, 3)]
    assert [(one["number"], one["open"]) for one in found] == [(1, True), (2, False), (1, False)]
    process.send_signal(signal.SIGINT)
    out, err = await asyncio.wait_for(process.communicate(), 10)
    assert (process.returncode, out, err) == (130, b"", b"")


async def test_a_watcher_who_was_too_slow_is_told(connected: Laptop, manager: FakeManager) -> None:
    process = await connected.start("requests", "orders", "--follow", "--wait-for", "300")
    manager.replies.put_nowait(reply(request(1)))
    manager.replies.put_nowait(reply(request(300), missed=298))
    out, err = await asyncio.wait_for(process.communicate(), 10)
    assert len(out.decode().splitlines()) == 3
    assert "298 requests more" in err.decode()


async def test_waiting_ends_when_so_many_were_taken(connected: Laptop, manager: FakeManager) -> None:
    process = await connected.start("requests", "orders", "--wait-for", "3", "-o", "json")
    for each in (reply(request(1)), reply(request(2)), reply(request(3))):
        manager.replies.put_nowait(each)
    out, _ = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0
    assert [one["number"] for one in json.loads(out)["requests"]] == [1, 2, 3]


async def test_requests_before_the_command_count(connected: Laptop, manager: FakeManager) -> None:
    manager.replies.put_nowait(reply(request(7), total=7))
    result = await connected.byway("requests", "orders", "--wait-for", "5")
    assert result.code == 0


async def test_too_few_in_time_is_a_failure_that_says_where_to_look(connected: Laptop, manager: FakeManager) -> None:
    manager.replies.put_nowait(reply(request(1)))
    result = await connected.byway("requests", "orders", "--wait-for", "2", "--timeout", "300ms")
    assert result.code == 1
    assert "took 1 of 2 requests within 0.3 s" in result.err
    assert "byway why orders" in result.err
    data = await connected.byway("requests", "orders", "--wait-for", "2", "--timeout", "0.3", "-o", "json")
    assert (data.code, data.json["error"]["code"], data.json["error"]["wanted"]) == (1, "too_few_requests", 2)


async def test_it_goes_on_when_the_manager_is_back_and_shows_nothing_twice(
    connected: Laptop, manager: FakeManager
) -> None:
    process = await connected.start("requests", "orders", "--wait-for", "2", "--follow", "-o", "json")
    manager.replies.put_nowait(reply(request(1)))
    await lines(process, 1)
    await manager.stop()
    manager.replies.put_nowait(reply(request(1)))
    manager.replies.put_nowait(reply(request(2)))
    await manager.start()
    (line,) = await lines(process, 1)
    assert json.loads(line)["number"] == 2
    assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_an_intercept_that_is_not_there(connected: Laptop, manager: FakeManager) -> None:
    text = "you have no intercept named 'nothing'; you have none"
    manager.fail["Requests"] = Failure(grpc.StatusCode.NOT_FOUND, text)
    result = await connected.byway("requests", "nothing", "--follow")
    assert (result.code, text in result.err) == (1, True)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30.0), ("2m", 120.0), ("1h", 3600.0), ("500ms", 0.5), ("1.5", 1.5), ("24h", 86400.0)]
)
def test_durations_as_people_write_them(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "0s", "-1s", "nan", "inf", "25h", "1d", "s", "1 s s", "٣s"])
def test_what_is_no_duration_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["requests", "orders", "--wait-for", "1", "--timeout", text]) == 2
    assert "--timeout" in capsys.readouterr().err


def test_a_timeout_without_a_count_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["requests", "orders", "--timeout", "1s"]) == 2
    assert "--wait-for" in capsys.readouterr().err
