from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.manager.store.samples import ANN, reopen

ROOT = Path(__file__).parents[3]
SAVER = [sys.executable, "-m", "tests.manager.store.saver"]


def killed_while_saving(path: Path, lines: int) -> list[tuple[str, str, int]]:
    """What a saver answered until it was killed, some time after that many answers."""
    with subprocess.Popen([*SAVER, "loop", str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as saver:
        assert saver.stdout is not None
        said = [saver.stdout.readline() for _ in range(lines)]
        saver.kill()
        # What it could still print before it died was answered too; a half line was not.
        said += saver.stdout.readlines()
    words = [line.split() for line in said if line.endswith("\n")]
    return [(word, key, int(number)) for word, key, number in words]


@pytest.mark.timeout(300)
def test_a_manager_killed_thirty_times_loses_nothing_that_it_answered(tmp_path: Path) -> None:
    dice = random.Random(5)
    path = tmp_path / "m" / "store.db"
    alive: set[str] = set()
    for _ in range(30):
        answers = killed_while_saving(path, dice.randrange(1, 60))
        for word, key, _ in answers:
            if word == "made":
                alive.add(key)
            elif word == "ended":
                alive.discard(key)
        loaded = reopen(path)
        assert loaded.problems == ()
        # At most the one change that was under way is there without having been answered.
        assert len(alive ^ set(loaded.intercepts)) <= 1
        newest = answers[-1][2]
        assert newest <= loaded.sequence <= newest + 1
        last_seen = [key for word, key, _ in answers if word == "present"]
        unanswered = answers[-1][0] == "made"
        if last_seen and not unanswered:
            assert int(loaded.sessions[ANN.id].present) == int(last_seen[-1])
        alive = set(loaded.intercepts)


def on_a_small_disk(directory: Path, mode: str) -> Any:
    """What a saver says, as JSON, that has a disk of 1 MiB to itself."""
    mounted = f'mount -t tmpfs -o size=1m tmpfs "{directory}"'
    allowed = subprocess.run(["unshare", "-m", "sh", "-c", mounted], capture_output=True, text=True, check=False)
    if allowed.returncode:
        pytest.skip(f"no file system can be mounted here: {allowed.stderr.strip()}")
    command = ["unshare", "-m", "sh", "-c", f'{mounted} && exec "$@"', "sh", *SAVER, mode, str(directory)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_disk_that_is_really_full_refuses_and_loses_nothing(tmp_path: Path) -> None:
    said = on_a_small_disk(tmp_path, "fill")
    assert "is full: not done: a change. What exists goes on as it is" in said["refused"]
    assert said["refused_again"] == 3
    assert said["problems"] == []
    assert said["loaded"] == said["answered"]
    assert len(said["answered"]) > 10


def test_a_disk_with_little_room_is_not_filled_by_the_log_of_changes(tmp_path: Path) -> None:
    assert on_a_small_disk(tmp_path, "change") == 201
