"""What intercepts may and may not change in a workload's resources."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from envoy_data_plane.envoy.config.route.v3 import Route, RouteConfiguration

from tests.compile.goldens import NAMES, golden_state
from tests.compile.protobuf import payloads
from tests.compile.states import match_of
from tests.registry.test_match_envoy import some_match
from xds.compile import names
from xds.compile.names import APP
from xds.compile.state import Reach, Routed, WorkloadState
from xds.compile.workload import Compiled, compile_workload
from xds.registry.intercept import Intercept, InterceptSpec, Kind, PortMapping, Target
from xds.registry.match import Match
from xds.registry.workload import Address

BASE = golden_state("no-intercepts")
PORT = 8080
VIRTUAL_HOSTS, ROUTES, ROUTE_NAME = 2, 3, 14
NAME = f"{BASE.workload.id}/{PORT}"


def routed(number: int, match: Match, *, kind: Kind = Kind.PERSONAL) -> Routed:
    target = Target("localhost", 9000 + number % 1000)
    spec = InterceptSpec(f"n{number}", BASE.workload.id, (PortMapping(PORT, target),), match, kind)
    reach = Reach(Address("192.0.2.1", target.port), up=number % 3 > 0, generation=f"{number}.0")
    return Routed(Intercept(f"i-{number}", "s", "alice@laptop", spec, number), {PORT: reach}, f"{number}")


def with_intercepts(*those: Routed) -> Compiled:
    return compile_workload(replace(BASE, routed=those))


def routes_of(compiled: Compiled) -> list[Route]:
    return list(RouteConfiguration.parse(compiled.routes[NAME]).virtual_hosts[0].routes)


@pytest.mark.parametrize("name", NAMES)
def test_a_listener_never_changes_when_intercepts_come_and_go(name: str) -> None:
    state = golden_state(name)
    assert compile_workload(state).listeners == compile_workload(WorkloadState(state.workload)).listeners


def test_random_intercepts_leave_listeners_and_the_app_as_they_are() -> None:
    random_ = random.Random(20260106)
    empty = with_intercepts()
    for size in (1, 3, 10, 30):
        found = with_intercepts(*(routed(number, some_match(random_)) for number in range(size)))
        assert found.listeners == empty.listeners
        assert found.clusters.items() >= empty.clusters.items()
        for instance, named in empty.endpoints.items():
            assert found.endpoints[instance].items() >= named.items()


def test_a_cluster_is_never_edited_whatever_becomes_of_its_intercept() -> None:
    """An edited EDS cluster warms for up to 15 s: what changes comes by EDS."""
    one = routed(1, Match())
    before = with_intercepts(one)
    for reach in (
        Reach(Address("192.0.2.9", 1), up=False, generation="1.0"),
        Reach(Address("192.0.2.9", 2), up=True, generation="2.0"),
    ):
        after = with_intercepts(replace(one, laptops={PORT: reach}, away_since="now"), routed(2, Match()))
        assert after.clusters.items() >= before.clusters.items()


def test_a_laptop_that_goes_away_changes_endpoints_and_the_hop_alone() -> None:
    one = routed(1, Match())
    up = with_intercepts(replace(one, laptops={PORT: Reach(Address("192.0.2.1", 1), up=True)}))
    down = with_intercepts(replace(one, laptops={PORT: Reach(Address("192.0.2.1", 1), up=False)}))
    assert (up.routes, up.clusters, up.listeners) == (down.routes, down.clusters, down.listeners)
    assert up.endpoints != down.endpoints
    assert len(up.hops) == 1
    assert not down.hops


@pytest.mark.parametrize(("name", "instance"), [("global-tcp", "redis-1"), ("global-undeclared", "odd-1")])
def test_a_whole_port_takes_connections_by_endpoints_alone(name: str, instance: str) -> None:
    """New names come for the laptop; of all that is there for the app, the endpoints of one cluster change."""
    state = golden_state(name)
    without, found = compile_workload(WorkloadState(state.workload)), compile_workload(state)
    assert found.clusters.items() >= without.clusters.items()
    before, after = without.endpoints[instance], found.endpoints[instance]
    (changed,) = [key for key, body in before.items() if after[key] != body]
    assert changed == names.tcp_cluster(state.workload.id, state.workload.ports[0].number)
    lingering = compile_workload(WorkloadState(state.workload, lingering=state.routed))
    assert lingering.endpoints[instance][changed] == before[changed]
    assert (lingering.hops, lingering.clusters) == (found.hops, found.clusters), "what is under way is not cut at once"


def test_ordinary_requests_pass_as_many_routes_with_a_thousand_intercepts_as_with_one() -> None:
    def before_the_app(count: int, header_less: int) -> int:
        gated = [routed(number, user(f"user-{number}")) for number in range(count)]
        paths = [routed(count + number, path(f"/p{number}")) for number in range(header_less)]
        names = payloads(with_intercepts(*gated, *paths).routes[NAME], VIRTUAL_HOSTS, ROUTES, ROUTE_NAME)
        return names.index(APP.encode())

    assert [before_the_app(count, 0) for count in (0, 1, 10, 1000)] == [0, 0, 0, 0]
    assert [before_the_app(count, 3) for count in (0, 1, 10, 1000)] == [3, 3, 3, 3]


def test_the_first_route_tests_each_header_name_once_however_many_ask_for_it() -> None:
    many = [routed(number, user(f"user-{number}")) for number in range(100)]
    gate = routes_of(with_intercepts(*many))[0].match
    assert gate is not None
    assert [matcher.name for matcher in gate.headers] == ["x-user"]


def test_the_order_in_which_intercepts_are_given_does_not_show() -> None:
    random_ = random.Random(20260107)
    those = [routed(number, some_match(random_)) for number in range(12)]
    routes = with_intercepts(*those).routes
    for _ in range(5):
        random_.shuffle(those)
        assert with_intercepts(*those).routes == routes


def test_every_route_of_an_intercept_bears_its_id_and_owner() -> None:
    those = [routed(1, user("a")), routed(2, path("/a")), routed(3, Match(), kind=Kind.GLOBAL)]
    routes = routes_of(with_intercepts(*those))
    assert {route.name for route in routes} == {"i-1", "i-2", "i-3"}, "no app route: a global intercept takes the port"
    for route in routes:
        assert route.metadata is not None
        facts = route.metadata.filter_metadata["byway"].fields
        assert (facts["intercept"].string_value, facts["owner"].string_value) == (route.name, "alice@laptop")


def user(value: str) -> Match:
    return match_of({"headers": [f"x-user={value}"]}, "alice@laptop") or Match()


def path(value: str) -> Match:
    return match_of({"headers": ["all"], "path_prefix": value}, "alice@laptop") or Match()


@pytest.mark.parametrize("name", NAMES)
def test_requests_are_told_of_where_clients_connect_and_not_again_behind_a_hop(name: str) -> None:
    state = golden_state(name)
    found = compile_workload(state)
    kind = b"envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig"
    assert not any(kind in hop for hop in found.hops.values())
    for port in state.workload.ports:
        for named in found.listeners.values():
            listener = named.get(names.port(state.workload.id, port.number), b"")
            assert (kind in listener) == port.protocol.may_be_http
