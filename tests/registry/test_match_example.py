"""Requests as examples: in words, and as commands that really send them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.registry.envoy_oracle import answering, guarded, route_matches, running
from xds.registry.conditions import HttpFlags, curl_args, describe_request, example_request, parse_match
from xds.registry.match import Match
from xds.registry.matcher import matches
from xds.registry.request import Request


def match_of(*headers: str, **flags: object) -> Match:
    match = parse_match(HttpFlags(headers=headers, **flags), key_name="x-id", key_value="bob")  # type: ignore[arg-type]
    assert match is not None
    return match


EXAMPLES = [
    match_of("auto"),
    match_of("x-user=a b,c"),
    match_of("x-user="),
    match_of("x-user"),
    match_of(r"x-user~=^dev::(qa|test)-\d{3}$", path_regex="^/api/v[12]/[^/]+$"),
    match_of(":authority=shop.test", method="POST"),
    match_of("all", method="HEAD", path_prefix="/a/../b"),
    match_of("all", queries=("a=1", "b", "list[]={1}")),
    match_of(baggage=("team=a,b", "session=50% off;")),
    match_of("auto", baggage=("x-id=carol", "team=x")),
]


@pytest.mark.parametrize("match", EXAMPLES)
def test_an_example_satisfies_its_match(match: Match) -> None:
    example = example_request(match)
    assert example is not None
    assert matches(match, example)
    assert curl_args(match) is not None


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_as_printed_sends_a_request_that_envoy_takes(tmp_path: Path) -> None:
    routes = []
    for number, match in enumerate(EXAMPLES):
        routes += [answering(f"route-{number}", route) for route in guarded(route_matches(match), str(number))]
    with running(routes, tmp_path) as envoy:
        for number, match in enumerate(EXAMPLES):
            command = curl_args(match, base=f"http://127.0.0.1:{envoy.port}")
            assert command is not None
            command[1:1] = ["--silent", "--include", "--max-time", "5", "-H", f"x-oracle-guard: {number}"]
            answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
            assert f"x-route: route-{number}" in answer, command


def test_a_match_that_nothing_satisfies_has_no_example() -> None:
    impossible = match_of("auto", "x-id=carol", baggage=("x-id=carol",))
    assert example_request(impossible) is None
    assert curl_args(impossible) is None


def test_bytes_that_cannot_be_typed_are_escaped_in_words_and_never_printed_as_a_command() -> None:
    match = match_of(r"x-user~=^\xFF$")
    example = example_request(match)
    assert example is not None
    assert describe_request(example) == r"GET / with x-user: \udcff"
    assert curl_args(match) is None


def test_a_request_in_words() -> None:
    assert describe_request(Request()) == "GET /"
    request = Request("/api?x=1", "POST", "shop.test", (("x-user", "bob"), ("x-flag", "")))
    assert describe_request(request) == "POST /api?x=1 with host: shop.test, x-user: bob, an empty x-flag"
