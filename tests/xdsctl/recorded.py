"""A recorded state: three workloads with intercepts of every kind, compiled as the manager compiles them."""

from __future__ import annotations

from xds.api.byway.manager import v1
from xds.compile import names
from xds.compile.state import Reach, Routed, WorkloadState
from xds.compile.workload import Compiled, compile_workload
from xds.registry.conditions import HttpFlags, parse_match
from xds.registry.intercept import Intercept, InterceptSpec, Kind, PortMapping, Target, WhenDown
from xds.registry.match import Match
from xds.registry.workload import Address, AppProtocol, Instance, Port, Workload, WorkloadId
from xds.serve.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE
from xdsctl.decode import decode
from xdsctl.resources import Listing, Resource

ORDERS = WorkloadId("dev", "deployment", "orders")
MIXED = WorkloadId("dev", "statefulset", "mixed")
TARGET = Target("localhost", 9101)
URLS = {"listeners": LISTENER, "routes": ROUTE, "clusters": CLUSTER, "endpoints": ENDPOINT}


def workload(key: WorkloadId, *ports: Port) -> Workload:
    instance = Instance(
        f"{key.name}-1",
        listen={port.number: Address("10.0.0.1", port.number) for port in ports},
        app={port.number: Address("10.0.0.1", port.number + 1) for port in ports},
    )
    return Workload(key, ports, instances={instance.id: instance})


def routed(
    number: int, key: WorkloadId, port: int, match: Match, *, up: bool = True, kind: Kind = Kind.PERSONAL
) -> Routed:
    fails = WhenDown.CLUSTER if up else WhenDown.FAIL
    spec = InterceptSpec(f"work-{number}", key, (PortMapping(port, TARGET),), match, kind, when_down=fails)
    intercept = Intercept(f"i-{number:010}", f"s-{number}", f"user{number}@laptop{number}", spec, number)
    since = "" if up else "2026-11-20T12:00:00+00:00"
    return Routed(intercept, {port: Reach(Address("10.9.9.9", 9101), up=up)}, since)


def orders() -> WorkloadState:
    state = workload(ORDERS, Port(8080, "web", AppProtocol.HTTP), Port(8081, "admin", AppProtocol.HTTP2))
    return WorkloadState(
        state,
        (
            routed(1, ORDERS, 8080, match(HttpFlags(("auto",)))),
            routed(2, ORDERS, 8080, match(HttpFlags(("x-user~=al(ice|bert)", "x-debug"), path_prefix="/api"))),
            routed(
                3,
                ORDERS,
                8080,
                match(HttpFlags(baggage=("team=blue; 100%",), queries=("q=1",), method="POST")),
                up=False,
            ),
            routed(4, ORDERS, 8080, match(HttpFlags(("all",), path_regex="^/v[12]/"))),
            routed(5, ORDERS, 8081, Match(), kind=Kind.GLOBAL),
        ),
    )


def mixed() -> WorkloadState:
    ports = (Port(5432, "sql", AppProtocol.TCP), Port(9000))
    return WorkloadState(workload(MIXED, *ports), ())


def match(flags: HttpFlags) -> Match:
    found = parse_match(flags, key_name="x-telepresence-id", key_value="alice-2bd806")
    assert found is not None
    return found


def bodies(compiled: Compiled, kind: str, instance: str) -> dict[str, bytes]:
    found = {
        "listeners": {**compiled.hops, **compiled.listeners[instance]},
        "routes": compiled.routes,
        "clusters": compiled.clusters,
        "endpoints": compiled.endpoints[instance],
    }[kind]
    return dict(sorted(found.items()))


def resources(state: WorkloadState, kind: str) -> list[Resource]:
    """With versions that don't change with every change of what is compiled; the last one is not acknowledged."""
    found = bodies(compile_workload(state), kind, f"{state.workload.id.name}-1")
    return [
        Resource(name, decode(URLS[kind], body), f"v{number}", f"v{number}" if number < len(found) else "")
        for number, (name, body) in enumerate(found.items(), 1)
    ]


def listing(state: WorkloadState, kind: str) -> Listing:
    node = names.node(state.workload.id, f"{state.workload.id.name}-1")
    endpoints = resources(state, "endpoints") if kind == "clusters" else []
    return Listing(node, kind, "manager", resources(state, kind), endpoints=endpoints)


def type_state(kind: str, state: str, age: float, **more: object) -> v1.TypeState:
    count, version = (3, "aaaaaaaaaaaaaaaa")
    known = {"resources": count, "intended": count, "sent_version": version, "acked_version": version}
    return v1.TypeState(type=kind, state=state, age_seconds=age, **{**known, **more})  # type: ignore[arg-type]


def sidecar(node: str, *types: v1.TypeState) -> v1.Sidecar:
    return v1.Sidecar(
        node=node,
        envoy_version="1.40.0",
        transport="delta, aggregated",
        connected_seconds=4000,
        types=list(types),
        peer="ipv4:127.0.0.1:40312",
    )


NACK = "Error adding/updating listener(s)\nregex 'x' RE2 program size of 200 > max program size of 100"


NOTHING = type_state("clusters", "NOT SENT", 70000, resources=0, intended=0, sent_version="", acked_version="")


def sidecars() -> v1.ListSidecarsReply:
    synced = [type_state(kind, "SYNCED", 125) for kind in URLS]
    stale = type_state(
        "routes", "STALE", 3, acked_version="bbbbbbbbbbbbbbbb", behind=["dev/deployment/orders/8080", "dev/x/y/1"]
    )
    return v1.ListSidecarsReply(
        sidecars=[
            sidecar("dev/deployment/orders/orders-1", *synced),
            sidecar("dev/deployment/orders/orders-2", synced[0], stale, *synced[2:]),
            sidecar(
                "dev/deployment/payments/payments-1",
                synced[0],
                type_state("routes", "NACKED", 9, nack=NACK, acked_version="cccccccccccccccc"),
            ),
            sidecar("dev/statefulset/db/db-0", synced[0], NOTHING),
        ],
        absent=["dev/deployment/orders/orders-3"],
        rejected=[
            v1.Rejection(
                intercept_id="i-0000000009",
                name="big",
                owner="bob@laptop",
                workload="dev/deployment/payments",
                reason="regex 'y' RE2 program size of 300 > max program size of 100",
            )
        ],
    )


AT = 1_795_191_696.123
"""2026-11-20 16:21:36.123 UTC"""
ORDERS_1 = "dev/deployment/orders/orders-1"


def push(kind: str, after: float, why: str, *names: str, **more: object) -> v1.Push:
    held = [
        v1.PushedResource(name=name, version=f"v-{name[-1]}", size=300 * number) for number, name in enumerate(names, 1)
    ]
    known = {"outcome": "acked", "answered_seconds": 0.0074, "size": 100 + sum(one.size for one in held)}
    number = round(after * 1000)
    return v1.Push(
        at=AT + after,
        type=kind,
        nonce=f"9f3c-1-{number:x}",
        revision=number,
        resources=held,
        reasons=why.split("; ") if why else [],
        **{**known, **more},  # type: ignore[arg-type]
    )


def history() -> v1.GetHistoryReply:
    created = "intercept i-0000000001 created by ann@lap"
    return v1.GetHistoryReply(
        node=ORDERS_1,
        connected=True,
        pushes=[
            push("clusters", 0.001, "connected", "dev/deployment/orders/8080/app", answered_seconds=1.4),
            push("endpoints", 0.002, "subscription", "dev/deployment/orders/8080/app"),
            push("clusters", 3.0, created, "a", "b", size=89_400),
            push("routes", 3.001, f"{created}; laptop of bob@lap away", "dev/deployment/orders/8080", version="77aa"),
            push("listeners", 9.0, "rude \x1b[31m words", outcome="nacked", nack=NACK, more_resources=2),
            push(
                "clusters",
                99.0,
                "intercept i-0000000001 ended by ann@lap: left",
                removed=["a", "b"],
                more_removed=3,
                outcome="waiting",
                answered_seconds=0.0,
            ),
            push("routes", 100.0, "", "r", outcome="cut off", size=2_500_000),
        ],
    )


def tapped() -> list[v1.TapEvent]:
    stream = v1.TapStream(at=AT, transport="delta, aggregated", peer="ipv4:127.0.0.1:40312")

    def request(kind: str, meaning: str, **more: object) -> v1.TapEvent:
        seen = v1.TapRequestSeen(at=AT + 1, type=kind, meaning=meaning, size=61_234, **more)  # type: ignore[arg-type]
        return v1.TapEvent(request=seen)

    pushes = history().pushes
    return [
        v1.TapEvent(connected=stream),
        request("clusters", "request", names=["*"], kept=2),
        v1.TapEvent(response=pushes[0]),
        request("clusters", "ack", nonce=pushes[0].nonce, after_seconds=0.0123),
        request("routes", "request", names=["a", "b", "c", "d"], more_names=7, unsubscribed=["e"]),
        v1.TapEvent(response=pushes[3]),
        request("routes", "nack", nonce=pushes[3].nonce, after_seconds=2.5, error=NACK, version="76aa"),
        v1.TapEvent(lost=12),
        request("routes", "stale", nonce="older"),
        v1.TapEvent(response=pushes[5]),
        v1.TapEvent(disconnected=stream),
    ]
