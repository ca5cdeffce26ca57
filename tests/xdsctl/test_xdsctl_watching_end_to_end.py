"""What passes between a manager and real Envoys: history, tap, diff, and CSDS."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy_data_plane.envoy.admin.v3 import ClientResourceStatus
from envoy_data_plane.envoy.service.status.v3 import ClientStatusRequest, ClientStatusResponse, ConfigStatus
from envoy_data_plane.envoy.type.matcher.v3 import NodeMatcher, StringMatcher

from demo.processes import wait_for
from demo.world import BYWAY, World
from tests.xdsctl.test_xdsctl_cli import XDSCTL, completed
from tests.xdsctl.test_xdsctl_end_to_end import (
    LARGE,
    MIXED,
    ORDERS,
    TOO_LARGE,
    everything_is_as_before,
    failing,
    intercepting,
    running_world,
    shown,
    target,
    wait_for_state,
    wait_until_synced,
    xdsctl,
)
from xds.api.rpc import bearer
from xds.paths import StateDir
from xdsctl.decode import decode

__all__ = ["everything_is_as_before", "target"]
TYPES = ["listeners", "routes", "clusters", "endpoints"]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with running_world() as found:
        yield found


def pushes(world: World, node: str, *flags: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(shown(world, "history", node, "-o", "json", *flags))["pushes"]
    return found


def why(pushed: list[dict[str, Any]]) -> set[str]:
    return {reason for one in pushed for reason in one["reasons"]}


# History


def test_the_history_begins_with_the_connection_and_says_why(world: World) -> None:
    began = pushes(world, "mixed-1")
    assert {"connected", "subscription"} <= why(began)
    assert {one["type"] for one in began} == set(TYPES)
    assert {one["outcome"] for one in began} == {"acked"}
    assert all(one["answered_seconds"] >= 0 for one in began)


def test_an_intercept_and_its_end_are_reasons(world: World, target: int) -> None:
    with intercepting(world.laptop("alice"), "orders", target, "--http-header", "auto") as intercept:
        created = f"intercept {intercept['id']} created by alice@alice-laptop"
        for node in ("orders-1", "orders-2"):
            (routes,) = (one for one in pushes(world, node, "--type", "routes") if created in one["reasons"])
            assert routes["outcome"] == "acked"
            assert [each["name"] for each in routes["resources"]] == ["dev/deployment/orders/8080"]
    ended = f"intercept {intercept['id']} ended by alice@alice-laptop"
    wait_for(lambda: any(reason.startswith(ended) for reason in why(pushes(world, "orders-1"))), "its end")

    def removals() -> list[dict[str, Any]]:
        clusters = pushes(world, "orders-1", "--type", "clusters")
        return [one for one in clusters if any(intercept["id"] in name for name in one["removed"])]

    wait_for(removals, "the removal of its clusters")
    assert why(removals()) == {"what ended a moment ago is cleaned up"}


def test_a_refusal_stays_in_the_history_after_the_sidecar_has_recovered(world: World, target: int) -> None:
    world.laptop("alice").byway(
        "intercept", "frail", "--port", f"{target}:web", "--http-header", f"x-user~={LARGE}", check=False
    )
    wait_for_state(world, "frail-1", "SYNCED")
    assert "refused" not in shown(world, "status", "frail-1")
    text = shown(world, "history", "frail-1", "--refused")
    assert TOO_LARGE.search(text)
    assert "nacked after" in text
    assert any(reason.endswith(" rejected by envoy") for reason in why(pushes(world, "frail-1")))


# Tap


@contextmanager
def tapping(world: World, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`xdsctl tap` that watches already."""
    command = [XDSCTL, "tap", *arguments, "--state-dir", str(world.state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            assert child.stderr is not None
            assert "Ctrl-C ends it" in child.stderr.readline()
            yield child
        finally:
            child.kill()


def test_a_push_and_its_acknowledgement_are_two_lines(world: World, target: int) -> None:
    with tapping(world, "orders-1", "--type", "routes", "--count", "2", "-o", "json") as child:
        with intercepting(world.laptop("alice"), "orders", target, "--http-header", "auto") as intercept:
            out, err = child.communicate(timeout=20)
        assert (child.returncode, err) == (0, "")
    response, ack = (json.loads(line) for line in out.splitlines())
    assert (response["event"], response["type"]) == ("response", "routes")
    assert f"intercept {intercept['id']} created by alice@alice-laptop" in response["reasons"]
    assert (ack["event"], ack["meaning"], ack["nonce"]) == ("request", "ack", response["nonce"])
    assert ack["after_seconds"] >= 0


def test_ctrl_c_ends_a_tap_without_a_word(world: World) -> None:
    with tapping(world, "mixed-1") as child:
        child.send_signal(signal.SIGINT)
        assert child.communicate(timeout=20) == ("", "")
        assert child.returncode == 130


def test_a_sidecar_that_connects_is_seen_by_who_waits_for_it(world: World) -> None:
    world.processes.kill("orders-2-sidecar")
    wait_for_state(world, "orders-2", "NOT CONNECTED")
    with tapping(world, "orders-2", "--count", "3") as child:
        world.start_sidecar(ORDERS, ORDERS.instances[1])
        out, _ = child.communicate(timeout=20)
    came, asked, _ = out.splitlines()
    assert "--  connected: delta, aggregated from " in came
    assert "<-  clusters   request" in asked


# Diff


def test_what_is_in_sync_is_the_same_on_both_sides(world: World, target: int) -> None:
    with intercepting(world.laptop("alice"), "orders", target, "--http-header", "auto"):
        for side in ((), ("--live",)):
            for node in ("orders-1", "mixed-1"):
                done = xdsctl(world, "diff", node, *side)
                assert done.code == 0, done.out
                # What was there before may drain for a while.
                assert all(line.endswith(": draining") for line in done.err.splitlines())
                assert done.out.endswith("resources as they are meant to be\n")


def test_what_a_stopped_sidecar_lacks_is_shown_as_a_diff(world: World, target: int) -> None:
    alice = world.laptop("alice")
    world.processes.signal("orders-2-sidecar", signal.SIGSTOP)
    command = [*BYWAY, "intercept", "orders", "--port", f"{target}:web", "--http-header", "auto"]
    with subprocess.Popen(command, env=alice.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as creating:
        try:
            wait_for_state(world, "orders-2", "STALE")
            wait_for_state(world, "orders-1", "SYNCED")
            done = xdsctl(world, "diff", "orders-2", "-o", "json")
            assert done.code == 1
            found = {(one["type"], one["state"]): one for one in json.loads(done.out)["resources"]}
            (intercept,) = alice.json("list", "--intercepts")["intercepts"]
            routes = found["routes", "differs"]["diff"]
            assert f'-          "name": "{intercept["id"]}"' in routes
            assert f'+          "name": "{intercept["id"]}"' not in routes
            assert ("clusters", "missing") in found
            assert ("listeners", "same") in found
            assert xdsctl(world, "diff", "orders-1").code == 0
            waiting = {one["type"] for one in pushes(world, "orders-2") if one["outcome"] == "waiting"}
            assert "clusters" in waiting
        finally:
            world.processes.signal("orders-2-sidecar", signal.SIGCONT)
        assert creating.wait(20) == 0
    wait_until_synced(world)
    assert xdsctl(world, "diff", "orders-2", "--live").code == 0


def test_what_envoy_refuses_is_missing_there(world: World) -> None:
    world.processes.kill("mixed-1-sidecar")
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", MIXED.instances[0].sidecar))
        squatter.listen()
        world.start_sidecar(MIXED, MIXED.instances[0])
        wait_for_state(world, "mixed-1", "NACKED")
        for side, against in (((), "acknowledged"), (("--live",), "envoy")):
            done = xdsctl(world, "diff", "mixed-1", "--type", "listeners", "-o", "json", *side)
            assert done.code == 1
            reply = json.loads(done.out)
            assert reply["against"] == against
            assert [one["state"] for one in reply["resources"]] == ["missing"]
            assert any("cannot bind" in remark for remark in reply["remarks"])
        listeners = csds(world, "dev/deployment/mixed/")["dev/deployment/mixed/mixed-1"]["Listener"]
        (one,) = listeners.values()
        assert (one.config_status, one.client_status) == (ConfigStatus.ERROR, ClientResourceStatus.NACKED)
        assert one.error_state is not None
        assert "cannot bind" in one.error_state.details
    world.processes.stop("mixed-1-sidecar")
    world.start_sidecar(MIXED, MIXED.instances[0])


def test_what_can_not_be_found_out_is_no_difference(world: World) -> None:
    world.processes.kill("orders-2-sidecar")
    wait_for_state(world, "orders-2", "NOT CONNECTED")
    code, text = failing(world, "diff", "orders-2")
    assert code == 2
    assert text.startswith("Error: no sidecar of dev/deployment/orders/orders-2 is connected")
    assert failing(world, "diff", "orders-2", "--live")[0] == 2
    assert failing(world, "diff", "nobody")[0] == 2
    assert pushes(world, "orders-2")
    world.start_sidecar(ORDERS, ORDERS.instances[1])


# CSDS


def csds(world: World, prefix: str, token: Path | None = None) -> Any:
    """What another tool is told: node → type → name → GenericXdsConfig."""
    request = ClientStatusRequest(node_matchers=[NodeMatcher(node_id=StringMatcher(prefix=prefix))])
    secret = (token or StateDir(world.state).admin_token).read_text().strip()
    with grpc.insecure_channel(world.listen) as channel:
        call: Any = channel.unary_unary("/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus")
        data = call(bytes(request), metadata=tuple(bearer(secret)), timeout=10)
    found: dict[str, Any] = {}
    for config in ClientStatusResponse.parse(data).config:
        assert config.node is not None
        assert (config.node.user_agent_name, config.node.user_agent_version) == ("envoy", "1.40.0")
        types = found[config.node.id] = {}
        for each in config.generic_xds_configs:
            types.setdefault(each.type_url.rpartition(".")[2], {})[each.name] = each
    return found


def test_other_tools_are_told_by_csds(world: World) -> None:
    found = csds(world, "dev/deployment/orders/")
    assert list(found) == ["dev/deployment/orders/orders-1", "dev/deployment/orders/orders-2"]
    types = found["dev/deployment/orders/orders-1"]
    assert sorted(types) == ["Cluster", "ClusterLoadAssignment", "Listener", "RouteConfiguration"]
    for kind, short in (("Listener", "listeners"), ("RouteConfiguration", "routes"), ("Cluster", "clusters")):
        meant = json.loads(shown(world, "get", short, "orders-1", "-o", "json"))["resources"]
        assert {one["name"]: one["version"] for one in meant} == {
            name: one.version_info for name, one in types[kind].items()
        }
        for one in meant:
            told = types[kind][one["name"]]
            assert (told.config_status, told.client_status) == (ConfigStatus.SYNCED, ClientResourceStatus.ACKED)
            assert decode(told.xds_config.type_url, told.xds_config.value) == one["resource"]


def test_who_is_not_the_administrator_is_told_nothing(world: World) -> None:
    users = world.state / "manager" / "users" / "alice.token"
    with pytest.raises(grpc.RpcError) as refused:
        csds(world, "", users)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    for command in (["history", "orders-1"], ["tap", "orders-1"], ["diff", "orders-1"]):
        code, text = failing(world, *command, "--admin-token-file", str(users))
        assert code in {1, 2}
        assert "this needs the administrator's token" in text


def test_nodes_are_completed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYWAY_STATE", str(world.state))
    for command in ("history", "tap", "diff"):
        assert completed(f"xdsctl {command} o") == ["orders-1", "orders-2"]
