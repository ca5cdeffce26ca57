"""Creating, following, leaving and losing intercepts, from the command line to a manager and back."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import stat
import sys

import grpc
import pytest

from tests.client.fake import Failure, FakeManager
from tests.client.laptop import Laptop
from xds.api.byway.manager.v1 import Conflict, MatchFlags, Target


async def test_an_intercept_says_what_it_takes_who_answers_and_how_to_try_it(
    connected: Laptop, manager: FakeManager
) -> None:
    result = await connected.byway("intercept", "orders", "--port", "8080:http", "--http-header", "auto")
    assert (result.code, result.err) == (0, "")
    assert result.out == (
        "Intercepting dev/deployment/orders as orders (personal, i-1)\n"
        "  Port:        8080 (http) → localhost:8080\n"
        "  Match:       --http-header=auto\n"
        "  Answered by: laptop\n"
        "  When down:   the cluster answers\n"
        "  Sidecars:    2/2 confirmed\n"
        "Try it:\n"
        "  curl -H 'x-telepresence-id: alice-1f2e3d' http://orders.dev:8080/\n"
    )


async def test_every_flag_reaches_the_manager_as_it_was_typed(connected: Laptop, manager: FakeManager) -> None:
    words = (
        "intercept --port 8080:http mine -p 9000:9090 --workload orders -n dev --address 127.0.0.2 --http-header auto "
        "--http-header x-a=b=c --http-path-prefix /api/ --http-method POST --http-query q=1 --baggage k=v "
        "--when-down fail --shared --replace --timeout 7"
    )
    assert (await connected.byway(*shlex.split(words))).code == 0
    (request,) = manager.created
    assert (request.name, request.workload, request.namespace) == ("mine", "orders", "dev")
    assert [(flag.target, flag.remote) for flag in request.ports] == [
        (Target(host="127.0.0.2", port=8080), "http"),
        (Target(host="127.0.0.2", port=9000), "9090"),
    ]
    assert request.match == MatchFlags(
        http_header=["auto", "x-a=b=c"],
        baggage=["k=v"],
        http_path_prefix="/api/",
        http_method="POST",
        http_query=["q=1"],
    )
    assert (request.when_down, request.shared, request.replace, request.timeout_seconds) == ("fail", True, True, 7.0)


async def test_the_summary_shows_the_confirmations_of_the_creation_not_of_a_later_push(
    connected: Laptop, manager: FakeManager
) -> None:
    manager.pushes_again = True
    result = await connected.byway("intercept", "orders", "-p", "8080")
    assert "  Sidecars:    2/2 confirmed\n" in result.out


async def test_a_conflict_comes_with_its_own_exit_code_and_details(connected: Laptop, manager: FakeManager) -> None:
    conflict = Conflict(
        intercept_id="i-9f", owner="bob@tower", port=8080, idle_seconds=3.0, witness="GET /", proven=True
    )
    text = "in conflict with i-9f of bob@tower"
    trailing = (("byway-conflict-bin", bytes(conflict)),)
    manager.fail["CreateIntercept"] = Failure(grpc.StatusCode.FAILED_PRECONDITION, text, trailing)
    result = await connected.byway("intercept", "orders", "-p", "8080")
    assert (result.code, result.out, result.err) == (4, "", f"Error: {text}\n")
    data = await connected.byway("intercept", "orders", "-p", "8080", "-o", "json")
    assert (data.code, data.err) == (4, "")
    assert data.json["error"]["code"] == "failed_precondition"
    assert data.json["error"]["conflict"] == {
        "intercept_id": "i-9f",
        "owner": "bob@tower",
        "yours": False,
        "port": 8080,
        "idle_seconds": 3.0,
        "witness": "GET /",
        "proven": True,
    }


async def test_a_status_of_the_manager_becomes_an_exit_code(connected: Laptop, manager: FakeManager) -> None:
    expected = {
        grpc.StatusCode.INVALID_ARGUMENT: 2,
        grpc.StatusCode.NOT_FOUND: 2,
        grpc.StatusCode.ALREADY_EXISTS: 4,
        grpc.StatusCode.DEADLINE_EXCEEDED: 5,
        grpc.StatusCode.UNIMPLEMENTED: 2,
        grpc.StatusCode.UNAVAILABLE: 3,
        grpc.StatusCode.ABORTED: 1,
        grpc.StatusCode.INTERNAL: 1,
    }
    seen = {}
    for code in expected:
        manager.fail["CreateIntercept"] = Failure(code, "the manager's own sentence")
        result = await connected.byway("intercept", "orders", "-p", "8080")
        assert "the manager's own sentence" in result.err
        seen[code] = result.code
    assert seen == expected


async def test_sidecars_that_do_not_confirm_in_time_have_their_own_exit_code(
    connected: Laptop, manager: FakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.fail["CreateIntercept"] = Failure(grpc.StatusCode.DEADLINE_EXCEEDED, "")
    result = await connected.byway("intercept", "orders", "-p", "8080", "--timeout", "2")
    assert result.code == 5
    assert "not every sidecar of orders confirmed within 2 s" in result.err


async def test_a_command_runs_with_the_environment_and_ends_the_intercept(
    connected: Laptop, manager: FakeManager
) -> None:
    manager.environment["PATH"] = "/in/the/container"
    script = (
        "import os, sys\n"
        "print(os.environ['PLACE'], os.environ['BYWAY_INTERCEPT_ID'], sys.argv[1])\n"
        "sys.exit(7 if os.environ['PATH'] == sys.argv[2] else 1)"
    )
    result = await connected.byway(
        "intercept", "orders", "-p", "8080", "--", sys.executable, "-c", script, "--port", os.environ["PATH"]
    )
    assert result.code == 7
    assert "the world i-1 --port\n" in result.out
    assert result.err == "Left orders\n"
    assert manager.session.intercepts == {}


async def test_a_command_that_is_killed_gives_the_shells_exit_code(connected: Laptop, manager: FakeManager) -> None:
    result = await connected.byway("intercept", "orders", "-p", "8080", "--", "sh", "-c", "kill -KILL $$")
    assert result.code == 128 + signal.SIGKILL
    assert manager.session.intercepts == {}


async def test_a_command_that_does_not_exist_creates_nothing(connected: Laptop, manager: FakeManager) -> None:
    result = await connected.byway("intercept", "orders", "-p", "8080", "--", "no-such-command")
    assert result.code == 2
    assert manager.created == []


async def test_environment_files_are_private_and_a_shell_reads_them(connected: Laptop, manager: FakeManager) -> None:
    manager.environment |= {"NASTY": "$(touch pwned) `id` 'quoted' \"x\" \\", "PLAIN": "a/b:c,d=e"}
    lines, data = connected.state.root / "env", connected.state.root / "env.json"
    result = await connected.byway(
        "intercept", "orders", "-p", "8080", "--env-file", str(lines), "--env-json", str(data)
    )
    assert result.code == 0
    assert {stat.S_IMODE(path.stat().st_mode) for path in (lines, data)} == {0o600}
    assert json.loads(data.read_text()) == {**manager.environment, "BYWAY_INTERCEPT_ID": "i-1"}
    assert "PLAIN=a/b:c,d=e\n" in lines.read_text()
    script = f"set -a; . {lines}; {sys.executable} -c 'import os, json; print(json.dumps(dict(os.environ)))'"
    shell = await asyncio.create_subprocess_exec("sh", "-c", script, stdout=asyncio.subprocess.PIPE)
    seen = json.loads((await shell.communicate())[0])
    assert seen["NASTY"] == manager.environment["NASTY"]
    assert "quoted for the shell" in result.err
    assert "NASTY, PLACE" in result.err
    assert "left out" in result.err
    assert "KEY" in result.err


async def test_a_file_that_cannot_be_written_is_found_out_before_anything_is_created(
    connected: Laptop, manager: FakeManager
) -> None:
    result = await connected.byway("intercept", "orders", "-p", "8080", "--env-file", "/no/such/folder/env")
    assert result.code == 2
    assert "--env-file: there is no directory /no/such/folder" in result.err
    assert manager.created == []


async def test_json_output_is_one_document(connected: Laptop, manager: FakeManager) -> None:
    data = (await connected.byway("intercept", "orders", "-p", "8080", "-o", "json")).json
    assert data["intercept"]["disposition"] == "active"
    assert [each["state"] for each in data["intercept"]["sidecars"]] == ["acked", "acked"]
    assert data["curl"] == "curl -H 'x-telepresence-id: alice-1f2e3d' http://orders.dev:8080/"


async def test_leaving_one_that_is_not_there_leaves_the_others(connected: Laptop, manager: FakeManager) -> None:
    await connected.byway("intercept", "orders", "-p", "8080")
    result = await connected.byway("leave", "nope", "orders")
    assert result.code == 1
    assert result.out == "Left orders\n"
    assert "'nope'; see `byway list --intercepts`" in result.err
    assert manager.session.intercepts == {}


async def test_revoke_goes_straight_to_the_manager_with_the_admins_token(laptop: Laptop, manager: FakeManager) -> None:
    token = laptop.state.root / "admin"
    token.write_text("secret-of-admin\n")
    result = await laptop.byway("revoke", "i-9f", "--reason", "release", "--admin-token-file", str(token))
    assert (result.code, result.out) == (0, "Revoked i-9f: cart of bob@tower on dev/deployment/cart\n")
    (request,) = manager.revoked
    assert (request.intercept_id, request.reason) == ("i-9f", "release")


async def test_revoke_without_an_admins_token_asks_through_the_session(connected: Laptop, manager: FakeManager) -> None:
    result = await connected.byway("revoke", "i-9f")
    assert result.code == 1
    assert result.err == "Error: this needs the administrator's token\n"


async def test_completion_knows_workloads_and_intercepts_and_is_silent_without_a_daemon(
    connected: Laptop, manager: FakeManager
) -> None:
    async def complete(words: str) -> list[str]:
        connected.environment |= {
            "_BYWAY_COMPLETE": "bash_complete",
            "COMP_WORDS": f"byway {words}",
            "COMP_CWORD": str(len(words.split(" "))),
        }
        result = await connected.byway()
        assert result.err == ""
        return result.out.split()

    assert await complete("intercept ord") == ["plain,orders"]
    assert await complete("intercept dev/deployment/c") == ["plain,dev/deployment/cart"]
    assert await complete("con") == ["plain,connect", "plain,config"]
    del connected.environment["_BYWAY_COMPLETE"]
    await connected.byway("intercept", "orders", "-p", "8080")
    assert await complete("leave o") == ["plain,orders"]
    del connected.environment["_BYWAY_COMPLETE"]
    await connected.byway("quit")
    assert await complete("leave o") == []
