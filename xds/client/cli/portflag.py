"""`--port LOCAL[:REMOTE]`"""

from __future__ import annotations

from dataclasses import dataclass

from xds.terminal.failure import not_yet, usage


@dataclass(frozen=True, slots=True)
class PortFlag:
    """A port on the laptop, and the workload's port that it stands for (number or name; empty: the only one)."""

    local: int
    remote: str


def parse_port(text: str) -> PortFlag:
    """Read one `--port`. Raises FailureError that names the flag."""
    local, colon, remote = text.partition(":")
    flag = f"--port {text}"
    if text.lower().endswith("/udp"):
        raise not_yet(f"{flag}: UDP", hint="Byway intercepts HTTP and TCP")
    if not local.isascii() or not local.isdigit():
        if not colon:
            raise usage(f"{flag}: it begins with the port on your laptop, a number", hint=f"--port 8080:{text}?")
        if remote.isdigit() or ":" in remote:
            hint = "--address IP says where your process listens, if not on localhost"
            raise usage(f"{flag}: {local!r} is not a port number", hint=hint)
        raise usage(f"{flag}: {local!r} is not a port number", hint="LOCAL[:REMOTE], for example 8080:http")
    if ":" in remote:
        raise usage(f"{flag}: too many colons; Byway maps no container ports", hint="LOCAL[:REMOTE], as in 8080:http")
    if colon and not remote:
        raise usage(f"{flag}: the workload's port is missing after the colon", hint=f"--port {local}, or {local}:http")
    _check(flag, local)
    if remote.isascii() and remote.isdigit():
        _check(flag, remote)
    return PortFlag(int(local), remote.removesuffix("/tcp"))


def parse_ports(texts: tuple[str, ...]) -> list[PortFlag]:
    """Read every `--port`. Raises FailureError."""
    if not texts:
        hint = "--port 8080, or --port 8080:http where the workload has several ports"
        raise usage("--port is missing: on which port does your process listen?", hint=hint)
    ports = [parse_port(text) for text in texts]
    remotes = [port.remote for port in ports]
    for remote in remotes:
        if remotes.count(remote) > 1:
            which = f"the workload's port {remote}" if remote else "no port of the workload"
            raise usage(f"two --port flags name {which}", hint="give each its own, as LOCAL:REMOTE")
    return ports


def _check(flag: str, number: str) -> None:
    # Long strings of digits aren't converted: int() has a limit of its own.
    if len(number) > 5 or not 0 < int(number) < 65536:
        raise usage(f"{flag}: {number} is not a port number (1 to 65535)")
