"""What people see, as golden files; BYWAY_REWRITE_GOLDENS=1 writes them anew."""

from __future__ import annotations

import json
import os
from datetime import UTC
from pathlib import Path

import pytest

from tests.xdsctl import recorded
from xds.compile.state import WorkloadState
from xds.registry.conditions import HttpFlags
from xds.terminal.output import data
from xdsctl.live import listing as live_listing
from xdsctl.pushes import history_data, history_text, span
from xdsctl.resources import TYPES, Listing
from xdsctl.status import in_sync, narrowed, status_data, status_text
from xdsctl.tables import listing_table, named
from xdsctl.tap import line

GOLDEN = Path(__file__).parent / "golden"


def check(name: str, text: str) -> None:
    """Compare with a golden file."""
    path = GOLDEN / name
    if os.environ.get("BYWAY_REWRITE_GOLDENS"):
        path.write_text(text)
    assert text == path.read_text(), f"{name} differs; BYWAY_REWRITE_GOLDENS=1 rewrites it"


STATES = {"orders": recorded.orders, "mixed": recorded.mixed}


@pytest.fixture(scope="module", params=STATES)
def state(request: pytest.FixtureRequest) -> WorkloadState:
    return STATES[request.param]()


@pytest.mark.parametrize("wide", [False, True], ids=["table", "wide"])
@pytest.mark.parametrize("kind", TYPES)
def test_resources_as_a_table(state: WorkloadState, kind: str, wide: bool) -> None:
    name = f"{state.workload.id.name}-{kind}{'-wide' if wide else ''}.txt"
    check(name, listing_table(recorded.listing(state, kind), wide=wide))


@pytest.mark.parametrize("kind", ["routes", "endpoints"])
def test_resources_as_json_and_yaml(kind: str) -> None:
    listing = recorded.listing(recorded.mixed(), kind)
    check(f"mixed-{kind}.json", data(listing.as_dict(), "json"))
    check(f"mixed-{kind}.yaml", data(listing.as_dict(), "yaml"))


def test_status_has_a_row_for_each_instance_and_refusals_below() -> None:
    check("status.txt", status_text(recorded.sidecars(), wide=False, detail=False))


def test_wide_status_has_a_row_for_each_type() -> None:
    check("status-wide.txt", status_text(recorded.sidecars(), wide=True, detail=False))


def test_status_of_one_node_names_what_it_has_not_acknowledged() -> None:
    check("status-one.txt", status_text(narrowed(recorded.sidecars(), "orders-2"), wide=False, detail=True))


@pytest.mark.parametrize("wide", [False, True], ids=["table", "wide"])
def test_a_history_has_a_row_for_each_push_and_refusals_below(wide: bool) -> None:
    text = history_text(recorded.history().pushes, wide=wide, zone=UTC)
    assert "\x1b" not in text
    check("history-wide.txt" if wide else "history.txt", text)


def test_a_history_as_json() -> None:
    check("history.json", data(history_data(recorded.history()), "json"))


@pytest.mark.parametrize("output", ["table", "wide", "json", "yaml"])
def test_what_passes_is_a_line_each(output: str) -> None:
    text = "".join(line(event, output, UTC) for event in recorded.tapped())
    if output == "json":
        assert len([json.loads(each) for each in text.splitlines()]) == len(recorded.tapped())
    check({"table": "tap.txt", "wide": "tap-wide.txt"}.get(output, f"tap.{output}"), text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0ms"), (0.0074, "7ms"), (0.9996, "1s"), (1.25, "1.25s"), (12.0, "12s"), (150, "2m30s")]
)
def test_short_times_in_words(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_status_as_json() -> None:
    check("status.json", data(status_data(recorded.sidecars()), "json"))


def test_status_of_one_workload_leaves_out_what_others_had_refused() -> None:
    orders = narrowed(recorded.sidecars(), "orders")
    assert [one["node"] for one in status_data(orders)["sidecars"]] == [
        "dev/deployment/orders/orders-1",
        "dev/deployment/orders/orders-2",
        "dev/deployment/orders/orders-3",
    ]
    assert not orders.rejected
    assert narrowed(recorded.sidecars(), "payments-1").rejected


@pytest.mark.parametrize(
    ("node", "expected"),
    [("orders-1", True), ("orders-2", False), ("orders-3", False), ("payments-1", False), ("db-0", True)],
    ids=["synced", "stale", "absent", "nacked", "nothing-to-send"],
)
def test_in_sync_means_acknowledged_by_a_connected_sidecar(node: str, expected: bool) -> None:
    assert in_sync(narrowed(recorded.sidecars(), node)) is expected


def test_an_intercept_id_picks_its_routes_alone_and_keeps_their_order() -> None:
    listing = recorded.listing(recorded.orders(), "routes")
    kept = named(listing.resources, "routes", "i-0000000001")
    routes = [route["name"] for one in kept for host in one.body["virtual_hosts"] for route in host["routes"]]
    assert routes == ["i-0000000001", "i-0000000001"]


def test_a_part_of_a_name_picks_whole_resources() -> None:
    listing = recorded.listing(recorded.orders(), "clusters")
    assert [one.name for one in named(listing.resources, "clusters", "8081/app")] == ["dev/deployment/orders/8081/app"]
    assert not named(listing.resources, "clusters", "i-0000000009")


def test_a_baggage_condition_reads_as_it_was_typed() -> None:
    text = listing_table(recorded.listing(recorded.orders(), "routes"), wide=False)
    assert "baggage team=blue; 100%" in text
    assert "baggage x-telepresence-id=alice-2bd806; no header x-telepresence-id" in text
    assert recorded.match(HttpFlags(baggage=("team=blue; 100%",))).conditions[0].value == "blue; 100%"


DUMP = {
    "configs": [
        {
            "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
            "static_listeners": [{"listener": {"name": "of-the-bootstrap"}}],
            "dynamic_listeners": [
                {
                    "name": "a/b/c/1",
                    "active_state": {
                        "version_info": "v1",
                        "listener": {
                            "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
                            "name": "a/b/c/1",
                            "address": {"socket_address": {"address": "::1", "port_value": 80}},
                        },
                    },
                    "error_state": {"details": "address in use", "version_info": "v2"},
                },
                {"name": "a/b/c/2", "warming_state": {"listener": {"name": "a/b/c/2"}}},
                {"name": "a/b/c/3", "draining_state": {"listener": {"name": "a/b/c/3"}}},
            ],
        },
        {
            "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
            "static_clusters": [{"cluster": {"name": "byway-manager"}}],
            "dynamic_active_clusters": [
                {"version_info": "v3", "cluster": {"name": "a/b/c/1/app", "type": "EDS", "connect_timeout": "1.500s"}}
            ],
            "dynamic_warming_clusters": [{"cluster": {"name": "a/b/c/1/intercept/i"}}],
        },
        {
            "@type": "type.googleapis.com/envoy.admin.v3.EndpointsConfigDump",
            "static_endpoint_configs": [{"endpoint_config": {"cluster_name": "byway-manager"}}],
            "dynamic_endpoint_configs": [
                {
                    "endpoint_config": {
                        "cluster_name": "a/b/c/1/app",
                        "endpoints": [
                            {
                                "priority": 1,
                                "lb_endpoints": [
                                    {
                                        "health_status": "UNHEALTHY",
                                        "endpoint": {
                                            "address": {"socket_address": {"address": "10.0.0.1", "port_value": 81}}
                                        },
                                    }
                                ],
                            }
                        ],
                    }
                }
            ],
        },
    ]
}
STATUSES = {
    "cluster_statuses": [
        {
            "name": "a/b/c/1/app",
            "host_statuses": [
                {
                    "address": {"socket_address": {"address": "10.0.0.1", "port_value": 81}},
                    "stats": [
                        {"name": "cx_active", "value": "2", "type": "GAUGE"},
                        {"name": "rq_total", "value": "7"},
                        {"name": "rq_error", "value": "1"},
                    ],
                }
            ],
        }
    ]
}


def live(kind: str) -> Listing:
    return live_listing("a/b/c/d", kind, DUMP, STATUSES)


@pytest.mark.parametrize("kind", ["listeners", "clusters", "endpoints"])
def test_what_envoy_has_is_shown_by_the_same_tables(kind: str) -> None:
    listing = live(kind)
    check(f"live-{kind}.txt", listing_table(listing, wide=True) + "".join(f"{each}\n" for each in listing.remarks))


def test_what_envoy_refused_or_warms_is_remarked_on() -> None:
    assert live("listeners").remarks == [
        "a/b/c/1: Envoy refused an update: address in use",
        "a/b/c/2: warming, not in use yet",
        "a/b/c/3: draining",
    ]
    assert live("clusters").remarks == ["a/b/c/1/intercept/i: warming, not in use yet"]


def test_nothing_of_the_bootstrap_is_shown() -> None:
    assert [one.name for kind in TYPES for one in live(kind).resources] == ["a/b/c/1", "a/b/c/1/app", "a/b/c/1/app"]
