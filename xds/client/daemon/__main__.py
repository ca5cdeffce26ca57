"""`python -m xds.client.daemon`: what `byway connect` starts."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# First, because it sets what gRPC reads from the environment when it is imported.
import xds.client.channel  # noqa: F401
from xds.client.daemon.process import DaemonConfig, run
from xds.client.daemon.reach import WAYS
from xds.client.tunnel.choice import KINDS
from xds.paths import StateDir


def main() -> int:
    """Read the arguments and be the daemon."""
    parser = argparse.ArgumentParser(prog="byway-daemon", description="The daemon that `byway connect` starts.")
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--manager", required=True)
    parser.add_argument("--token-file", type=Path, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--address", default="")
    parser.add_argument("--reach", choices=WAYS, default="auto")
    parser.add_argument("--tunnel", choices=KINDS, default="auto")
    options = parser.parse_args()
    return run(
        DaemonConfig(
            state=StateDir(options.state_dir),
            manager=options.manager,
            token_file=options.token_file,
            host=options.host,
            address=options.address,
            reach=options.reach,
            tunnel=options.tunnel,
        )
    )


sys.exit(main())
