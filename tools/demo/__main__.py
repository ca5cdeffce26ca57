"""`make demo`: two developers, and a third, intercept the same service without seeing each other."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from demo.processes import NotReadyError
from demo.scenario import IDLE_SECONDS, Scenario
from demo.show import Stage
from demo.world import Gateway, World


def main() -> int:
    """Run the demonstration; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--check", action="store_true", help="end after the last step, with 1 when a hop differed")
    parser.add_argument("--exit", action="store_true", help="end after the last step instead of staying up")
    parser.add_argument("--keep", action="store_true", help="keep the directory with logs and state")
    arguments = parser.parse_args()
    # Ctrl-C as well: a shell that starts us in the background has it ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    console = Console(highlight=False, soft_wrap=True)
    stage = Stage(console)
    # A short path, because sockets are in it.
    root = Path(tempfile.mkdtemp(prefix="byway-"))
    world = World(
        root,
        users=("alice", "bob", "carol"),
        settings={"intercept": {"inactiveBlockTimeout": f"{IDLE_SECONDS}s"}},
        gateways=[Gateway("gw-1")],
    )
    keep = arguments.keep
    try:
        console.print("starting a manager, a gateway, three services in four instances, and an Envoy before each …")
        console.print(f"logs are in {root / 'logs'}")
        world.start()
        console.print(f"up after {time.monotonic() - stage.started:.1f} s")
        Scenario(world, stage).run()
        console.print(f"\n{stage.steps} steps, {stage.compared} comparisons, {len(stage.differences)} differences")
        if not (arguments.exit or arguments.check):
            _stay(console, world)
    except KeyboardInterrupt:
        console.print("\nstopping …")
    except NotReadyError as error:
        stage.differences.append(str(error))
        console.print(f"✗ {error}", style="bold red")
    finally:
        # Another Ctrl-C would leave the daemons running, which are processes of their own.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        world.stop()
        if stage.differences and not keep:
            keep = True
            console.print(f"the logs are kept in {root}")
        if not keep:
            shutil.rmtree(root, ignore_errors=True)
    return 1 if stage.differences else 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _stay(console: Console, world: World) -> None:
    """Keep everything running until Ctrl-C."""
    folder = Path(sys.executable).parent
    token = world.state / "manager" / "users" / "alice.token"
    port = world.port("frontend")
    console.print(f"""
[bold]Everything stays up for you to play with; Ctrl-C ends it.[/bold] In another terminal:

  export PATH={folder}:$PATH BYWAY_STATE={world.root / "you"}
  byway connect --manager {world.listen} --token-file {token}
  byway list
  python3 tools/demo/service.py --service orders --instance my-laptop --listen 127.0.0.1:9201 &
  byway intercept orders --port 9201 --http-header x-telepresence-id=me
  curl -H 'x-telepresence-id: me' http://127.0.0.1:{port}/
  curl http://127.0.0.1:{port}/
  BYWAY_STATE={world.state} xdsctl status
  byway quit
""")
    signal.pause()


if __name__ == "__main__":
    sys.exit(main())
