"""The command line: help, errors, exit codes, completion, without a manager."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.processes import wait_for
from xds import __version__
from xds.paths import StateDir, write_private
from xds.terminal.failure import FailureError
from xdsctl.main import COMMANDS, run
from xdsctl.nodes import matching, resolve

XDSCTL = str(Path(sys.executable).with_name("xdsctl"))
NODES = ["dev/deployment/orders/a-1", "dev/deployment/orders/a-2", "dev/deployment/orders-v2/b-1", "qa/job/a/b-1"]


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> Iterator[StateDir]:
    # A socket's path has to be short, and pytest's own directories are not.
    with tempfile.TemporaryDirectory(prefix="bw-") as folder:
        monkeypatch.setenv("BYWAY_STATE", folder)
        yield StateDir(Path(folder))


@pytest.fixture
def silent(state: StateDir) -> Iterator[socket.socket]:
    """A manager that accepts connections and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        write_private(state.address, f"127.0.0.1:{listener.getsockname()[1]}\n")
        write_private(state.admin_token, "secret\n")
        yield listener


def failing(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = run(arguments)
    shown = capsys.readouterr()
    assert shown.out == ""
    return code, shown.err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dev/deployment/orders/a-1", NODES[:1]),
        ("a-2", NODES[1:2]),
        ("b-1", NODES[2:]),
        ("orders", NODES[:2]),
        ("deployment/orders", NODES[:2]),
        ("a", NODES[3:]),
        ("v2", NODES[2:3]),
        ("nobody", []),
    ],
)
def test_a_node_is_meant_by_the_most_exact_of_what_fits(text: str, expected: list[str]) -> None:
    assert matching(NODES, text) == sorted(expected)


def test_a_part_that_several_nodes_have_is_refused_with_their_names() -> None:
    with pytest.raises(FailureError, match="'b-1' may be any of dev/deployment/orders-v2/b-1, qa/job/a/b-1") as refused:
        resolve(NODES, "b-1")
    assert refused.value.exit_code == 2


def test_a_node_that_nobody_has_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(
        FailureError, match="there is no node 'x'; there are dev/deployment/orders-v2/b-1, .* and 92 more"
    ):
        resolve([*NODES, *(f"z/z/z/{number:03}" for number in range(96))], "x")


def test_help_imports_neither_grpc_nor_messages() -> None:
    script = (
        "import sys; from xdsctl.main import run; code = run(['--help']);"
        "sys.exit(code or sum(name in sys.modules for name in ('grpc', 'envoy_data_plane', 'betterproto2', 'aiohttp')))"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    "command", [[], ["status"], ["get"], ["diff"], ["history"], ["tap"], ["fetch"], ["completion"], ["version"]]
)
def test_every_help_has_examples_and_exits_with_0(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Examples:" in text or "Start here:" in text
    assert "xdsctl" in text


def test_the_exit_codes_are_documented(capsys: pytest.CaptureFixture[str]) -> None:
    run(["--help"])
    text = capsys.readouterr().out
    assert all(f"\n    {code:<5}" in text for code in (0, 1, 2, 3, 5, 130))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stats"], "Error: there is no command 'stats'; did you mean `xdsctl status`?\n"),
        (
            ["get", "secrets", "x"],
            "Error: invalid value for 'TYPE': 'secrets' is none of listeners, routes, clusters, endpoints; "
            "see `xdsctl get --help`\n",
        ),
        (["get", "routes"], "Error: missing argument 'NODE'; see `xdsctl get --help`\n"),
        (
            ["status", "--manager", "nowhere"],
            "Error: --manager: 'nowhere' is not HOST:PORT; as in --manager 127.0.0.1:7071\n",
        ),
    ],
)
def test_a_wrong_command_line_exits_with_2(
    arguments: list[str], message: str, state: StateDir, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(capsys, *arguments) == (2, message)


def test_without_a_manager_it_says_how_to_name_one(state: StateDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(capsys, "status") == (
        3,
        f"Error: no manager is known to {state.root}; give --manager HOST:PORT, or the --state-dir of the manager\n",
    )


def test_without_a_token_it_says_where_it_looked(state: StateDir, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = failing(capsys, "status", "--manager", "127.0.0.1:1")
    assert code == 1
    assert text == (
        f"Error: can't read the administrator's token {state.admin_token}: no such file or directory; "
        "give --admin-token-file, or the --state-dir of the manager\n"
    )


@pytest.mark.parametrize("content", ["", "\n", "a\nb", "ä"])
def test_a_file_without_a_token_is_refused(
    content: str, state: StateDir, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(content)
    arguments = ["status", "--manager", "127.0.0.1:1", "--admin-token-file", str(tmp_path / "token")]
    assert failing(capsys, *arguments) == (
        1,
        f"Error: there is no token in {tmp_path / 'token'}; the manager writes manager/admin.token\n",
    )


def test_a_manager_that_does_not_run_exits_with_3(state: StateDir, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        write_private(state.admin_token, "secret\n")
        code, text = failing(capsys, "status", "--manager", address)
    assert code == 3
    assert text == (
        f"Error: can't reach the manager at {address}: connection refused; check --manager, and that it runs\n"
    )


def test_of_diff_every_failure_exits_with_2(state: StateDir, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--manager", "127.0.0.1:1"], ["--type", "secrets"], ["--manager", "nowhere"]):
        assert failing(capsys, "diff", "orders-1", *arguments)[0] == 2


def test_an_error_is_data_where_data_was_asked_for(state: StateDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "-o", "json"]) == 3
    shown = capsys.readouterr()
    assert shown.err == ""
    assert json.loads(shown.out)["error"]["code"] == "no_manager"


def test_a_manager_that_does_not_answer_is_given_up(
    silent: socket.socket, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import xdsctl.ask

    asked = xdsctl.ask.ask
    monkeypatch.setattr(xdsctl.ask, "ask", lambda access, use: asked(access, use, timeout=0.2))
    code, text = failing(capsys, "status")
    assert code == 3
    assert "accepts the connection but does not answer" in text or "can't reach the manager" in text


def test_ctrl_c_ends_it_with_one_word_and_130(silent: socket.socket) -> None:
    child = subprocess.Popen([XDSCTL, "status"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    connection, _ = silent.accept()
    with connection:
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=20)
    assert (child.returncode, out, err) == (130, "", "\nError: interrupted\n")


def test_live_without_a_socket_says_where_it_has_to_run(state: StateDir, capsys: pytest.CaptureFixture[str]) -> None:
    folder = state.sidecar("dev/deployment/orders", "orders-1")
    folder.mkdir(parents=True)
    (folder / "bootstrap.json").touch()
    path = state.admin_socket("dev/deployment/orders", "orders-1")
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    code, text = failing(capsys, "get", "routes", "orders-1", "--live")
    assert code == 3
    assert text == (
        f"Error: --live: nobody answers at {path}: connection refused; is the sidecar running, and as the same user?\n"
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_back(shell: str) -> None:
    done = subprocess.run([XDSCTL, "completion", shell], capture_output=True, text=True, check=True)
    assert f"_XDSCTL_COMPLETE={shell}_complete" in done.stdout


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("xdsctl ", list(COMMANDS)),
        ("xdsctl get ", ["listeners", "routes", "clusters", "endpoints"]),
        ("xdsctl get ro", ["routes"]),
        ("xdsctl get routes o", []),
        ("xdsctl history o", []),
        ("xdsctl tap --type ro", ["routes"]),
    ],
)
def test_completion_is_silent_without_a_manager(line: str, expected: list[str], state: StateDir) -> None:
    assert completed(line) == expected


def completed(line: str) -> list[str]:
    """What bash would offer."""
    words = line.split(" ")
    env = {
        **os.environ,
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_XDSCTL_COMPLETE": "bash_complete",
    }
    done = subprocess.run([XDSCTL], env=env, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return [each.removeprefix("plain,") for each in done.stdout.split()]


def test_version_without_a_manager_is_its_own(state: StateDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version"]) == 0
    assert capsys.readouterr().out == f"Client:  {__version__}\n"
    assert run(["version", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"client": __version__, "manager": ""}


def test_a_reader_that_goes_away_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    child = subprocess.Popen([XDSCTL, "--help"], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    wait_for(lambda: child.poll() is not None, "the command's end")
    assert child.communicate()[1] == ""
