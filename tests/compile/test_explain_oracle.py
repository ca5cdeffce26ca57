"""`explain` and a sidecar agree on random states and requests, the odd ones included; `make soak-explain` asks more."""

from __future__ import annotations

import random

import pytest

from tests.compile.explain_oracle import Tally, Twins, compare, twins
from tests.compile.explain_samples import UNROUTED, Typed, some_match, some_typed
from xds.compile.names import APP
from xds.registry.errors import InvalidError
from xds.registry.intercept import Disposition, Intercept, InterceptSpec, PortMapping, Target
from xds.registry.match import Condition, Field, FieldKind, Match, Op

STATES, REQUESTS = 20, 100

ANSWERED_BY_ENVOY = ("Host: 漢", "Host: a?b", 'Host: "a"', "Host: a^b", "content-length: 18446744073709551616")
ODD_BUT_ROUTED = (
    *("Host: ", "Host: [::1]:80", "Host: a@b", "Host: *", "Host: a%20b", "Host: a,b;c=d", "http2-settings: x"),
    *("content-length: 05", "content-length: 18446744073709551615", "upgrade: x", "expect: x", "te: gzip"),
    *("transfer-encoding: CHUNKED", "connection: upgrade", "connection: close, te", "x-forwarded-proto: ftp"),
    *("x-byway-explain: another", "x!~`: a"),
)
TOGETHER = {
    ("content-length: 5", "content-length: 5"): False,
    ("content-length: 0", "transfer-encoding: chunked"): False,
    ("transfer-encoding: ", "transfer-encoding: Chunked"): True,
    ("transfer-encoding: chunked", "transfer-encoding: chunked"): False,
    ("content-length: ", "content-length: 5"): False,
    ("connection: upgrade", "upgrade: websocket", "upgrade: tcp"): False,
    ("connection: upgrade", "upgrade: ", "upgrade: tcp"): True,
    ("connection: keep-alive", "connection: upgrade", "upgrade: x"): False,
    ("connection: Upgrade", "upgrade: x"): False,
    ("connection: keep-alive, upgrade", "upgrade: TLS/1.2"): False,
    ("connection: upgrade", "upgrade: "): False,
    ("connection: upgrade", "upgrade: WebSocket"): True,
    ("connection: upgrade", "upgrade: spdy/3.1"): True,
    ("connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AA"): True,
    ("x-forwarded-proto: ", "x-forwarded-proto: http"): True,
}
"""Header lines, and whether a route sees the request."""


async def test_explain_and_a_sidecar_agree_on_two_thousand_random_pairs() -> None:
    tally = Tally()
    async with twins() as asked:
        for number in range(STATES):
            await compare(asked, random.Random(f"suite {number}"), REQUESTS, tally)
    assert not tally.apart, "\n".join(tally.apart)
    # Enough of each kind to mean something.
    assert tally.pairs == STATES * REQUESTS
    assert min(tally.seen["intercept"], tally.seen["app"]) > 500, tally.seen
    assert tally.seen["several match"] > 250, tally.seen
    assert tally.seen["refused"] > 5, tally.seen


async def test_what_no_route_sees_is_refused_and_nothing_else() -> None:
    alone = dict.fromkeys((*UNROUTED, *ANSWERED_BY_ENVOY), False) | dict.fromkeys(ODD_BUT_ROUTED, True)
    together = TOGETHER | {(line,): routed for line, routed in alone.items()}
    async with twins() as asked:
        for headers, routed in together.items():
            typed = Typed("POST /a", headers)
            (answer,) = asked.ask_raw([typed.raw(asked.token)])
            assert (answer == APP) is routed, (headers, answer)
            if routed:
                assert asked.ask([typed.parsed()]) == [APP]
            else:
                with pytest.raises(InvalidError, match="^-H"):
                    typed.parsed()


async def test_a_header_that_connection_names_is_seen_by_no_route() -> None:
    async with twins() as asked:
        await asked.put([an_intercept(asked, Condition(Field(FieldKind.HEADER, "x-user"), Op.EXACT, "a"))])
        seen, unseen = Typed("/", ("x-user: a",)), Typed("/", ("x-user: a", "connection: close, X-User"))
        assert asked.ask([seen.parsed()]) == ["i-1"]
        assert asked.ask_raw([Typed("GET /", one.headers).raw(asked.token) for one in (seen, unseen)]) == ["i-1", APP]
        with pytest.raises(InvalidError, match="a header that Connection names, as 'x-user' here"):
            unseen.parsed()


async def test_a_disagreement_is_shown_with_nothing_in_it_that_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xds.registry.matcher.query_value", lambda query, key: None)
    tally = Tally()
    async with twins() as asked:
        for number in range(40):
            await compare(asked, random.Random(f"suite {number}"), 20, tally)
            if tally.apart:
                break
    first, *flags = tally.apart[0].split("\n")
    assert "explain app" in first
    assert len(flags) == 1
    assert "--http-query" in flags[0]


def an_intercept(asked: Twins, condition: Condition) -> Intercept:
    ports = (PortMapping(8080, Target("localhost", 9000)),)
    spec = InterceptSpec("mine", asked.workload.id, ports, Match.of([condition]))
    return Intercept("i-1", "s", "alice@laptop", spec, 1, Disposition.ACTIVE)


def test_the_same_seed_makes_the_same_samples() -> None:
    one, other = (random.Random("a") for _ in range(2))
    assert [some_typed(one, some_match(one)) for _ in range(50)] == [
        some_typed(other, some_match(other)) for _ in range(50)
    ]
