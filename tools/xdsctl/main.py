"""`xdsctl`: the commands by name."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from xds import __version__
from xds.terminal import ending
from xds.terminal.lazy import LazyGroup

COMMANDS = {
    "status": ("xdsctl.status:status", "Say how far every sidecar is."),
    "get": ("xdsctl.get:get", "Show the resources of a sidecar."),
    "diff": ("xdsctl.diff:diff", "Compare what a sidecar should have with what it has."),
    "history": ("xdsctl.history:history", "Show what a sidecar was sent, why, and what it said."),
    "tap": ("xdsctl.tap:tap", "Watch what a sidecar and the manager say to each other."),
    "fetch": ("xdsctl.fetch:fetch", "Ask any xDS server, as a client of its."),
    "conformance": ("xdsctl.conformance:conformance", "Judge whether any xDS server keeps the protocol's rules."),
    "translate": ("xdsctl.translate:translate", "Compile a file to resources, offline."),
    "validate": ("xdsctl.validate:validate", "Have a real Envoy check resources."),
    "fleet": ("xdsctl.fleet:fleet", "Simulate many sidecars, for load."),
    "completion": ("xdsctl.completion:completion", "Print the completion script of a shell."),
    "version": ("xdsctl.version:version", "Print the versions."),
}

EPILOG = """\b
Exit codes:
  0    done
  1    failed
  2    wrong command line, or refused input
  3    the manager, with --live Envoy, or what `fetch` asks can't be reached
  5    `xdsctl status --exit-code`: not every sidecar is in sync
  130  interrupted
`xdsctl diff` exits with 0 for the same, 1 for a difference and 2 for everything that is in its way;
`xdsctl conformance` likewise with 0 where no rule is broken, and 1 where one is.

\b
With -o json or -o yaml errors are printed that way too, on stdout:
  {"error": {"code": "...", "message": "...", "hint": "..."}}
"""


@click.command(
    cls=LazyGroup,
    lazy=COMMANDS,
    sections={"Commands": tuple(COMMANDS)},
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="xdsctl", message="%(prog)s %(version)s")
def cli() -> None:
    """What Byway's sidecars are meant to have, what they have, and what they refused.

    It asks the manager, with the administrator's token; on the manager's machine it finds both by itself.

    \b
    Start here:
      xdsctl status
      xdsctl status orders-1
      xdsctl get routes orders-1
      xdsctl get routes orders-1 --live
      xdsctl diff orders-1
      xdsctl history orders-1
      xdsctl tap orders-1
    """


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit code and never raises."""
    return ending.run(cli, "xdsctl", arguments)


def main() -> None:
    """The entry point of the `xdsctl` command."""
    sys.exit(run(sys.argv[1:]))
