"""The flags of `byway intercept` that say where requests go and what happens beside: ports, names, the environment, a
command to run, whole ports.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.processes import wait_for
from demo.world import Laptop, free_port
from tests.e2e.flagworld import ENVIRONMENT, FlagWorld, Port, flag_world, intercepts, server, start
from tests.e2e.pipe import Server

MINE = ("--http-header", "x-user=alice")
HEADER = "x-user: alice"
SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


@pytest.fixture(scope="module")
def world(short_path: Path) -> Iterator[FlagWorld]:
    with flag_world(short_path / "flags", "alice", "bob") as found:
        yield found


@pytest.fixture(scope="module")
def targets() -> Iterator[list[Server]]:
    those = [server("laptop-1"), server("laptop-2")]
    yield those
    for one in those:
        one.close()


@pytest.fixture
def alice(world: FlagWorld) -> Iterator[Laptop]:
    """Her laptop; whatever she intercepts ends with the test."""
    laptop = world.laptop("alice")
    yield laptop
    left = [one["name"] for one in intercepts(laptop) if one["mine"]]
    if left:
        laptop.byway("leave", *left)


@pytest.fixture(scope="module")
def web(world: FlagWorld) -> Port:
    return world.ports["dev/shop"][0]


@pytest.fixture(scope="module")
def admin(world: FlagWorld) -> Port:
    return world.ports["dev/shop"][1]


def intercept(laptop: Laptop, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = laptop.json("intercept", *words)["intercept"]
    return found


def served(one: dict[str, Any], who: str) -> tuple[str, str]:
    return who, f"{one['id']}; served-by=laptop"


# --port, --name, --workload, --namespace, --address


@pytest.mark.parametrize("remote", ["8080", "web", "8080/tcp"])
def test_a_port_of_the_workload_goes_by_number_or_name(
    alice: Laptop, web: Port, admin: Port, targets: list[Server], remote: str
) -> None:
    one = intercept(alice, "shop", "--port", f"{targets[0].port}:{remote}", *MINE)
    assert [(port["port"], port["port_name"]) for port in one["ports"]] == [(8080, "web")]
    assert web.ask(HEADER) == served(one, "laptop-1")
    assert admin.ask(HEADER) == ("app-admin", "")


def test_several_ports_have_a_target_each(alice: Laptop, web: Port, admin: Port, targets: list[Server]) -> None:
    first, second = (target.port for target in targets)
    one = intercept(alice, "shop", "-p", f"{first}:admin", "-p", f"{second}:8080", *MINE)
    assert {(port["port"], port["target"]) for port in one["ports"]} == {
        (8081, f"localhost:{first}"),
        (8080, f"localhost:{second}"),
    }
    assert (admin.ask(HEADER), web.ask(HEADER)) == (served(one, "laptop-1"), served(one, "laptop-2"))
    assert (admin.ask(), web.ask()) == (("app-admin", ""), ("app", ""))


def test_the_only_port_needs_no_name_and_the_namespace_tells_workloads_apart(
    world: FlagWorld, alice: Laptop, targets: list[Server]
) -> None:
    in_dev, in_staging = (world.ports[f"{namespace}/only"][0] for namespace in ("dev", "staging"))
    one = intercept(alice, "only", "-n", "staging", "-p", str(targets[0].port), *MINE)
    assert (one["workload"], one["name"]) == ("staging/deployment/only", "only")
    assert (in_staging.ask(HEADER), in_dev.ask(HEADER)) == (served(one, "laptop-1"), ("only-dev", ""))
    other = intercept(alice, "dev/deployment/only", "--name", "in-dev", "-p", str(targets[1].port), *MINE)
    assert (other["workload"], other["name"]) == ("dev/deployment/only", "in-dev")
    assert in_dev.ask(HEADER) == served(other, "laptop-2")


def test_the_word_is_a_name_where_the_workload_is_a_flag(alice: Laptop, web: Port, targets: list[Server]) -> None:
    one = intercept(alice, "mine", "--workload", "deployment/shop", "-p", f"{targets[0].port}:web", *MINE)
    assert (one["name"], one["workload"]) == ("mine", "dev/deployment/shop")
    assert web.ask(HEADER) == served(one, "laptop-1")
    done = alice.byway("intercept", "mine", "-w", "only", "-n", "dev", "-p", "1", "--http-header", "x=1", check=False)
    assert done.returncode == 4
    assert "'mine'" in done.stderr
    assert "--name" in done.stderr


def test_the_process_may_listen_on_another_address(alice: Laptop, web: Port) -> None:
    elsewhere = server("elsewhere", "127.0.0.2")
    one = intercept(alice, "shop", "-p", f"{elsewhere.port}:web", "--address", "127.0.0.2", *MINE)
    assert one["ports"][0]["target"] == f"127.0.0.2:{elsewhere.port}"
    assert web.ask(HEADER) == served(one, "elsewhere")
    elsewhere.close()


# --when-down


@pytest.mark.parametrize("flags", [(), ("--when-down", "cluster")])
def test_the_cluster_answers_while_nothing_listens_on_the_laptop(
    alice: Laptop, web: Port, flags: tuple[str, ...]
) -> None:
    one = intercept(alice, "shop", "-p", f"{free_port()}:web", *MINE, *flags)
    assert (one["when_down"], one["laptop_answers"]) == ("cluster", False)
    assert web.ask(HEADER) == ("app", f"{one['id']}; served-by=cluster")


def test_nobody_answers_while_nothing_listens_where_the_owner_wants_it_so(alice: Laptop, web: Port) -> None:
    one = intercept(alice, "shop", "-p", f"{free_port()}:web", "--when-down", "fail", *MINE)
    body, header = web.ask(HEADER)
    said = json.loads(body)
    assert header == f"{one['id']}; served-by=none"
    assert (said["intercept"], said["name"], said["owner"]) == (one["id"], "shop", "alice@alice-laptop")
    assert web.ask() == ("app", "")


# --env-file, --env-json


def test_the_environment_goes_to_files_for_the_users_eyes_alone(
    alice: Laptop, targets: list[Server], tmp_path: Path
) -> None:
    lines, data = tmp_path / "shop.env", tmp_path / "shop.json"
    lines.write_text("old")
    lines.chmod(0o644)
    files = ("--env-file", str(lines), "--env-json", str(data))
    done = alice.byway("intercept", "shop", "-p", f"{targets[0].port}:web", *MINE, *files)
    ((found,),) = ([one for one in intercepts(alice) if one["mine"]],)
    wanted = {**ENVIRONMENT, "BYWAY_INTERCEPT_ID": found["id"]}
    assert json.loads(data.read_text()) == wanted
    assert [stat.S_IMODE(path.stat().st_mode) for path in (lines, data)] == [0o600, 0o600]
    assert f"DATABASE_URL='{ENVIRONMENT['DATABASE_URL']}'\n" in lines.read_text()
    assert f"{lines}: quoted for the shell" in done.stderr
    assert f"{lines}: left out" in done.stderr
    del wanted["LINES"]
    shell = f"set -a; . {shlex.quote(str(lines))}; {sys.executable} -c {shlex.quote(SHOW)}"
    read = json.loads(subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout)
    assert {name: read[name] for name in wanted} == wanted


# -- COMMAND


def test_a_command_has_the_environment_and_the_intercept_ends_with_it(
    alice: Laptop, web: Port, targets: list[Server]
) -> None:
    words = ("intercept", "shop", "-p", f"{targets[0].port}:web", *MINE, "--", sys.executable, "-c", SHOW)
    done = alice.byway(*words)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("{")]
    found = json.loads(line)
    assert {name: found[name] for name in ENVIRONMENT} == ENVIRONMENT
    assert found["BYWAY_INTERCEPT_ID"].startswith("i-")
    assert found["PATH"] == os.environ["PATH"]
    assert intercepts(alice) == []
    assert web.ask(HEADER) == ("app", "")


def test_requests_reach_the_laptop_while_the_command_runs_and_its_exit_code_is_ours(
    alice: Laptop, web: Port, targets: list[Server]
) -> None:
    words = ("intercept", "shop", "-p", f"{targets[0].port}:web", *MINE, "--", "sh", "-c", "read line; exit 7")
    command = start(alice, *words)
    wait_for(lambda: web.ask(HEADER)[0] == "laptop-1", "the laptop answers")
    command.communicate("go\n", timeout=20)
    assert command.returncode == 7
    assert web.ask(HEADER) == ("app", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_command_and_then_the_intercept_ends(
    alice: Laptop, web: Port, targets: list[Server], tmp_path: Path, number: signal.Signals
) -> None:
    heard = tmp_path / "heard"
    script = f"trap 'echo heard > {shlex.quote(str(heard))}; exit 3' INT TERM; echo ready; while :; do sleep 0.05; done"
    words = ("intercept", "shop", "-p", f"{targets[0].port}:web", *MINE, "--", "sh", "-c", script)
    command = start(alice, *words)
    assert command.stdout is not None
    while (line := command.stdout.readline()) != "ready\n":
        assert line, command.communicate()
    command.send_signal(number)
    command.communicate(timeout=20)
    assert command.returncode == 3
    assert heard.read_text() == "heard\n"
    assert intercepts(alice) == []
    assert web.ask(HEADER) == ("app", "")


# --output


def test_the_intercept_is_told_in_every_format(alice: Laptop, targets: list[Server]) -> None:
    words = ("intercept", "shop", "-p", f"{targets[0].port}:web", *MINE)
    done = alice.byway(*words, "-o", "yaml")
    one = yaml.safe_load(done.stdout)["intercept"]
    assert one["match_flags"] == list(MINE)
    assert done.stderr == ""
    text = "Intercepting dev/deployment/shop as other (personal, {id})\n  Port:        8080 (web) → localhost:"
    for number, output in enumerate(("table", "wide")):
        flags = ("--name", "other", "--http-header", f"x-user=o{number}")
        done = alice.byway("intercept", "shop", "-p", f"{targets[0].port}:web", *flags, "-o", output)
        (other,) = [found for found in intercepts(alice) if found["name"] == "other"]
        assert done.stdout.startswith(text.format(id=other["id"]))
        alice.byway("leave", "other")


# whole ports


def test_without_conditions_all_requests_of_the_port_are_taken(
    alice: Laptop, web: Port, admin: Port, targets: list[Server]
) -> None:
    one = intercept(alice, "shop", "-p", f"{targets[0].port}:web")
    assert (one["kind"], one["shared"], one["match_flags"]) == ("global", False, [])
    assert [web.ask(), web.ask("x-user: bob", path="/any", method="DELETE")] == [served(one, "laptop-1")] * 2
    assert admin.ask() == ("app-admin", "")


def test_a_global_intercept_excludes_personal_ones_on_its_port(
    world: FlagWorld, alice: Laptop, web: Port, admin: Port, targets: list[Server]
) -> None:
    bob = world.laptop("bob")
    one = intercept(alice, "shop", "-p", f"{targets[0].port}:web")
    refused = bob.byway("intercept", "shop", "-p", f"{targets[1].port}:web", "--http-header", "auto", check=False)
    assert refused.returncode == 4
    assert one["id"] in refused.stderr
    assert "alice@alice-laptop" in refused.stderr
    beside = intercept(bob, "shop", "-p", f"{targets[1].port}:admin", "--http-header", "x-user=bob")
    assert (web.ask("x-user: bob"), admin.ask("x-user: bob")) == (served(one, "laptop-1"), served(beside, "laptop-2"))
    bob.byway("leave", "shop")


def test_a_shared_global_one_takes_what_no_personal_one_takes(
    world: FlagWorld, alice: Laptop, web: Port, targets: list[Server]
) -> None:
    bob = world.laptop("bob")
    rest = intercept(alice, "shop", "-p", f"{targets[0].port}:web", "--shared")
    assert (rest["kind"], rest["shared"]) == ("global", True)
    bobs = intercept(bob, "shop", "-p", f"{targets[1].port}:web", "--http-header", "x-user=bob")
    paths = intercept(
        bob, "paths", "-w", "shop", "-p", f"{targets[1].port}:web", "--http-header", "all", "--http-path-equal", "/p"
    )
    assert web.ask() == served(rest, "laptop-1")
    assert web.ask("x-user: carol", path="/x") == served(rest, "laptop-1")
    assert web.ask("x-user: bob") == served(bobs, "laptop-2")
    assert web.ask(path="/p") == served(paths, "laptop-2")
    refused = bob.byway("intercept", "more", "-w", "shop", "-p", f"{targets[1].port}:web", "--shared", check=False)
    assert refused.returncode == 4
    bob.byway("leave", "shop", "paths")
    assert web.ask("x-user: bob") == served(rest, "laptop-1")
