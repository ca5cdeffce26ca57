"""Command lines that are wrong, and what is said about them; nothing here needs a daemon."""

from __future__ import annotations

import asyncio
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.client.laptop import Laptop
from xds.client.cli import envfiles
from xds.client.cli.app import ABSENT, cli, run
from xds.client.cli.portflag import PortFlag, parse_port, parse_ports
from xds.client.cli.telepresence import FLAGS
from xds.terminal.ending import wanted_format
from xds.terminal.failure import FailureError


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYWAY_STATE", str(tmp_path))
    monkeypatch.setenv("NO_COLOR", "1")


def failing(capsys: pytest.CaptureFixture[str], words: str) -> tuple[int, str]:
    """Exit code and what was printed to stderr, with nothing on stdout."""
    code = run(shlex.split(words))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.endswith("\n")
    return code, printed.err.removesuffix("\n")


@pytest.mark.parametrize(("command", "flag"), [(command, flag) for command, flags in FLAGS.items() for flag in flags])
@pytest.mark.parametrize("shape", ["{}", "{}=x", "{} x"])
def test_telepresences_flags_are_known_by_name(
    capsys: pytest.CaptureFixture[str], command: str, flag: str, shape: str
) -> None:
    words = "orders --port 8080" if command == "intercept" else ""
    code, said = failing(capsys, f"{command} {words} {shape.format(flag)}")
    assert code == 2
    assert said.startswith(f"Error: byway {command} {flag}: not yet")


@pytest.mark.parametrize(("command", "flags"), FLAGS.items())
def test_no_flag_that_byway_has_is_called_absent(command: str, flags: dict[str, str]) -> None:
    known = cli.get_command(click.Context(cli), command)
    assert known is not None
    assert not {word for option in known.params for word in option.opts} & flags.keys()


@pytest.mark.parametrize("command", sorted(ABSENT))
def test_telepresences_commands_are_known_by_name(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, said = failing(capsys, f"{command} something --flag")
    assert code == 2
    assert said == f"Error: byway {command}: not yet; {ABSENT[command]}"


def test_a_flag_that_asks_for_what_is_done_anyway_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = failing(capsys, "intercept orders --mount=false --port 8080")
    assert (code, said) == (3, "Error: not connected; run `byway connect`")


@pytest.mark.parametrize("command", ["status", "list", "extend", "leave x", "intercept orders -p 80", "revoke i-1"])
def test_without_a_daemon_every_command_says_how_to_get_one(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert failing(capsys, command) == (3, "Error: not connected; run `byway connect`")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("lst", "there is no command 'lst'; did you mean `byway list`?"),
        ("frobnicate", "there is no command 'frobnicate'; see `byway --help`"),
        ("list --wait", "no such option '--wait'; see `byway list --help`"),
        ("intercept", "which workload? byway intercept WORKLOAD --port LOCAL[:REMOTE]; see `byway list`"),
        ("intercept 8080", "'8080' is not a workload; for a port say --port 8080"),
        ("intercept orders 8080:http", "'8080:http' is one word too many; for a port say --port 8080:http"),
        ("intercept orders x=1", "'x=1' is one word too many; for a header say --http-header x=1"),
        ("intercept a b -p 80", "one workload at a time, not also 'b'; a command to run goes after --"),
        ("intercept a -p 80 --", "there is no command after --; leave -- out, or give the command to run"),
        (
            "intercept a",
            "--port is missing: on which port does your process listen? "
            "--port 8080, or --port 8080:http where the workload has several ports",
        ),
        ("intercept a -p http", "--port http: it begins with the port on your laptop, a number; --port 8080:http?"),
        ("intercept a -p 70000", "--port 70000: 70000 is not a port number (1 to 65535)"),
        ("intercept a -p 0:80", "--port 0:80: 0 is not a port number (1 to 65535)"),
        ("intercept a -p 80: ", "--port 80:: the workload's port is missing after the colon; --port 80, or 80:http"),
        (
            "intercept a -p 1:2:3",
            "--port 1:2:3: too many colons; Byway maps no container ports; LOCAL[:REMOTE], as in 8080:http",
        ),
        (
            "intercept a -p localhost:80",
            "--port localhost:80: 'localhost' is not a port number; "
            "--address IP says where your process listens, if not on localhost",
        ),
        ("intercept a -p 17901/udp", "--port 17901/udp: UDP: not yet; Byway intercepts HTTP and TCP"),
        ("intercept a -p 53:53/UDP", "--port 53:53/UDP: UDP: not yet; Byway intercepts HTTP and TCP"),
        (
            "intercept a -p 80 --timeout nan",
            "invalid value for '--timeout': 'nan' is not a number of seconds; see `byway intercept --help`",
        ),
        (
            "connect --timeout inf",
            "invalid value for '--timeout': inf is not in the range 0.1<=x<=86400.0; see `byway connect --help`",
        ),
        (
            "intercept a -p 80 -p 81",
            "two --port flags name no port of the workload; give each its own, as LOCAL:REMOTE",
        ),
        (
            "intercept a -p 80 --when-down never",
            "invalid value for '--when-down': 'never' is not one of 'cluster', 'fail'; see `byway intercept --help`",
        ),
        ("connect --user ../root", "--user '../root' is not a user's name"),
        ("connect --address laptop.local", "--address 'laptop.local' is not an IP address"),
        ("connect --manager nowhere", "--manager: 'nowhere' is not HOST:PORT; for example 127.0.0.1:15010"),
        ("connect --manager h:0", "--manager: 'h:0' is not HOST:PORT; for example 127.0.0.1:15010"),
    ],
)
def test_mistakes_are_answered_with_what_to_do(capsys: pytest.CaptureFixture[str], words: str, said: str) -> None:
    assert failing(capsys, words) == (2, f"Error: {said}")


@pytest.mark.parametrize(
    "words", ["list -o json", "-o json list", "lst -o json", "list --wat --output=json", "list -ojson"]
)
def test_errors_are_data_where_data_was_asked_for(capsys: pytest.CaptureFixture[str], words: str) -> None:
    code = run(shlex.split(words))
    printed = capsys.readouterr()
    assert printed.err == ""
    error = json.loads(printed.out)["error"]
    assert error.keys() == {"code", "message", "hint"}
    assert {"not_connected": 3, "invalid_argument": 2}[error["code"]] == code


def test_a_format_after_the_command_to_run_is_the_commands() -> None:
    assert wanted_format(["intercept", "a", "--", "kubectl", "-o", "json"]) == "table"
    assert wanted_format(["list", "-o", "nonsense"]) == "table"


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ("8080", PortFlag(8080, "")),
        ("8080:http", PortFlag(8080, "http")),
        ("8080:80", PortFlag(8080, "80")),
        ("8080:80/tcp", PortFlag(8080, "80")),
    ],
)
def test_ports_are_local_then_remote(text: str, flag: PortFlag) -> None:
    assert parse_port(text) == flag


@given(st.text(max_size=12))
def test_any_text_is_a_port_or_refused_by_name(text: str) -> None:
    failure = None
    try:
        (flag,) = parse_ports((text,))
    except FailureError as error:
        failure = error
    if failure is None:
        assert 0 < flag.local < 65536
    else:
        assert failure.exit_code == 2
        assert f"--port {text}" in failure.message


NAMES = st.from_regex(r"[A-Z_]{1,6}", fullmatch=True)
VALUES = st.text(st.characters(codec="utf-8"), max_size=12)


@given(st.dictionaries(NAMES, VALUES))
def test_each_variable_is_in_the_file_as_a_shell_reads_it_or_named_as_left_out(environment: dict[str, str]) -> None:
    result = envfiles.dotenv(environment)
    lines = result.text.split("\n")[:-1]
    shell = dict(shlex.split(line)[0].split("=", 1) for line in lines)
    assert shell == {name: value for name, value in environment.items() if name not in result.omitted}
    docker = dict(line.split("=", 1) for line in lines)
    plain = docker.keys() - set(result.quoted)
    assert {name: docker[name] for name in plain} == {name: environment[name] for name in plain}
    assert all(
        "\n" in environment[name] or "\r" in environment[name] or "\0" in environment[name] for name in result.omitted
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert run(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"_BYWAY_COMPLETE={shell}_complete" in script.replace("env ", "")


def test_help_imports_neither_grpc_nor_the_messages() -> None:
    script = (
        "import sys\nfrom xds.client.cli.app import run\nrun(['--help'])\nrun(['intercept', '--help'])\n"
        "print([name for name in sys.modules if name.startswith(('grpc', 'xds.api', 'rich', 'yaml', 'asyncio'))])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


async def test_commands_start_quickly(laptop: Laptop) -> None:
    """Beside a Python that does nothing, since how quick a machine is, and what else it does, is its own affair."""

    async def quickest(start: Callable[[], Awaitable[object]]) -> float:
        times = []
        for _ in range(5):
            began = time.perf_counter()
            await start()
            times.append(time.perf_counter() - began)
        return min(times)

    async def nothing() -> None:
        await (await asyncio.create_subprocess_exec(sys.executable, "-c", "import argparse, json")).wait()

    least = await quickest(nothing)
    # What is meant is 0.25 and 0.4 s on a machine where that takes 0.05 s.
    assert await quickest(lambda: laptop.byway("version")) < 20 * least + 0.5
    assert await quickest(lambda: laptop.byway("list")) < 30 * least + 0.5
