"""Any xDS server: where it is, how to talk to it, and what the end of a stream means."""

from __future__ import annotations

import functools
import ipaddress
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from xds.terminal.failure import Exit, FailureError, usage
from xds.terminal.words import plain

if TYPE_CHECKING:
    import grpc.aio

    from xds.serve.client import StreamEndedError

F = TypeVar("F", bound=Callable[..., Any])
FILE = click.Path(dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class Server:
    """An xDS server. Files are read when they are needed."""

    address: str
    token_file: Path | None = None
    tls: bool = False
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    server_name: str = ""

    def check(self) -> Server:
        """Itself. Raises FailureError for what can't be meant, or would give a secret away."""
        if not self.address.startswith("unix:"):
            host, _, port = self.address.rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65536:
                raise usage(f"ADDRESS: {self.address!r} is not HOST:PORT", hint="as in 127.0.0.1:15010, or unix:PATH")
        if bool(self.cert) != bool(self.key):
            raise usage("--cert and --key belong together")
        if self.token_file and not (self.encrypted or self.is_local):
            raise usage(
                f"--token-file: without --tls the token would cross the network to {self.address} in the clear",
                hint="add --tls",
            )
        return self

    @property
    def encrypted(self) -> bool:
        """Whether to speak TLS."""
        return bool(self.tls or self.ca or self.cert or self.server_name)

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        if self.address.startswith("unix:"):
            return True
        host = self.address.rpartition(":")[0].strip("[]")
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def token(self) -> str:
        """What proves who we are, or nothing. Raises FailureError."""
        return read_token(self.token_file) if self.token_file else ""

    def channel(self, options: Sequence[tuple[str, int | str]] = ()) -> grpc.aio.Channel:
        """A channel to it; nothing is connected yet. Raises FailureError."""
        # gRPC writes to stderr by itself, and its fork handlers would meddle with whoever calls us.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
        import grpc
        import grpc.aio

        # Configuration has no largest size.
        chosen: list[tuple[str, int | str]] = [("grpc.max_receive_message_length", -1), *options]
        if self.is_local:
            # An http_proxy in the environment is meant for the network.
            chosen.append(("grpc.enable_http_proxy", 0))
        if not self.encrypted:
            return grpc.aio.insecure_channel(self.address, options=chosen)
        if self.server_name:
            chosen.append(("grpc.ssl_target_name_override", self.server_name))
        ca, key, cert = (_content(flag, path) for flag, path in self._files)
        return grpc.aio.secure_channel(self.address, grpc.ssl_channel_credentials(ca, key, cert), options=chosen)

    @property
    def _files(self) -> tuple[tuple[str, Path | None], ...]:
        return ("--ca", self.ca), ("--key", self.key), ("--cert", self.cert)


def _content(flag: str, path: Path | None) -> bytes | None:
    try:
        return path.read_bytes() if path else None
    except OSError as error:
        raise usage(f"{flag}: can't read {path}: {(error.strerror or str(error)).lower()}") from None


def read_token(path: Path) -> str:
    """The token in a file. Raises FailureError."""
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise FailureError(f"can't read the token {path}: {reason}", code="no_token", exit_code=Exit.USAGE) from None
    if not token or not token.isascii() or not token.isprintable():
        raise FailureError(f"there is no token in {path}", code="no_token", exit_code=Exit.USAGE)
    return token


def metadata_of(token: str) -> tuple[tuple[str, str], ...]:
    """A call's metadata that shows a token, if there is one."""
    return (("authorization", f"Bearer {token}"),) if token else ()


def server_options(function: F) -> F:
    """ADDRESS and the options that say how to reach it, as `server: Server`, checked."""

    @click.argument("address", metavar="ADDRESS")
    @click.option(
        "--token-file", type=FILE, metavar="FILE", help="Show the token in this file (authorization: Bearer)."
    )
    @click.option("--tls", is_flag=True, help="Speak TLS, and trust the system's authorities.")
    @click.option("--ca", type=FILE, metavar="FILE", help="Trust these authorities (PEM); implies --tls.")
    @click.option("--cert", type=FILE, metavar="FILE", help="Our own certificate (PEM), with --key; implies --tls.")
    @click.option("--key", type=FILE, metavar="FILE", help="The key of --cert (PEM).")
    @click.option("--server-name", default="", metavar="NAME", help="The name in the server's certificate.")
    @functools.wraps(function)
    def wrapped(
        *args: Any,
        address: str,
        token_file: Path | None,
        tls: bool,
        ca: Path | None,
        cert: Path | None,
        key: Path | None,
        server_name: str,
        **kwargs: Any,
    ) -> Any:
        server = Server(address, token_file, tls, ca, cert, key, server_name).check()
        return function(*args, server=server, **kwargs)

    return wrapped  # type: ignore[return-value]


def failure_of_end(error: StreamEndedError, address: str) -> FailureError:
    """What the end of a stream means to the user."""
    code = error.code.name
    words = plain(error.details).rstrip(".")
    match code:
        case "UNAVAILABLE":
            reason = words.rpartition("; last error: ")[2].rpartition(": ")[2] or words or "no reason given"
            return FailureError(
                f"can't reach {address}, or it is not ready: {reason[:1].lower()}{reason[1:]}",
                hint="is it the address of an xDS server, and does it want --tls?",
                code="unavailable",
                exit_code=Exit.NOT_CONNECTED,
            )
        case "UNAUTHENTICATED" | "PERMISSION_DENIED":
            return FailureError(
                f"{address} refuses us: {words or code}",
                hint="check --node and --token-file: a server may give a node's resources to that node alone",
                code=code.lower(),
            )
        case "UNIMPLEMENTED":
            return FailureError(
                f"{address} has no such service: {words or code}",
                hint="try the other of --delta and --sotw, or with or without --per-type",
                code="unimplemented",
            )
        case "OK":
            return FailureError(f"{address} ended the stream", hint="its log may say why", code="ended")
    return FailureError(f"{address} ended the stream: {code}{f': {words}' if words else ''}", code=code.lower())
