"""Many intercepts at once, compiled by the product, in a real Envoy: who gets each request?

Random sets of intercepts are compiled as one workload each. Envoy is given the compiled route configurations with the
matches byte for byte; only what a route does is replaced, by an answer that says the route's name. Thousands of random
requests then show that the order of the routes, with the gate and the header-less intercepts that stand twice, says the
same as the registry: the first by precedence whose match holds, then a global one, then the app.
"""

from __future__ import annotations

import http.client
import json
import random
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from demo.processes import wait_for
from demo.world import listening
from tests.compile.goldens import golden_state
from tests.compile.protobuf import fields
from tests.registry.envoy_oracle import TYPES, Oracle, binary, wire
from tests.registry.test_match_envoy import KEY, LINES, aimed_at, some_condition, some_request
from xds.compile import wire as proto
from xds.compile.names import APP
from xds.compile.state import Reach, Routed, WorkloadState
from xds.compile.workload import compile_workload
from xds.registry.intercept import Intercept, InterceptSpec, Kind, PortMapping, Target
from xds.registry.match import GATED_KINDS, Match
from xds.registry.matcher import matches
from xds.registry.precedence import sort_key
from xds.registry.regex import MAX_PROGRAM_SIZE
from xds.registry.request import Request
from xds.registry.workload import Address

SETS = 40
REQUESTS = 300
"""For each set and port; half are aimed at one of its intercepts."""

ROUTES_TYPE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
BASE = golden_state("several-ports").workload
PORTS = (8080, 9091)


def some_match(random_: random.Random) -> Match:
    """Up to four conditions of every kind; every third match is header-less."""
    conditions = [some_condition(random_) for _ in range(random_.choice((1, 1, 2, 2, 3, 4)))]
    if random_.random() < 0.35:
        conditions = [one for one in conditions if one.field.kind not in GATED_KINDS]
    return Match.of({condition.field: condition for condition in conditions}.values())


def some_intercept(random_: random.Random, number: int) -> Routed:
    ports = random_.choice((PORTS, PORTS[:1], PORTS[1:]))
    whole = random_.random() < 0.06
    spec = InterceptSpec(
        name=f"n{number}",
        workload=BASE.id,
        ports=tuple(PortMapping(port, Target("localhost", 9000)) for port in ports),
        match=Match() if whole else some_match(random_),
        kind=Kind.GLOBAL if whole else Kind.PERSONAL,
        shared=whole,
    )
    intercept = Intercept(f"i-{number:02}", "s", "alice@laptop", spec, random_.randrange(4))
    return Routed(intercept, dict.fromkeys(ports, Reach(Address("192.0.2.1", 9000), up=True)))


def some_set(random_: random.Random) -> WorkloadState:
    those = [some_intercept(random_, number) for number in range(random_.randint(1, 12))]
    random_.shuffle(those)
    return WorkloadState(BASE, tuple(those))


def winner(state: WorkloadState, port: int, request: Request) -> str:
    """Who gets the request, as the registry says: an intercept's id, or `app`."""
    if not request.path.startswith("/"):
        return "404"
    those = [one.intercept for one in state.routed if port in one.laptops]
    for one in sorted(those, key=lambda one: sort_key(one.spec, one.sequence, one.id)):
        if one.spec.kind is Kind.GLOBAL or matches(one.spec.match, request):
            return one.id
    return APP


def answering(route: bytes) -> bytes:
    """The route with its name and match as they are, and an answer of its own instead of everything else."""
    kept = b"".join(own for number, _, own in fields(route) if number in {1, 14})
    status = proto.varint(1 << 3) + proto.varint(200)
    says = proto.field(1, proto.text(1, "x-route") + proto.text(2, "%ROUTE_NAME%"))
    overwrite = proto.varint(3 << 3) + proto.varint(2)
    return kept + proto.field(7, status) + proto.field(10, says + overwrite)


def oracle_routes(configuration: bytes) -> bytes:
    """The route configuration with every route answering by itself."""
    out = b""
    for number, value, own in fields(configuration):
        if number != 2:
            out += own
            continue
        host = (proto.field(3, answering(route)) if inner == 3 else part for inner, route, part in fields(value))
        out += proto.field(2, b"".join(host))
    return out


@contextmanager
def envoy(configurations: dict[str, bytes], directory: Path) -> Iterator[dict[str, Oracle]]:
    """One Envoy with a listener for each of the route configurations, which it reads as they are.

    So many ports that Envoy chooses them itself, and says which: somebody could take a free one in between.
    """
    listeners = []
    for number, (name, data) in enumerate(configurations.items()):
        file = directory / f"routes-{number}.pb"
        # A DiscoveryResponse: version_info = 1, resources = 2, type_url = 4.
        any_ = proto.text(1, ROUTES_TYPE) + proto.field(2, data)
        file.write_bytes(proto.text(1, "1") + proto.field(2, any_) + proto.text(4, ROUTES_TYPE))
        listeners.append(_listener(name, file))
    config = directory / "envoy.json"
    limits = {"re2.max_program_size.error_level": MAX_PROGRAM_SIZE}
    layers = [{"name": "static", "static_layer": limits}]
    node = {"id": "oracle", "cluster": "oracle"}
    content = {
        "node": node,
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {"listeners": listeners},
        "layered_runtime": {"layers": layers},
    }
    config.write_text(json.dumps(content))
    admin = directory / "admin"
    command = [binary(), "-c", str(config), "--concurrency", "1", "--use-dynamic-base-id", "-l", "error"]
    command += ["--admin-address-path", str(admin)]
    log = directory / "envoy.log"
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            found: dict[str, int] = {}

            def up() -> bool:
                assert process.poll() is None, log.read_text()
                found.update(_ports(admin))
                return found.keys() == configurations.keys() and all(map(listening, found.values()))

            wait_for(up, "envoy listens")
            yield {name: Oracle(port) for name, port in found.items()}
        finally:
            process.terminate()
            process.wait(10)


def _ports(admin: Path) -> dict[str, int]:
    """The port of each listener that is up, from Envoy's admin page."""
    if not admin.exists() or not (address := admin.read_text()):
        return {}
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", "/listeners?format=json")
        statuses = json.loads(connection.getresponse().read()).get("listener_statuses", [])
    except OSError:
        # It is still starting.
        return {}
    finally:
        connection.close()
    return {one["name"]: one["local_address"]["socket_address"]["port_value"] for one in statuses}


def _listener(name: str, file: Path) -> object:
    manager = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "oracle",
        "normalize_path": False,
        "merge_slashes": False,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "use_remote_address": False,
        "rds": {
            "route_config_name": name.partition("#")[2],
            "config_source": {"path_config_source": {"path": str(file)}, "resource_api_version": "V3"},
        },
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"}},
        ],
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


STATES = [some_set(random.Random(f"set {number}")) for number in range(SETS)]


@pytest.fixture(scope="module")
def oracles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[int, int], Oracle]]:
    """An oracle for each set of intercepts and each port."""
    configurations = {}
    for number, state in enumerate(STATES):
        compiled = compile_workload(state)
        for port in PORTS:
            name = f"{BASE.id}/{port}"
            configurations[f"{number}#{name}"] = oracle_routes(compiled.routes[name])
    with ExitStack() as stack:
        found = stack.enter_context(envoy(configurations, tmp_path_factory.mktemp("oracle")))
        yield {(int(key.partition("#")[0]), int(key.rpartition("/")[2])): one for key, one in found.items()}


def requests_for(random_: random.Random, state: WorkloadState, count: int) -> list[Request]:
    found = []
    for _ in range(count):
        request = some_request(random_)
        if random_.random() < 0.5:
            request = aimed_at(random_, random_.choice(state.routed).intercept.spec.match, tries=15)
        for _ in range(random_.choice((0, 0, 1, 2))):
            # What carries several intercepts' headers at once: the order decides.
            more = random_.choice(((KEY, "a"), ("x-user", "a"), ("baggage", random_.choice(LINES)), ("x-team", "b")))
            request = replace(request, headers=(*request.headers, more))
        found.append(request)
    return found


def test_the_intercept_that_envoy_takes_is_the_one_that_the_registry_names(
    oracles: dict[tuple[int, int], Oracle],
) -> None:
    seen: Counter[str] = Counter()
    apart = []
    for (number, port), oracle in oracles.items():
        state = STATES[number]
        requests = requests_for(random.Random(f"requests {number} {port}"), state, REQUESTS)
        answers = oracle.ask([wire(request) for request in requests])
        for request, answer in zip(requests, answers, strict=True):
            ours = winner(state, port, request)
            seen += contest(state, port, request)
            seen["app" if ours == APP else "intercept"] += 1
            if answer != ours:
                apart.append((number, port, request, f"envoy {answer}, registry {ours}"))
    assert not apart, (len(apart), apart[:5])
    # Enough of each kind to mean something.
    asked = SETS * len(PORTS) * REQUESTS
    assert seen["intercept"] > asked // 4, seen
    assert seen["app"] > asked // 10, seen
    assert seen["several match"] > asked // 8, seen
    assert seen["with and without headers match"] > asked // 20, seen
    assert seen["header-less wins behind the gate"] > asked // 50, seen


def contest(state: WorkloadState, port: int, request: Request) -> Counter[str]:
    """What is hard about a request."""
    those = [one.intercept.spec.match for one in state.routed if port in one.laptops]
    found = [match for match in those if matches(match, request)]
    kinds = {match.gated for match in found}
    names = {condition.field.name for match in those if match.gated for condition in match.conditions}
    carries = any(name.lower() in names or name == "baggage" for name, _ in request.headers)
    return Counter(
        {
            "several match": len(found) > 1,
            "with and without headers match": len(kinds) == 2,
            "header-less wins behind the gate": kinds == {False} and carries,
        }
    )
