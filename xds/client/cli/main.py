"""The entry point of the `byway` command.

Importing takes a moment in which Ctrl-C would print a traceback: until there is somebody to catch it, it just ends the
process.
"""

import signal
import sys


def main() -> None:
    """Run the command line of this process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from xds.client.cli.app import run

    sys.exit(run(sys.argv[1:]))
