"""`xdsctl fleet`: many simulated sidecars."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.xdsctl.running import XDSCTL, Other, other_server, xdsctl
from tests.xdsctl.test_xdsctl_tables import check
from xdsctl.fleet import progress_line, summary, wave_line
from xdsctl.waves import SILENCE, Tally

WORKLOAD = "dev/deployment/orders"
WAVE = re.compile(r"  (\d+) responses about [a-z, ]+ to \d+ streams in \d+ ms")


@contextmanager
def fleet(other: Other, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A fleet as a process, for as long as the context lasts."""
    command = [XDSCTL, "fleet", other.address, "--workload", WORKLOAD, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        rescue = threading.Timer(60, process.kill)
        rescue.start()
        try:
            yield process
        finally:
            rescue.cancel()
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize("sharing", [[], ["--connections", "3"]], ids=["a connection each", "shared connections"])
def test_each_push_reaches_every_stream_and_an_interrupt_ends_with_the_summary(sharing: list[str]) -> None:
    with other_server() as other, fleet(other, "-n", "30", "--rate", "1000", *sharing) as process:
        assert "  30 streams in sync after " in line(process)
        assert other.tell("count") == 30
        other.tell("put", "d")
        # A cluster and its endpoints for each; in one wave, unless the machine has paused in between.
        pushed = 0
        while pushed < 60:
            found = WAVE.search(line(process))
            assert found
            pushed += int(found[1])
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (0, "")
        assert re.search(r"^Streams: +30, of which 30 are in sync at the end$", said, re.MULTILINE)
        assert re.search(r"^Responses: +180 .*: 180 acknowledged, 0 refused$", said, re.MULTILINE)


def test_the_summary_as_json_adds_up() -> None:
    with other_server() as other:
        result = xdsctl("fleet", other.address, "--workload", WORKLOAD, "-n", "8", "--duration", "0.5", "-o", "json")
    found: dict[str, Any] = json.loads(result.out)
    assert (result.code, result.err) == (0, "")
    assert (found["streams"], found["open"], found["in_sync"], found["refused"]) == (8, 8, 8, 0)
    # Clusters, endpoints, listeners and routes, once each.
    assert found["responses"] == found["acknowledged"] == 8 * 4
    assert found["waves"] == []
    assert found["cpu_seconds"] > 0
    assert found["memory_bytes"] > 0


def test_a_server_that_comes_back_gets_its_streams_again() -> None:
    tally = Tally(2)
    for stream in (0, 1):
        tally.open.add(stream)
        tally.on_sync(stream, 0.5)
    tally.on_end(1, "UNAVAILABLE")
    assert (tally.reconnects, tally.in_sync, tally.as_dict()["ends"]) == (1, {0}, {"UNAVAILABLE": 1})
    assert not tally.on_sync(1, 9.0)
    assert tally.synced_after == 0.5


def test_who_is_refused_is_told_at_once() -> None:
    with other_server("--token", "t0ken") as guarded:
        result = xdsctl("fleet", guarded.address, "--workload", WORKLOAD, "-n", "5")
    assert result.code == 1
    assert result.err.startswith(f"Error: {guarded.address} refuses us: show me a token that I know")


def test_each_instance_shows_its_own_token(tmp_path: Path) -> None:
    for instance in ("orders-1", "orders-2"):
        (tmp_path / WORKLOAD / instance).mkdir(parents=True)
        (tmp_path / WORKLOAD / instance / "token").write_text("t0ken\n")
    with other_server("--token", "t0ken") as guarded:
        arguments = ["--workload", WORKLOAD, "-n", "5", "--tokens", str(tmp_path), "--duration", "0.1"]
        assert xdsctl("fleet", guarded.address, *arguments).code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["127.0.0.1:1", "--workload", "orders"], "--workload: 'orders' is not NAMESPACE/KIND/NAME"),
        (["127.0.0.1:1", "--workload", WORKLOAD, "--tokens", "/nonexistent"], "--tokens: there is no /nonexistent/dev"),
        (
            ["a.test:1", "--workload", WORKLOAD, "--tokens", "/x"],
            "--tokens: without --tls they would cross the network",
        ),
        (["127.0.0.1:1"], "missing option '--workload'"),
    ],
)
def test_a_wrong_command_line_is_refused(arguments: list[str], message: str) -> None:
    result = xdsctl("fleet", *arguments)
    assert result.code == 2
    assert result.err.startswith(f"Error: {message}")


def test_nobody_listening_is_exit_code_3() -> None:
    result = xdsctl("fleet", "127.0.0.1:1", "--workload", WORKLOAD)
    assert result.code == 3
    assert "can't reach 127.0.0.1:1" in result.err


def pushed() -> Tally:
    """Three streams; one push while they started, one to all of them, and one to two."""
    tally = Tally(3)
    tally.on_response(0, "clusters", 100, 0.1, refused=False)
    for stream in range(3):
        tally.open.add(stream)
        tally.on_sync(stream, 1.0 + stream)
    for stream in range(3):
        tally.on_response(stream, "routes", 1000, 10.0 + stream / 10, refused=False)
    for stream in (0, 2):
        tally.on_response(stream, "endpoints", 50, 20.0, refused=stream == 2)
    return tally


def test_a_wave_ends_with_silence_and_what_comes_before_all_is_in_sync_is_none() -> None:
    tally = pushed()
    assert [wave.as_dict() for wave in tally.waves] == [
        {"types": ["routes"], "responses": 3, "streams": 3, "bytes": 3000, "seconds": 0.2}
    ]
    assert tally.settle(20.0 + SILENCE / 2) is None
    wave = tally.settle(20.0 + SILENCE)
    assert wave is not None
    assert (wave.responses, wave.streams, list(wave.types)) == (2, {0, 2}, ["endpoints"])
    assert tally.settle(30.0) is None
    assert (tally.responses, tally.acknowledged, tally.refused) == (6, 5, 1)


def test_what_people_see_of_it() -> None:
    tally = pushed()
    tally.settle(30.0)
    tally.on_end(1, "UNAVAILABLE")
    found = {**tally.as_dict(), "seconds": 60.0, "cpu_seconds": 1.25, "memory_bytes": 64_000_000}
    lines = [progress_line(tally), *map(wave_line, tally.waves)]
    check("fleet.txt", "\n".join(lines) + "\n\n" + summary(found))
