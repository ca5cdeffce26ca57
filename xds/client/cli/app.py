"""`byway`: the commands by name."""

from __future__ import annotations

from collections.abc import Sequence

import click

from xds import __version__
from xds.terminal import ending
from xds.terminal.lazy import LazyGroup

HERE = "xds.client.cli"
MANAGER = "xds.manager.commands"

COMMANDS: dict[str, tuple[str, str]] = {
    "connect": (f"{HERE}.connect:connect", "Connect this laptop to a manager."),
    "status": (f"{HERE}.status:status", "Say how the connection and the session are."),
    "quit": (f"{HERE}.quit:quit_", "End the session and its intercepts."),
    "extend": (f"{HERE}.extend:extend", "Keep the session from expiring."),
    "list": (f"{HERE}.list:list_", "List workloads, or intercepts."),
    "intercept": (f"{HERE}.intercept:intercept", "Send requests of a workload to this laptop."),
    "explain": (f"{HERE}.explain:explain", "Say which intercept takes a request, and why."),
    "why": (f"{HERE}.why:why", "Say why requests don't reach an intercept."),
    "requests": (f"{HERE}.requests:requests_", "Show the requests that an intercept takes."),
    "leave": (f"{HERE}.leave:leave", "End intercepts of this session."),
    "env": (f"{HERE}.env:env", "Print the variables that lead programs into the cluster."),
    "run": (f"{HERE}.run:run", "Run a command that reaches services in the cluster."),
    "forward": (f"{HERE}.forward:forward", "Listen on this laptop for a service in the cluster."),
    "revoke": (f"{HERE}.revoke:revoke", "End anybody's intercept, as an administrator."),
    "manager": (f"{MANAGER}.manager:manager", "Run the manager."),
    "sidecar": (f"{MANAGER}.sidecar:sidecar", "Run an Envoy sidecar for a workload on this machine."),
    "gateway": (f"{MANAGER}.gateway:gateway", "Run a gateway to laptops that can only call out."),
    "config": (f"{MANAGER}.config:config", "Check and show the manager's configuration."),
    "completion": (f"{HERE}.completion:completion", "Print the completion script of a shell."),
    "version": (f"{HERE}.version:version", "Print the versions."),
}

SECTIONS: dict[str, Sequence[str]] = {
    "Session": ("connect", "status", "quit", "extend"),
    "Intercepts": ("list", "intercept", "explain", "why", "requests", "leave", "revoke"),
    "Into the cluster": ("env", "run", "forward"),
    "Control plane": ("manager", "sidecar", "gateway", "config"),
    "Other": ("completion", "version"),
}

ABSENT: dict[str, str] = {
    "ingest": "`byway intercept WORKLOAD --port PORT --env-file FILE` gives you the workload's environment",
    "replace": "`byway intercept` without --http-* flags takes a whole port",
    "wiretap": "use `byway intercept` with a header of your own",
    "gather-logs": "the daemon's log is laptop/daemon.log in the state directory",
    "loglevel": "the daemon's log is laptop/daemon.log in the state directory",
    "helm": "apply the manifests with kubectl",
    "genyaml": "apply the manifests with kubectl",
    "dashboard": "see `byway list --all`",
    "login": "Byway needs no account; run `byway connect`",
    "preview": "use `byway intercept --http-header auto` and send the header that it prints",
    "uninstall": "`byway quit` ends the session; delete the manifests with kubectl",
    "curl": "`byway intercept` prints a curl line to paste",
    "docker": "run the container yourself, with `byway intercept --env-file`",
    "test-vpn": "Byway makes no VPN",
    "serve": "`byway intercept` prints a curl line to paste",
}

EPILOG = """\b
Exit codes:
  0    done
  1    failed
  2    wrong command line, or refused input
  3    not connected
  4    conflict with another intercept
  5    not acknowledged by every sidecar in time
  130  interrupted

\b
With -o json or -o yaml errors are printed that way too, on stdout:
  {"error": {"code": "...", "message": "...", "hint": "..."}}
"""


@click.command(
    cls=LazyGroup,
    lazy=COMMANDS,
    sections=SECTIONS,
    absent=ABSENT,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="byway", message="%(prog)s %(version)s")
def cli() -> None:
    """Personal intercepts: your requests reach your laptop, everybody else's stay in the cluster.

    \b
    Start here:
      byway connect
      byway list
      byway intercept orders --port 8080:http --http-header auto
      byway leave orders
      byway quit
    """


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit code and never raises."""
    return ending.run(cli, "byway", arguments)
