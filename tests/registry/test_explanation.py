"""What is said of a request: who takes it, why the others don't, and which mistake is likely."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.registry.test_precedence import MATCHES
from xds.registry.conditions import HttpFlags, parse_match
from xds.registry.errors import InvalidError
from xds.registry.explain import Candidate, Verdict, explain, why_before
from xds.registry.intercept import Disposition, Intercept, InterceptSpec, Kind, PortMapping, Target
from xds.registry.match import Match
from xds.registry.matcher import matches
from xds.registry.precedence import in_order
from xds.registry.request import Request
from xds.registry.requestline import head, parse_request
from xds.registry.workload import WorkloadId

ORDERS = WorkloadId("dev", "deployment", "orders")
KEY = "x-telepresence-id"
LINES = [("x-user", "bob"), ("baggage", "team=x"), (KEY, "bob")]


def intercept(id: str, match: Match | None, *, port: int = 8080, **more: object) -> Intercept:  # noqa: A002
    kind = Kind.GLOBAL if match is None else Kind.PERSONAL
    ports = (PortMapping(port, Target("localhost", 1)),)
    spec = InterceptSpec(id, ORDERS, ports, match or Match(), kind, shared=kind is Kind.GLOBAL)
    values = {"session": "s-1", "owner": "alice@laptop", "sequence": 1, "disposition": Disposition.ACTIVE, **more}
    return Intercept(id=id, spec=spec, **values)  # type: ignore[arg-type]


def flagged(id: str = "mine", *, owner: str = "alice", **flags: Any) -> Intercept:  # noqa: A002
    flags = flags or {"headers": ("auto",)}
    match = parse_match(HttpFlags(**flags), key_name=KEY, key_value=f"{owner}-1")
    return intercept(id, match, session=f"s-{owner}", owner=f"{owner}@laptop")


def judged(one: Intercept, line: str, *headers: str, session: str = "s-alice") -> Candidate:
    (found,) = explain([one], 8080, parse_request(line, headers), session=session).candidates
    return found


HINTS = [
    ({"headers": ("x-user=Bob",)}, "/", ["x-user: bob"], "differs only in upper and lower case"),
    ({"headers": ("x-user=a b",)}, "/", ["x-user: a  b"], "differs only in blanks"),
    ({"headers": ("x-user=bob",)}, "/", ['x-user: "bob"'], "has quotes or blanks around it"),
    ({"headers": ("x-user=bob",)}, "/", ["x-user: al, bob"], "is not taken apart; send a line for each"),
    ({"headers": ("x-user=bo.*",)}, "/", ["x-user: bob"], "~= instead of = would take bo.* for an expression"),
    ({"headers": ("x-user=bob",)}, "/", ["x-user: bob-2"], "^= instead of = would match"),
    ({"headers": ("x-user~=^bob$",)}, "/", ["x-user: a bob b"], "without ^ and $ around it"),
    ({"headers": ("x-user~=^bob",)}, "/", ["x-user: a bob"], "without ^ at its beginning"),
    ({"headers": ("x-user=bob",)}, "/", ["x_user: bob"], "header x_user has the value that is asked for"),
    ({"headers": (f"{KEY}=bob-1",)}, "/", [f"baggage: {KEY}=bob-1"], "is a baggage member here"),
    ({"headers": (":authority=shop",)}, "/", ["Host: shop:80"], "the port is part of the host"),
    ({"headers": ("auto",)}, "/", [f"{KEY}: x", f"baggage: {KEY}=alice-1"], "counts only where there is no header"),
    ({"headers": ("auto",)}, "/", [f"baggage: a=1;{KEY}=alice-1"], "stands behind a semicolon in baggage"),
    ({"headers": ("auto",)}, "/", ["baggage: id=alice-1"], "under the key id"),
    ({"headers": ("auto",)}, "/", ["baggage: X-Telepresence-Id=alice-1"], "keys of baggage are case-sensitive"),
    ({"headers": ("auto",)}, "/", [f"{KEY}: ALICE-1"], "differs only in upper and lower case"),
    ({"baggage": ("team=red",)}, "/", ["team: red"], "is a header of its own here"),
    ({"headers": ("all",), "path_equal": "/a"}, "/a/", [], "a slash at the end makes another path: /a would match"),
    ({"headers": ("all",), "path_prefix": "/a/"}, "/a", [], "a slash at the end makes another path: /a/ would match"),
    ({"headers": ("all",), "path_equal": "/a"}, "/a/b", [], "--http-path-prefix would match"),
    ({"headers": ("all",), "path_equal": "/a/b"}, "/a//b", [], "two slashes are not taken for one"),
    ({"headers": ("all",), "path_equal": "/a(b)"}, "/a%28b%29", [], "is percent-encoded"),
    ({"headers": ("all",), "path_regex": "a.*x=1"}, "/a?x=1", [], "if the query took part in the path"),
    ({"headers": ("all",), "path_regex": "^/api$"}, "/api/", [], "without $ at its end"),
    ({"headers": ("all",), "queries": ("x=2",)}, "/?x=1&x=2", [], "of a repeated query key the first one counts"),
    ({"headers": ("all",), "method": "POST"}, "post /", [], "differs only in upper and lower case"),
]


@pytest.mark.parametrize(("flags", "line", "headers", "words"), HINTS)
def test_the_likely_mistake_is_named(flags: dict[str, Any], line: str, headers: list[str], words: str) -> None:
    found = judged(flagged(**flags), line, *headers)
    assert found.verdict is Verdict.FAILS
    assert any(words in hint for hint in found.hints), found


def test_no_hint_where_nothing_is_near() -> None:
    assert judged(flagged(headers=("x-user=bob",)), "/", "x-user: carol").hints == ()
    assert judged(flagged(), "/").hints == ()


def test_the_first_condition_that_fails_is_told_and_how_many_others_do() -> None:
    found = judged(flagged(headers=("x-a=1", "x-b=2"), path_prefix="/api"), "/v1", "x-b: 2")
    assert found.why == "the request has no header x-a; 1 is asked for"
    assert found.more == 1


def test_the_value_of_anothers_key_is_not_shown() -> None:
    for headers in ([], [f"{KEY}: BOB-1"], [f"baggage: {KEY}=x"], ["baggage: id=bob-1"], [f"baggage: a;{KEY}=bob-1"]):
        found = judged(flagged(owner="bob"), "/", *headers)
        assert "bob-1" not in f"{found.why} {found.hints}"


def test_who_is_not_asked_comes_last_with_the_reason() -> None:
    match = Match()
    found = explain(
        [
            intercept("other-port", match, port=9090),
            intercept("displaced", match, disposition=Disposition.DISPLACED, reason="displaced by bob"),
            intercept("rejected", match, disposition=Disposition.REJECTED, reason="too large"),
            intercept("held", match),
            intercept("asked", match),
            intercept("first", None, sequence=2),
            intercept("second", None, sequence=3),
        ],
        8080,
        Request(),
        published={"asked", "first", "second"},
    )
    assert found.winner
    assert found.winner.id == "asked"
    whys = {one.intercept.id: one.why for one in found.candidates if one.verdict is Verdict.NOT_ASKED}
    assert whys == {
        "other-port": "it is on port 9090, not on 8080",
        "displaced": "displaced by bob",
        "rejected": "rejected: a sidecar's Envoy refused it: too large",
        "held": "held back, while the intercept that a sidecar refused is looked for",
        "second": "'first' has all of the port, and is asked before",
    }


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        (["x-user: a", "X-User: b"], "header x-user is sent 2 times"),
        ([f"{KEY}: a", f"baggage: {KEY}=b"], "the header counts alone"),
        ([f"baggage: {KEY}=a,{KEY}=b"], "several times: a condition on it holds as soon as one of them"),
    ],
)
def test_what_is_odd_about_a_request_is_told(headers: list[str], words: str) -> None:
    those = [flagged("a"), flagged("b", headers=("x-user=c",))]
    hints = explain(those, 8080, parse_request("/", headers)).hints
    assert any(words in hint for hint in hints), hints
    assert not explain(those, 8080, parse_request("/", ["x-other: a", "x-other: b"])).hints


@given(st.lists(MATCHES, min_size=1, max_size=6), st.randoms(use_true_random=False))
@settings(max_examples=200)
def test_the_first_in_order_that_matches_takes_it_and_every_verdict_has_a_reason(
    those: list[Match], random_: random.Random
) -> None:
    known = [intercept(f"i-{number}", match, sequence=number) for number, match in enumerate(those)]
    request = Request(
        random_.choice(("/api", "/api/v1", "/")),
        random_.choice(("GET", "POST")),
        headers=tuple(
            random_.sample([("x-user", "bob"), ("baggage", "team=x"), (KEY, "bob")], k=random_.randint(0, 3))
        ),
    )
    found = explain(known, 8080, request)
    hits = [one for one in in_order(known) if matches(one.spec.match, request)]
    assert found.winner == (hits[0] if hits else None)
    assert [one.intercept for one in found.candidates] == in_order(known)
    for one in found.candidates:
        assert (one.verdict is Verdict.FAILS) == (one.intercept not in hits)
        assert (one.verdict is Verdict.TAKES) == (one.intercept is found.winner)
        assert one.why


def test_the_rule_by_which_one_comes_before_the_other_is_told() -> None:
    whole, gated, plain = intercept("whole", None), flagged(headers=("x-user=a",)), flagged(headers=("all",))
    exact, prefix = (flagged(headers=("all",), **path) for path in ({"path_equal": "/a"}, {"path_prefix": "/a"}))
    longer = flagged(headers=("all",), path_prefix="/a/b")
    more = flagged(headers=("all",), path_prefix="/a", method="GET")
    assert why_before(plain, whole) == "it asks for certain requests, the other one takes all that is left"
    assert why_before(gated, exact).startswith("it has a condition on a header")
    assert why_before(exact, prefix) == "an exact path comes before a path prefix"
    assert why_before(prefix, plain) == "a path prefix comes before no condition on the path"
    assert why_before(longer, prefix) == "its path prefix is longer"
    assert why_before(more, prefix) == "it has more conditions (2, the other one 1)"
    assert why_before(prefix, prefix) == "it is older"


# Reading requests


@pytest.mark.parametrize(
    ("line", "headers", "request_"),
    [
        ("GET /a?x=1", [], Request("/a?x=1")),
        ("/a", ["X-A:  b "], Request("/a", headers=(("X-A", "b"),))),
        ("POST /a HTTP/1.1", ["x-empty;"], Request("/a", "POST", headers=(("x-empty", ""),))),
        ("GET http://shop:80/a?b", [], Request("/a?b", authority="shop:80")),
        ("https://shop?b", [], Request("/?b", authority="shop")),
        ("/", ["Host: shop"], Request(authority="shop")),
        ("/", [":authority: shop"], Request(authority="shop")),
    ],
)
def test_a_request_is_read_as_people_write_it(line: str, headers: list[str], request_: Request) -> None:
    assert parse_request(line, headers) == request_


@pytest.mark.parametrize(
    ("line", "headers", "words"),
    [
        ("a b c", [], "write it as 'GET /path?query'"),
        ("GET", [], "did you mean /GET?"),
        ("G@T /", [], "'G@T' is no method"),
        ("CONNECT /", [], "with 404 itself"),
        ("OPTIONS *", [], "with 404 itself"),
        ("/é", [], "did you mean /%C3%A9?"),
        ("/a\x7f", [], "400 to control characters"),
        ("/", ["x-a=b"], "did you mean 'x-a: b'?"),
        ("/", ["x a: b"], "is no header name"),
        ("/", ["x-a: b\x01"], "400 to control characters"),
        ("/", ["Host: a", "host: b"], "400 to a request with several"),
    ],
)
def test_what_no_route_will_ever_see_is_refused(line: str, headers: list[str], words: str) -> None:
    with pytest.raises(InvalidError, match=r"^(REQUEST|-H)") as refused:
        parse_request(line, headers)
    assert words in str(refused.value)


def test_lines_that_envoy_joins_are_joined_for_routes_and_sent_as_they_were() -> None:
    request = parse_request("/", ["Accept: a", "x-user: 1", "accept: ", "ACCEPT: b", "x-user: 2"])
    assert list(request.values("accept")) == ["a,b"]
    assert list(request.values("x-user")) == ["1", "2"]
    assert list(request.values("via")) == []
    lines = head(request, [("z", "1")]).decode().split("\r\n")
    assert lines[:2] == ["GET / HTTP/1.1", "Host: localhost"]
    assert lines[2:] == ["Accept: a", "x-user: 1", "accept: ", "ACCEPT: b", "x-user: 2", "z: 1", "", ""]


def test_the_host_of_a_whole_url_counts_whatever_host_says() -> None:
    assert parse_request("http://a.b/c", ["Host: x", "Host: y z"]).authority == "a.b"
