"""Twins match what their routes match, for requests with the token alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from envoy_data_plane.envoy.config.route.v3 import Route, RouteConfiguration

from tests.compile.goldens import NAMES, golden_state
from xds.compile.twin import ASKED
from xds.compile.workload import compile_workload


def routes(name: str, *tokens: str) -> dict[str, list[Route]]:
    state = golden_state(name)
    explaining = {port.number: frozenset(tokens) for port in state.workload.ports}
    compiled = compile_workload(replace(state, explaining=explaining))
    return {key: RouteConfiguration.parse(data).virtual_hosts[0].routes for key, data in compiled.routes.items()}


@pytest.mark.parametrize("name", NAMES)
def test_every_route_has_a_twin_for_each_token_before_all_routes_and_in_their_order(name: str) -> None:
    plain = routes(name)
    for port, found in routes(name, "b", "a").items():
        own = plain[port]
        assert found[2 * len(own) :] == own
        for at, twin in enumerate(found[: 2 * len(own)]):
            route, token = own[at % len(own)], "a" if at < len(own) else "b"
            assert twin.match
            assert route.match
            *same, asked = twin.match.headers
            assert (asked.name, asked.string_match and asked.string_match.exact) == (ASKED, token)
            assert replace(twin.match, headers=same) == route.match
            assert twin.name == route.name
            assert twin.route is None
            assert twin.direct_response
            assert twin.direct_response.body
            assert (twin.direct_response.status, twin.direct_response.body.inline_string) == (200, route.name)


def test_without_anybody_who_asks_there_are_no_twins() -> None:
    state = golden_state("explaining")
    nobody = compile_workload(replace(state, explaining={}))
    assert compile_workload(replace(state, explaining={8081: frozenset()})).routes == nobody.routes
