"""Each flag of `byway intercept`, with real requests through a real sidecar: what matches reaches the laptop, and what
doesn't is answered by the cluster as if nothing were there.

The conditions are all intercepted at once, each by a header, baggage member or path of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.commands import run_all
from tests.e2e.flagworld import FlagWorld, Port, flag_world, server
from tests.e2e.pipe import Server

HEADER, BAGGAGE, QUERY, METHOD = "--http-header", "--baggage", "--http-query", "--http-method"
EQUAL, PREFIX, REGEX = "--http-path-equal", "--http-path-prefix", "--http-path-regex"
Flags = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """A request: header lines, path and method."""

    headers: tuple[str, ...] = ()
    path: str = "/"
    method: str = "GET"


def lines(*headers: str) -> Ask:
    return Ask(headers)


def at(path: str, *headers: str) -> Ask:
    return Ask(headers, path)


@dataclass(frozen=True, slots=True)
class Case:
    """Flags, requests that match them, and near misses."""

    flags: Flags
    hits: tuple[Ask, ...]
    misses: tuple[Ask, ...] = field(default=())


def aside(flags: Flags, hits: tuple[Ask, ...], misses: tuple[Ask, ...]) -> Case:
    """A case for requests with a header of its own: without, most of them would be in each other's way."""
    own = f"{flags[0].removeprefix('--')}-{len(flags[1])}"

    def marked(asks: tuple[Ask, ...]) -> tuple[Ask, ...]:
        return tuple(replace(ask, headers=(*ask.headers, f"x-case: {own}")) for ask in asks)

    return Case((HEADER, f"x-case={own}", *flags), marked(hits), (*marked(misses), *hits))


CASES = {
    "exact": Case(
        (HEADER, "X-Exact=Alice"),
        (lines("x-exact: Alice"), lines("X-EXACT:   Alice"), lines("x-exact: bob", "x-exact: Alice")),
        (lines("x-exact: alice"), lines("x-exact: Alice1"), lines("x-exact:"), lines("x-exact: bob,Alice"), lines()),
    ),
    "metacharacters are literal": Case(
        (HEADER, "x-mail=a.b@c.d"),
        (lines("x-mail: a.b@c.d"),),
        (lines("x-mail: aXb@c.d"),),
    ),
    "comma, colon, blank, equals sign and quotes belong to the value": Case(
        (HEADER, 'x-odd=a,b: "c" = d*'),
        (lines('x-odd: a,b: "c" = d*'),),
        (lines("x-odd: a"), lines('x-odd: b: "c" = d*')),
    ),
    "outside ASCII": Case((HEADER, "x-name=Zoë"), (lines("x-name: Zoë"),), (lines("x-name: Zoe"),)),
    "an empty value": Case((HEADER, "x-empty="), (lines("x-empty:"),), (lines("x-empty: a"), lines())),
    "regex finds": Case(
        (HEADER, "x-regex~=dev|qa-[0-9]+"),
        (lines("x-regex: my-dev-box"), lines("x-regex: qa-12")),
        (lines("x-regex: qa-"), lines("x-regex: DEV")),
    ),
    "regex with anchors": Case(
        (HEADER, "x-anchored~=^dev$"),
        (lines("x-anchored: dev"),),
        (lines("x-anchored: dev1"), lines("x-anchored: adev")),
    ),
    "prefix": Case(
        (HEADER, "x-prefix^=team-"),
        (lines("x-prefix: team-"), lines("x-prefix: team-a.*")),
        (lines("x-prefix: a-team-"), lines("x-prefix: team")),
    ),
    "present": Case((HEADER, "X-Present"), (lines("x-present: any"), lines("x-present:")), (lines("x-presents: any"),)),
    ":authority": aside(
        (HEADER, ":authority=Shop.test:8080"),
        (lines("Host: Shop.test:8080"),),
        (lines("Host: shop.test:8080"), lines("Host: Shop.test")),
    ),
    "repeated flags are all needed": Case(
        (HEADER, "x-one=1", HEADER, "x-two=2"),
        (lines("x-two: 2", "x-one: 1"),),
        (lines("x-one: 1"), lines("x-two: 2"), lines("x-one: 2", "x-two: 1")),
    ),
    "baggage": Case(
        (BAGGAGE, "user=a b,c"),
        (
            lines("baggage: user=a%20b%2Cc"),
            lines("baggage: user=a b%2cc"),
            lines("baggage: x=1 , user = %61%20b%2Cc;p=1 ,y"),
            lines("baggage: x=1", "Baggage: user=a%20b%2Cc"),
        ),
        (
            lines("baggage: user=a%20b,c"),
            lines("baggage: User=a%20b%2Cc"),
            lines("baggage: x=1;user=a%20b%2Cc"),
            lines("baggage: otheruser=a%20b%2Cc"),
            lines("user: a b,c"),
        ),
    ),
    "baggage outside ASCII": Case(
        (BAGGAGE, "city=Köln"),
        (lines("baggage: city=K%C3%B6ln"), lines("baggage: city=Köln")),
        (lines("baggage: city=K"),),
    ),
    "baggage prefix": Case((BAGGAGE, "team^=bl"), (lines("baggage: team=%62lue"),), (lines("baggage: team=red"),)),
    "baggage present": Case((BAGGAGE, "session"), (lines("baggage: session="),), (lines("baggage: session"),)),
    "path-equal": Case(
        (HEADER, "all", EQUAL, "/equal/a%2Fb"),
        (at("/equal/a%2Fb"), at("/equal/a%2Fb?x=1"), at("/equal/a%2Fb", "x-none: 1")),
        (at("/equal/a%2fb"), at("/equal/a/b"), at("/equal/a%2Fb/"), at("//equal/a%2Fb"), at("/?/equal/a%2Fb")),
    ),
    "path-prefix is a plain string prefix": aside(
        (PREFIX, "/pre.fix"),
        (at("/pre.fix"), at("/pre.fixture"), at("/pre.fix/x"), at("/pre.fix?q")),
        (at("/preXfix"), at("/a/pre.fix"), at("/x?p=/pre.fix")),
    ),
    "path-regex is not anchored": aside(
        (REGEX, "(staging-)?api/.*"),
        (at("/staging-api/x"), at("/v2/api/x"), at("/api/")),
        (at("/api"), at("/x?api/x")),
    ),
    "path-regexp, and anchors": aside(
        ("--http-path-regexp", "^/orders/[0-9]+$"),
        (at("/orders/12"), at("/orders/12?x=y")),
        (at("/orders/12/x"), at("/v1/orders/12"), at("/orders/x")),
    ),
    "method": aside((METHOD, "PATCH"), (Ask(method="PATCH"), Ask(path="/x", method="PATCH")), (Ask(method="PUT"),)),
    "query": aside(
        (QUERY, "who=a.b", QUERY, "debug"),
        (at("/?who=a.b&debug"), at("/x/y?debug=1&who=a.b&z")),
        (
            at("/?who=aXb&debug"),
            at("/?who=a.b"),
            at("/who=a.b&debug"),
            at("/?who=c&who=a.b&debug"),
            at("/?Who=a.b&debug"),
        ),
    ),
    "query by regex": aside((QUERY, "v~=^[23]$"), (at("/?v=2"), at("/?v=3&x")), (at("/?v=22"), at("/?v="))),
    "everything together": Case(
        (HEADER, "x-all=1", BAGGAGE, "all=1", PREFIX, "/all/", METHOD, "POST", QUERY, "all=1"),
        (Ask(("x-all: 1", "baggage: all=1"), "/all/x?all=1", "POST"),),
        (
            Ask(("x-all: 1", "baggage: all=1"), "/all/x?all=1"),
            Ask(("x-all: 1", "baggage: all=1"), "/all/x", "POST"),
            Ask(("x-all: 1", "baggage: all=1"), "/al/x?all=1", "POST"),
            Ask(("x-all: 1",), "/all/x?all=1", "POST"),
            Ask(("baggage: all=1",), "/all/x?all=1", "POST"),
        ),
    ),
}


@pytest.fixture(scope="module")
def world(short_path: Path) -> Iterator[FlagWorld]:
    with flag_world(short_path / "flags", "alice", "bob") as found:
        yield found


@pytest.fixture(scope="module")
def laptop() -> Iterator[Server]:
    one = server("laptop")
    yield one
    one.close()


@pytest.fixture(scope="module")
def web(world: FlagWorld) -> Port:
    return world.ports["dev/shop"][0]


@pytest.fixture(scope="module")
def made(world: FlagWorld, laptop: Server) -> dict[str, dict[str, Any]]:
    """The intercepts of all cases, side by side."""
    port = ("--port", f"{laptop.port}:web", "-o", "json")
    commands = [["intercept", "shop", *port, "--name", f"n{at}", *case.flags] for at, case in enumerate(CASES.values())]
    done = run_all(world.laptop("alice"), commands)
    failed = [one for one in done if one.code]
    assert not failed
    return {name: json.loads(one.stdout)["intercept"] for name, one in zip(CASES, done, strict=True)}


def served(intercept: dict[str, Any], by: str = "laptop") -> tuple[str, str]:
    return by, f"{intercept['id']}; served-by={by}"


@pytest.mark.parametrize("name", CASES)
def test_matching_requests_reach_the_laptop_and_others_do_not(
    made: dict[str, dict[str, Any]], web: Port, name: str
) -> None:
    case = CASES[name]
    for ask in case.hits:
        found = web.ask(*ask.headers, path=ask.path, method=ask.method)
        assert found == served(made[name]), ask
    for ask in case.misses:
        assert web.ask(*ask.headers, path=ask.path, method=ask.method) == ("app", ""), ask


@pytest.mark.parametrize("name", CASES)
def test_the_request_that_is_shown_as_an_example_matches(made: dict[str, dict[str, Any]], web: Port, name: str) -> None:
    *words, path = made[name]["curl_args"]
    method = words[words.index("-X") + 1] if "-X" in words else "GET"
    headers = [words[at + 1] for at, word in enumerate(words) if word == "-H"]
    sent = [f"{header[:-1]}:" if header.endswith(";") else header for header in headers]
    assert web.ask(*sent, path=path, method=method) == served(made[name])


def test_the_flags_are_listed_as_they_were_given(made: dict[str, dict[str, Any]]) -> None:
    for name, case in CASES.items():
        listed = made[name]["match_flags"]
        pairs = sorted(zip(case.flags[::2], case.flags[1::2], strict=True))
        lower = {"X-Exact=Alice": "x-exact=Alice", "X-Present": "x-present"}
        wanted = [(flag.replace("regexp", "regex"), lower.get(value, value)) for flag, value in pairs]
        assert sorted(zip(listed[::2], listed[1::2], strict=True)) == sorted(wanted)


def test_auto_is_the_users_own_header_or_baggage_member(world: FlagWorld, laptop: Server, web: Port) -> None:
    bob = world.laptop("bob")
    key = bob.json("status")["key"]
    one = bob.json("intercept", "shop", "-p", f"{laptop.port}:web", HEADER, "auto")["intercept"]
    name, value = key["name"], key["value"]
    hits = (f"{name}: {value}", f"{name.upper()}: {value}", f"baggage: a=b, {name}={value} ,c=d")
    assert [web.ask(hit) for hit in hits] == [served(one)] * len(hits)
    misses = (
        (f"{name}: other",),
        (f"{name}: other", f"baggage: {name}={value}"),
        (f"{name}:", f"baggage: {name}={value}"),
    )
    assert [web.ask(*miss) for miss in misses] == [("app", "")] * len(misses)
    bob.byway("leave", "shop")
    assert web.ask(hits[0]) == ("app", "")


def test_auto_is_implied_where_no_header_is_asked_for(world: FlagWorld, laptop: Server, web: Port) -> None:
    bob = world.laptop("bob")
    key = bob.json("status")["key"]
    header = f"{key['name']}: {key['value']}"
    one = bob.json("intercept", "shop", "-p", f"{laptop.port}:web", PREFIX, "/implied")["intercept"]
    assert one["match_flags"] == [HEADER, "auto", PREFIX, "/implied"]
    assert web.ask(header, path="/implied/x") == served(one)
    assert web.ask(path="/implied/x") == ("app", "")
    assert web.ask(header, path="/x") == ("app", "")
    bob.byway("leave", "shop")


def test_an_ordinary_request_is_not_touched_by_any_of_them(made: dict[str, dict[str, Any]], web: Port) -> None:
    assert len(made) == len(CASES)
    assert web.ask() == ("app", "")
    assert web.ask("x-unrelated: 1", path="/any?q=1", method="DELETE") == ("app", "")
