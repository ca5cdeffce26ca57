"""What `byway explain` and `byway why` print, and when sidecars contradict the manager."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.client.golden import check_golden
from xds.api.byway.manager.v1 import (
    Candidate,
    CandidateVerdict,
    ExplainReply,
    LiveInstance,
    LiveQuestion,
    Port,
    RequestCount,
    SidecarState,
    SidecarStateState,
    Stage,
    StageState,
    WhyReply,
)
from xds.client.cli.explain import difference
from xds.client.cli.explained import explained_data, explained_text
from xds.client.cli.live import HEADER, LiveAnswer, ask_one
from xds.client.cli.why import why_data, why_text
from xds.terminal.output import data

MINE = Candidate(
    id="i-1",
    name="orders",
    owner="alice@laptop",
    mine=True,
    match_flags=["--http-header", "x-user=alice", "--http-path-prefix", "/api"],
    kind="personal",
    verdict=CandidateVerdict.FAILS,
    why="header x-user is Alice, not alice",
    condition="--http-header x-user=alice",
    more=1,
    hints=["Alice differs only in upper and lower case, which counts"],
)
BOBS = Candidate(
    id="i-2",
    name="cart",
    owner="bob@tower",
    match_flags=["--http-header", "auto"],
    kind="personal",
    verdict=CandidateVerdict.TAKES,
    why="takes it",
)
CAROLS = Candidate(
    id="i-3",
    name="all",
    owner="carol@desk",
    kind="global",
    shared=True,
    verdict=CandidateVerdict.OUTRANKED,
    why="matches too, but 'cart' (i-2) is asked before: it is older",
)
OLD = Candidate(
    id="i-0",
    name="old",
    owner="alice@laptop",
    mine=True,
    match_flags=["--http-header", "auto"],
    kind="personal",
    verdict=CandidateVerdict.NOT_ASKED,
    why="displaced by bob@tower, whose intercept 'cart' needs the same requests",
)
PORT = Port(number=8080, name="web", protocol="http")
NOBODY = ExplainReply(
    workload="dev/deployment/orders",
    port=Port(number=80),
    request="GET / with x-user: Alice",
    candidates=[MINE],
    sidecars=[SidecarState(instance="orders-1", state=SidecarStateState.ACKED)],
)
BOB_TAKES_IT = ExplainReply(
    workload="dev/deployment/orders",
    port=PORT,
    request="GET /api?x=1 with x-user: Alice, x-user: a",
    winner="i-2",
    answered_by="cluster: the laptop tower is away",
    candidates=[MINE, BOBS, CAROLS, OLD],
    hints=["header x-user is sent 2 times: a condition on it holds as soon as one of the lines satisfies it"],
    sidecars=[
        SidecarState(instance="orders-1", state=SidecarStateState.ACKED),
        SidecarState(instance="orders-2", state=SidecarStateState.ABSENT, detail="no sidecar is connected"),
        SidecarState(instance="orders-3", state=SidecarStateState.NACKED, detail="bad regex"),
    ],
    live=LiveQuestion(token="t", expected="i-2"),
)
AGREES = LiveAnswer("orders-1", "i-2")
NOT_ASKED = LiveAnswer("orders-2", problem="no sidecar is connected", asked=False)
CONTRADICTS = LiveAnswer("orders-3", "app")


def test_explanations() -> None:
    own = ExplainReply(
        workload="dev/deployment/orders", port=PORT, request="GET /", winner="i-2", answered_by="laptop",
        candidates=[Candidate.parse(bytes(BOBS))],
    )  # fmt: skip
    own.candidates[0].mine = True
    fails = ExplainReply.parse(bytes(own))
    fails.answered_by = "nobody (503): nothing listens on localhost:1"
    texts = [
        explained_text(NOBODY, []),
        explained_text(BOB_TAKES_IT, [AGREES, NOT_ASKED, CONTRADICTS]),
        explained_text(own, []),
        explained_text(fails, []),
        explained_text(ExplainReply(workload="dev/deployment/idle", port=PORT, request="GET /"), []),
    ]
    check_golden("explain", "\n----\n".join(texts))


def test_explanation_for_programs() -> None:
    found = explained_data(BOB_TAKES_IT, [AGREES, NOT_ASKED])
    check_golden("explain-json", data(found, "json"))
    assert explained_data(NOBODY, [])["live"] is None


def test_stages() -> None:
    reply = WhyReply(
        stages=[
            Stage(name="registered", state=StageState.DONE, text="'orders' (i-1) of alice@laptop"),
            Stage(name="sent", state=StageState.MISSING, text="1 of 2 (orders-2): no sidecar", advice="start it"),
            Stage(name="routed", state=StageState.UNKNOWN, text="nobody here can tell"),
            Stage(name="requests", state=StageState.NOT_REACHED),
        ],
        counts=[
            RequestCount(instance="orders-1", total=3, statuses={"503": 1, "200": 2}),
            RequestCount(instance="orders-2", obstacle="no sidecar is connected"),
        ],
    )
    check_golden("why", why_text(reply, wide=True) + "\n" + data(why_data(reply), "yaml"))


def test_a_sidecar_that_contradicts_is_an_error_that_shows_both_and_asks_for_a_report() -> None:
    failure = difference(BOB_TAKES_IT, [AGREES, NOT_ASKED, CONTRADICTS])
    assert failure is not None
    assert failure.code == "explain_differs"
    assert failure.message == "the manager says that the request takes route i-2, but orders-3 says app"
    assert "please report it" in failure.hint
    assert difference(BOB_TAKES_IT, [AGREES, NOT_ASKED]) is None
    assert difference(NOBODY, []) is None


def test_an_answer_from_somebody_else_is_a_contradiction() -> None:
    failure = difference(BOB_TAKES_IT, [LiveAnswer("orders-1", problem="it answered 400 before it asked any route")])
    assert failure is not None
    assert failure.code == "explain_differs"
    assert "orders-1 says it answered 400" in failure.message


def test_nobody_who_could_be_asked_is_an_error_too() -> None:
    failure = difference(BOB_TAKES_IT, [NOT_ASKED])
    assert failure is not None
    assert str(failure) == "no sidecar could be asked; orders-2: no sidecar is connected"


ANSWERS = {
    f"HTTP/1.1 200 OK\r\n{HEADER}: token i-2\r\ncontent-length: 3\r\n\r\ni-2": LiveAnswer("a", "i-2"),
    f"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n{HEADER}: token app\r\n\r\n": LiveAnswer("a", "app"),
    f"HTTP/1.1 200 OK\r\n{HEADER}: other app\r\n\r\n": LiveAnswer(
        "a", problem="it answered 200 before it asked any route"
    ),
    "HTTP/1.1 404 Not Found\r\n\r\n": LiveAnswer("a", problem="it answered 404 before it asked any route"),
}


@pytest.mark.parametrize("answer", ANSWERS)
async def test_only_an_answer_with_the_calls_token_counts(answer: str) -> None:
    asked = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer.encode())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        question = LiveQuestion(token="token", head=b"GET / HTTP/1.1\r\n\r\n", expected="i-2")
        instance = LiveInstance(instance="a", host="127.0.0.1", port=port)
        assert await ask_one(question, instance, time.monotonic() + 10) == ANSWERS[answer]
        assert asked == [question.head]


async def test_a_request_is_not_sent_on_an_old_word_nor_against_the_managers_advice() -> None:
    asked = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        question = LiveQuestion(token="token", head=b"DELETE / HTTP/1.1\r\n\r\n", expected="i-2")
        instance = LiveInstance(instance="a", host="127.0.0.1", port=port)
        assert not (await ask_one(question, instance, time.monotonic() - 0.001)).asked
        instance.obstacle = "it has not acknowledged"
        assert (await ask_one(question, instance, time.monotonic() + 10)).problem == "it has not acknowledged"
    assert b"".join(asked) == b""
    instance.obstacle = ""
    refused = await ask_one(question, instance, time.monotonic() + 10)
    assert not refused.asked
    assert refused.problem.startswith(f"127.0.0.1:{port}: ")
