"""Telepresence's flags that Byway doesn't have: they are known by name, so that nobody searches for a typing error."""

from __future__ import annotations

from collections.abc import Sequence

import click

from xds.terminal.failure import not_yet

ENV_HINT = "--env-file FILE gives your container the workload's environment"
NAMESPACE_HINT = "one session reaches every namespace; say which with `byway intercept --namespace`"
NETWORK_HINT = "Byway changes nothing of this laptop's network"
INTERCEPT: dict[str, str] = {
    "--mount": "Byway mounts no volumes",
    "--local-mount-port": "Byway mounts no volumes",
    "--docker-run": ENV_HINT,
    "--docker-build": ENV_HINT,
    "--docker-build-opt": ENV_HINT,
    "--docker-debug": ENV_HINT,
    "--docker-mount": ENV_HINT,
    "--preview-url": "use --http-header auto and send the header that is printed",
    "--ingress-host": "use --http-header auto and send the header that is printed",
    "--ingress-port": "use --http-header auto and send the header that is printed",
    "--ingress-tls": "use --http-header auto and send the header that is printed",
    "--ingress-l5": "use --http-header auto and send the header that is printed",
    "--to-pod": "",
    "--service": "name the workload, and its port with --port LOCAL:REMOTE",
    "--container": "name the workload, and its port with --port LOCAL:REMOTE",
    "--mechanism": "leave it out: --http-header makes the intercept personal",
    "--detailed-output": "use -o json",
    "--plaintext": "",
    "--use-saved-intercept": "",
    "--env-syntax": "--env-file is for shells and docker, --env-json for all else",
    "--wait-message": "",
    "--metadata": "",
    "--http-meta": "use --http-header",
    "--wiretap": "",
    "--toggle": "",
    "--local-only": "it would take no requests; `byway connect` is all that it needs",
}
CONNECT: dict[str, str] = {
    "-n": NAMESPACE_HINT,
    "--namespace": NAMESPACE_HINT,
    "--mapped-namespaces": NAMESPACE_HINT,
    "--context": "--manager HOST:PORT says which manager",
    "--kubeconfig": "--manager HOST:PORT says which manager",
    "--manager-namespace": "--manager HOST:PORT says which manager",
    "--name": "each --state-dir has one connection",
    "--use": "each --state-dir has one connection",
    "--docker": "the daemon runs on this laptop",
    "--expose": "the daemon runs on this laptop",
    "--hostname": "--host NAME says how this laptop is called",
    "--also-proxy": NETWORK_HINT,
    "--never-proxy": NETWORK_HINT,
    "--allow-conflicting-subnets": NETWORK_HINT,
    "--proxy-via": NETWORK_HINT,
    "--vnat": NETWORK_HINT,
}
QUIT: dict[str, str] = {
    "-r": "there is one daemon, and `byway quit` stops it",
    "--root-daemon": "there is one daemon, and `byway quit` stops it",
    "-u": "there is one daemon, and `byway quit` stops it",
    "--user-daemon": "there is one daemon, and `byway quit` stops it",
}
LIST: dict[str, str] = {
    "--agents": "`byway list` shows how many sidecars are connected",
    "--only-interceptable": "`byway list` shows which workloads are ready",
    "--replacements": "see `byway list --intercepts`",
    "--ingests": "see `byway list --intercepts`",
    "--wiretaps": "see `byway list --intercepts`",
    "--debug": "use -o wide",
}
FLAGS: dict[str, dict[str, str]] = {"intercept": INTERCEPT, "connect": CONNECT, "quit": QUIT, "list": LIST}
"""What to do instead, by command and flag."""
FAMILIES: dict[str, tuple[str, ...]] = {"intercept": ("--ingress-", "--docker-", "--toggle")}
"""How flags of a command begin that only some versions have."""
HARMLESS = {"--mount=false", "--preview-url=false", "--plaintext=false", "--detailed-output=false"}
"""These ask for what Byway does anyway."""


class KnowingCommand(click.Command):
    """A command that Telepresence has too, with flags that Byway doesn't have."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments. Raises FailureError at a flag that Byway lacks."""
        return super().parse_args(ctx, without_harmless(self.name or "", args))


def without_harmless(command: str, arguments: Sequence[str]) -> list[str]:
    """The arguments that are left for click. Raises FailureError at one of Telepresence's that Byway lacks."""
    flags, families = FLAGS[command], FAMILIES.get(command, ())
    kept = []
    for argument in arguments:
        if argument in HARMLESS:
            continue
        name = argument.partition("=")[0]
        if name in flags or name.startswith(families):
            raise not_yet(f"byway {command} {name}", hint=flags.get(name, ""))
        kept.append(argument)
    return kept
