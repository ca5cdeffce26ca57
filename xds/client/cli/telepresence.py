"""Telepresence's flags that Byway doesn't have: they are known by name, so that nobody searches for a typing error."""

from __future__ import annotations

from collections.abc import Sequence

from xds.terminal.failure import not_yet

ENV_HINT = "--env-file FILE gives your container the workload's environment"
FLAGS: dict[str, str] = {
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
}
HARMLESS = {"--mount=false", "--preview-url=false", "--plaintext=false", "--detailed-output=false"}
"""These ask for what Byway does anyway."""


def without_harmless(arguments: Sequence[str]) -> list[str]:
    """The arguments that are left for click. Raises FailureError at one of Telepresence's that Byway lacks."""
    kept = []
    for argument in arguments:
        if argument in HARMLESS:
            continue
        name = argument.partition("=")[0]
        known = name in FLAGS or name.startswith(("--ingress-", "--docker-", "--toggle"))
        if known:
            raise not_yet(f"byway intercept {name}", hint=FLAGS.get(name, ""))
        kept.append(argument)
    return kept
