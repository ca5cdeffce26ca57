"""xdsctl against a manager and real Envoys."""

from __future__ import annotations

import io
import json
import re
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from demo.processes import wait_for
from demo.world import BYWAY, Instance, Laptop, Workload, World
from tests.xdsctl.running import xdsctl as without_state
from tests.xdsctl.test_xdsctl_cli import completed
from xds.manager.sidecar import Sidecar
from xds.paths import StateDir
from xds.registry.workload import Address, WorkloadId
from xdsctl.main import run

ORDERS = Workload("orders", [Instance("orders-1"), Instance("orders-2")])
MIXED = Workload("mixed", [Instance("mixed-1")], protocol="")
FRAIL = Workload("frail", [Instance("frail-1")])
"""Its Envoy takes small regular expressions only."""
LARGE = "(alice|bob|carol){9}"
TOO_LARGE = re.compile(r"regex '.*\(alice\|bob\|carol\)\{9\}.*' RE2 program size of \d+ > max program size of 20")


def start_frail_sidecar(world: World, workload: Workload, instance: Instance) -> None:
    """A sidecar whose Envoy refuses what the manager thinks that it takes."""
    host, _, port = world.listen.rpartition(":")
    sidecar = Sidecar.of(StateDir(world.state), WorkloadId.parse(workload.id), instance.id)
    sidecar.write(Address(host, int(port)))
    bootstrap = json.loads(sidecar.bootstrap.read_text())
    bootstrap["layered_runtime"]["layers"][0]["static_layer"]["re2"]["max_program_size"]["error_level"] = 20
    sidecar.bootstrap.write_text(json.dumps(bootstrap))
    world.processes.start(f"{instance.id}-sidecar", sidecar.command(concurrency=1, log_level="warning"))


@contextmanager
def running_world() -> Iterator[World]:
    """Without apps: what sidecars are given is looked at, not what passes through them."""
    # A socket's path has to be short, and pytest's own directories are not.
    with tempfile.TemporaryDirectory(prefix="bw-") as folder:
        world = World(Path(folder), [ORDERS, MIXED, FRAIL])
        try:
            world.write_file()
            world.start_manager()
            for workload in (ORDERS, MIXED):
                for instance in workload.instances:
                    world.start_sidecar(workload, instance)
            start_frail_sidecar(world, FRAIL, FRAIL.instances[0])
            world.laptop("alice").connect()
            yield world
        finally:
            world.stop()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with running_world() as found:
        yield found


@pytest.fixture(scope="module")
def target() -> Iterator[int]:
    """A port on the laptop where somebody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture(autouse=True)
def everything_is_as_before(world: World) -> Iterator[None]:
    wait_until_synced(world)
    yield
    alice = world.laptop("alice")
    if names := [one["name"] for one in alice.json("list", "--intercepts")["intercepts"]]:
        alice.byway("leave", *names)


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


def xdsctl(world: World, *arguments: str) -> Result:
    """Run a command in this process, which is quicker than starting one."""
    out, err = io.StringIO(), io.StringIO()
    state = [] if "--state-dir" in arguments else ["--state-dir", str(world.state)]
    with redirect_stdout(out), redirect_stderr(err):
        code = run([*arguments, *state])
    return Result(code, out.getvalue(), err.getvalue())


def shown(world: World, *arguments: str) -> str:
    """What a command that succeeds prints."""
    result = xdsctl(world, *arguments)
    assert (result.code, result.err) == (0, "")
    return result.out


def failing(world: World, *arguments: str) -> tuple[int, str]:
    result = xdsctl(world, *arguments)
    assert result.out == ""
    return result.code, result.err


def table(world: World, *arguments: str) -> list[list[str]]:
    """The rows of a table."""
    return [re.split(r" {2,}", line) for line in shown(world, *arguments).splitlines()]


def states(world: World) -> dict[str, str]:
    """The state of each instance, as `status -o json` says it."""
    reply = json.loads(shown(world, "status", "-o", "json"))
    return {one["node"].rpartition("/")[2]: one["state"] for one in reply["sidecars"]}


def wait_until_synced(world: World) -> None:
    wait_for(lambda: set(states(world).values()) == {"SYNCED"}, "all in sync")


def wait_for_state(world: World, instance: str, state: str) -> None:
    wait_for(lambda: states(world)[instance] == state, f"{instance} is {state}")


@contextmanager
def intercepting(laptop: Laptop, workload: str, target: int, *flags: str) -> Iterator[Any]:
    """An intercept for as long as the context lasts."""
    found = laptop.json(
        "intercept", workload, "--port", f"{target}:web" if workload != "mixed" else str(target), *flags
    )
    wait_for(lambda: set(states(laptop.world).values()) <= {"SYNCED", "NOT CONNECTED"}, "whoever is there in sync")
    try:
        yield found["intercept"]
    finally:
        laptop.byway("leave", workload)


def test_every_sidecar_is_synced(world: World) -> None:
    rows = table(world, "status", "--exit-code")
    assert [row[:2] for row in rows[1:]] == [
        ["dev/deployment/frail/frail-1", "SYNCED"],
        ["dev/deployment/mixed/mixed-1", "SYNCED"],
        ["dev/deployment/orders/orders-1", "SYNCED"],
        ["dev/deployment/orders/orders-2", "SYNCED"],
    ]
    for row in rows[1:]:
        assert all(cell.startswith("SYNCED (") for cell in row[2:6])
        assert row[7:] == ["1.40.0", "delta, aggregated"]


def test_of_one_sidecar_the_acknowledged_version_is_the_newest(world: World) -> None:
    reply = json.loads(shown(world, "status", "mixed-1", "-o", "json"))
    types = reply["sidecars"][0]["types"]
    assert [one["type"] for one in types] == ["listeners", "routes", "clusters", "endpoints"]
    for one in types:
        assert one["version"] == one["acked_version"] != ""
        assert one["acknowledged"] == one["intended"] > 0
        assert one["behind"] == []


@pytest.mark.parametrize("instance", ["orders-1", "mixed-1"])
def test_what_is_meant_and_what_envoy_has_are_shown_alike(world: World, target: int, instance: str) -> None:
    workload = instance.partition("-")[0]
    flags = ("--http-header", "auto", "--http-header", "x-user~=a|b", "--http-path-prefix", "/api")
    with intercepting(world.laptop("alice"), workload, target, *flags) as intercept:
        for kind in ("listeners", "routes", "clusters", "endpoints"):
            meant = shown(world, "get", kind, instance)
            assert meant == shown(world, "get", kind, instance, "--live")
            assert intercept["id"] in meant
        routes = [one[3] for one in table(world, "get", "routes", instance, intercept["id"])[1:]]
        key = world.laptop("alice").json("status")["key"]["value"]
        assert routes == [
            f"path^=/api; header x-user~=a|b; header x-telepresence-id={key}",
            f"path^=/api; header x-user~=a|b; baggage x-telepresence-id={key}; no header x-telepresence-id",
        ]


@pytest.mark.parametrize("kind", ["listeners", "routes", "clusters"])
def test_the_json_of_both_sides_agrees(world: World, target: int, kind: str) -> None:
    with intercepting(world.laptop("alice"), "orders", target, "--http-header", "auto"):
        meant, live = (
            json.loads(shown(world, "get", kind, "orders-1", *side, "-o", "json")) for side in ((), ("--live",))
        )
        assert [one["resource"] for one in meant["resources"]] == [one["resource"] for one in live["resources"]]
        assert [one["version"] for one in meant["resources"]] == [one["version"] for one in live["resources"]]
        assert (meant["source"], live["source"]) == ("manager", "envoy")


def test_a_killed_sidecar_is_not_connected_until_it_is_back(world: World) -> None:
    world.processes.kill("orders-2-sidecar")
    wait_for_state(world, "orders-2", "NOT CONNECTED")
    done = xdsctl(world, "status", "orders", "--exit-code")
    assert done.code == 5
    assert re.search(r"^dev/deployment/orders/orders-2  NOT CONNECTED  -", done.out, re.MULTILINE)
    code, text = failing(world, "get", "routes", "orders-2", "--live")
    assert code == 3
    assert "connection refused; is the sidecar running" in text
    assert table(world, "get", "routes", "orders-2") == table(world, "get", "routes", "orders-1")
    world.start_sidecar(ORDERS, ORDERS.instances[1])


def test_a_stopped_sidecar_is_stale_until_it_goes_on(world: World, target: int) -> None:
    alice = world.laptop("alice")
    world.processes.signal("orders-2-sidecar", signal.SIGSTOP)
    command = [*BYWAY, "intercept", "orders", "--port", f"{target}:web", "--http-header", "auto"]
    with subprocess.Popen(command, env=alice.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as creating:
        try:
            wait_for_state(world, "orders-2", "STALE")
            wait_for_state(world, "orders-1", "SYNCED")
            assert xdsctl(world, "status", "orders-2", "--exit-code").code == 5
            behind = "Not acknowledged yet of routes:\n  dev/deployment/orders/8080\n"
            wait_for(lambda: behind in shown(world, "status", "orders-2"), "the names of what is behind")
        finally:
            world.processes.signal("orders-2-sidecar", signal.SIGCONT)
        assert creating.wait(20) == 0
    wait_until_synced(world)


def test_after_a_refused_intercept_its_sidecar_is_in_sync_again(world: World, target: int) -> None:
    refused = world.laptop("alice").byway(
        "intercept", "frail", "--port", f"{target}:web", "--http-header", f"x-user~={LARGE}", check=False
    )
    assert refused.returncode != 0
    assert TOO_LARGE.search(refused.stdout + refused.stderr)
    wait_for_state(world, "frail-1", "SYNCED")
    assert [row[2] for row in table(world, "get", "routes", "frail-1", "--live")[1:]] == ["app"]


def test_a_newcomer_that_refuses_what_others_run_is_nacked_until_nobody_else_is_left(world: World, target: int) -> None:
    world.processes.kill("orders-2-sidecar")
    wait_for_state(world, "orders-2", "NOT CONNECTED")
    with intercepting(world.laptop("alice"), "orders", target, "--http-header", f"x-user~={LARGE}") as intercept:
        start_frail_sidecar(world, ORDERS, ORDERS.instances[1])
        wait_for_state(world, "orders-2", "NACKED")
        assert TOO_LARGE.search(shown(world, "status", "orders-2"))
        assert "is rejected" not in shown(world, "status", "orders")
        sidecars = world.laptop("alice").json("explain", "orders", "/")["sidecars"]
        said = {one["instance"]: one["detail"] for one in sidecars}
        assert said["orders-1"] == ""
        assert said["orders-2"].startswith("refuses what the others run: ")
        world.processes.kill("orders-1-sidecar")
        wait_for(lambda: "is rejected" in shown(world, "status", "orders"), "the rejection")
        words = re.search(
            rf"^Intercept {intercept['id']} \(orders\) of alice@alice-laptop on dev/deployment/orders is rejected:\n"
            r"  (.+)$",
            shown(world, "status", "orders-2"),
            re.MULTILINE,
        )
        assert words
        assert TOO_LARGE.search(words[1])
        assert "is rejected" not in shown(world, "status", "mixed")
        world.start_sidecar(ORDERS, ORDERS.instances[0])
        wait_until_synced(world)
    world.processes.stop("orders-2-sidecar")
    world.start_sidecar(ORDERS, ORDERS.instances[1])


def test_what_a_sidecar_goes_on_refusing_is_nacked_with_envoys_words(world: World) -> None:
    world.processes.kill("mixed-1-sidecar")
    port = MIXED.instances[0].sidecar
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        world.start_sidecar(MIXED, MIXED.instances[0])
        wait_for_state(world, "mixed-1", "NACKED")
        done = xdsctl(world, "status", "mixed-1", "--exit-code")
        assert done.code == 5
        assert re.search(
            rf"^dev/deployment/mixed/mixed-1 refused listeners:\n  .*cannot bind '127.0.0.1:{port}'",
            done.out,
            re.MULTILINE,
        )
        assert states(world)["orders-1"] == "SYNCED"
    world.processes.stop("mixed-1-sidecar")
    world.start_sidecar(MIXED, MIXED.instances[0])


def test_without_the_administrators_token_nothing_is_told(world: World) -> None:
    users = world.state / "manager" / "users" / "alice.token"
    wrong = world.root / "wrong.token"
    wrong.write_text("guess\n")
    for path in (users, wrong):
        for command in (["status"], ["get", "routes", "orders-1"]):
            code, text = failing(world, *command, "--admin-token-file", str(path))
            assert code == 1
            assert text == (
                f"Error: the manager at {world.listen} refuses the token: this needs the administrator's token; "
                "check --admin-token-file; it is manager/admin.token in the manager's state directory\n"
            )
    code, text = failing(world, "status", "--admin-token-file", str(world.root / "none"))
    assert code == 1
    assert "can't read the administrator's token" in text


def test_from_another_directory_manager_and_token_are_named(world: World) -> None:
    folder = world.root / "elsewhere"
    elsewhere = ["--state-dir", str(folder)]
    named = [*elsewhere, "--manager", world.listen, "--admin-token-file", str(world.admin_token)]
    assert "orders-1" in shown(world, "status", *named)
    code, text = failing(world, "get", "routes", "orders-1", "--live", *named)
    path = StateDir(folder).admin_socket("dev/deployment/orders", "orders-1")
    assert code == 1
    assert text == (
        f"Error: --live: there is no admin socket {path}; "
        "ask on the machine where the sidecar runs, with the --state-dir that it was started with\n"
    )
    assert failing(world, "status", *elsewhere)[0] == 3


def test_live_needs_no_manager(world: World) -> None:
    nowhere = ["--manager", "127.0.0.1:1", "--admin-token-file", "/nonexistent"]
    assert table(world, "get", "routes", "orders-1", "--live", *nowhere)[1][2] == "app"


def test_an_unknown_node_is_refused_with_the_known_ones(world: World) -> None:
    for command in (["status", "nobody"], ["get", "routes", "nobody"], ["get", "routes", "nobody", "--live"]):
        code, text = failing(world, *command)
        assert code == 1
        assert text.startswith("Error: there is no node 'nobody'; there are dev/deployment/frail/frail-1, ")


def test_nodes_and_resources_are_completed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYWAY_STATE", str(world.state))
    assert completed("xdsctl get routes o") == ["orders-1", "orders-2"]
    assert completed("xdsctl get --live lds dev/deployment/m") == ["dev/deployment/mixed/mixed-1"]
    assert completed("xdsctl status dev/deployment/f") == ["dev/deployment/frail/frail-1"]
    assert completed("xdsctl get clusters orders-1 ") == ["dev/deployment/orders/8080/app"]


def test_both_versions_are_told(world: World) -> None:
    found = json.loads(shown(world, "version", "-o", "json"))
    assert found["client"] == found["manager"] != ""


def identity(world: World, instance: str) -> list[str]:
    """What makes us a sidecar of the manager."""
    node = f"dev/deployment/{instance.partition('-')[0]}/{instance}"
    return ["--node", node, "--token-file", str(world.state / "sidecars" / node / "token")]


@pytest.mark.parametrize("transport", [["--delta"], ["--sotw"], ["--sotw", "--per-type"], ["--per-type"]])
def test_what_a_sidecar_is_meant_to_have_can_be_fetched_as_that_sidecar(world: World, transport: list[str]) -> None:
    result = without_state("fetch", world.listen, *identity(world, "orders-1"), *transport, "-o", "json")
    assert (result.code, result.err) == (0, "")
    for one in json.loads(result.out)["types"]:
        meant = json.loads(shown(world, "get", one["type"], "orders-1", "-o", "json"))["resources"]
        assert [each["resource"] for each in one["resources"]] == [each["resource"] for each in meant]


def test_another_node_or_no_token_is_refused_to_who_fetches(world: World) -> None:
    other = ["--node", "dev/deployment/orders/orders-2", *identity(world, "orders-1")[2:]]
    for arguments in (other, identity(world, "orders-1")[:2]):
        result = without_state("fetch", world.listen, *arguments)
        assert result.code == 1
        assert f"Error: {world.listen} refuses us: " in result.err


def test_envoy_takes_what_the_manager_means_a_sidecar_to_have(world: World, target: int) -> None:
    with intercepting(world.laptop("alice"), "orders", target, "--http-header", "auto"):
        found = json.loads(shown(world, "validate", "--node", "orders-1", "-o", "json"))
    (node,) = found["nodes"]
    assert (node["node"], node["ok"], node["warnings"]) == ("dev/deployment/orders/orders-1", True, [])


def test_simulated_sidecars_are_the_instances_whose_tokens_they_show(world: World) -> None:
    tokens = str(world.state / "sidecars")
    arguments = ["--workload", "dev/deployment/orders", "--workload", "dev/deployment/mixed", "--tokens", tokens]
    result = without_state("fleet", world.listen, *arguments, "-n", "9", "--duration", "0.5", "-o", "json")
    found = json.loads(result.out)
    assert (result.code, found["in_sync"], found["refused"], found["ends"]) == (0, 9, 0, {})
    wait_until_synced(world)


def test_the_manager_keeps_every_rule_that_can_be_judged_without_changes(world: World) -> None:
    result = without_state(
        "conformance", world.listen, *identity(world, "mixed-1"), "--quiet", "0.1", "--timeout", "30", "-o", "json"
    )
    found = json.loads(result.out)
    broken = [one for one in found["findings"] if one["verdict"] in {"fail", "warn"}]
    assert (result.code, broken) == (0, [])
    passed = {one["rule"] for one in found["findings"] if one["verdict"] == "pass"}
    assert {"absent-reported", "subscribed-again", "nack-not-resent", "resume-removes", "stale-nonce-ignored"} <= passed
    wait_until_synced(world)
