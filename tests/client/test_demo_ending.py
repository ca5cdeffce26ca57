"""How the demonstration ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os, signal, sys
from demo import __main__ as demo

class World:
    def __init__(self, root, **_):
        self.root = root

    def start(self):
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()

    def stop(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)
        print("everything is stopped")

demo.World = World
sys.argv = ["demo"]
sys.exit(demo.main())
"""


def test_a_second_ctrl_c_does_not_keep_the_demonstration_from_ending_its_processes() -> None:
    tools = Path(__file__).parents[2] / "tools"
    environment = {**os.environ, "PYTHONPATH": str(tools)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, check=False, timeout=60
    )
    assert (done.returncode, done.stdout.splitlines()[-1], done.stderr) == (0, "everything is stopped", "")
