"""Every command of the README runs, in order, in one shell, and says what the README says it does."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.processes import wait_for
from tests.e2e.differences import DIFFERENCES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
MAKE = re.compile(r"^make (\S+).*$", re.MULTILINE)
STATE = Path("/tmp/byway-tour")
PORTS = {21081, 21181, 9201, 15010}


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_readme_names_only_make_targets_that_exist() -> None:
    named = {name for block in BLOCKS for name in MAKE.findall(block)}
    assert named
    assert named <= targets()


@pytest.mark.parametrize("key", sorted(DIFFERENCES.keys() - {"answers"}))
def test_the_readme_lists_what_the_sidecar_changes(key: str) -> None:
    assert DIFFERENCES[key] in " ".join(README.split())


def session_members(leader: int) -> list[int]:
    """The processes of the shell's session: what the tour left running."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            members.append(int(stat.parent.name))
    return members


@pytest.fixture
def clean_state() -> Iterator[None]:
    shutil.rmtree(STATE, ignore_errors=True)
    yield
    environment = {**os.environ, "BYWAY_STATE": str(STATE)}
    byway = Path(sys.executable).with_name("byway")
    subprocess.run([byway, "quit"], env=environment, capture_output=True, timeout=30, check=False)
    shutil.rmtree(STATE, ignore_errors=True)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds leftover processes through /proc")
@pytest.mark.usefixtures("clean_state")
def test_every_command_of_the_tour_runs(tmp_path: Path) -> None:
    tour = "\n".join(MAKE.sub(r"# make \1 has run", block) for block in BLOCKS)
    # Each command shows itself, so that what it says can be told apart.
    script = tmp_path / "tour.sh"
    script.write_text(f"set -euo pipefail\nset -m\n{tour}\n")
    output = tmp_path / "output"
    # The interpreter that runs the tests is the one that the tour installs.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "NO_COLOR": "1"}
    with output.open("wb") as file:
        shell = subprocess.Popen(
            ["bash", "-x", str(script)],
            cwd=ROOT,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        code = shell.wait(90)
        said = output.read_text()
        assert code == 0, said
        wait_for(lambda: not session_members(shell.pid), "the tour's processes end", seconds=10)
    finally:
        for member in session_members(shell.pid):
            os.kill(member, signal.SIGKILL)
    check_the_tour(said)


def said_after(said: str, command: str) -> str:
    """What was printed between a command and the next one."""
    found = said.split(f"+ {command}\n", 1)
    assert len(found) == 2, f"{command!r} was not run:\n{said}"
    return re.split(r"^\++ ", found[1], maxsplit=1, flags=re.MULTILINE)[0]


def check_the_tour(said: str) -> None:
    mine = "curl --silent --header 'x-user: me' http://127.0.0.1:21081/"
    assert '"instance": "my-laptop"' in said_after(said, mine)
    anybodys = said.split("+ curl --silent http://127.0.0.1:21081/\n", 1)[1]
    assert '"instance": "orders-1"' in anybodys.split("\n+ ", 1)[0]
    assert "postgres://orders-db/orders" in said
    dead = said_after(said, "curl --silent --include --header 'x-user: me' http://127.0.0.1:21081/")
    assert "served-by=cluster" in dead
    assert '"instance": "orders-1"' in dead
    assert "differs only in upper and lower case" in said_after(
        said, "byway explain orders 'GET /refunds?x=1' -H 'x-user: Me'"
    )
    assert "Your intercept orders" in said_after(said, "byway explain orders 'GET /' -H 'x-user: me' --live")
    assert "Nothing is in the way." in said_after(said, "byway why orders")
    assert "SYNCED" in said_after(said, "xdsctl status")
