"""A gateway's files: its token, the bootstrap of its Envoy, its sockets."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xds.bootstrap import NoEnvoyError, envoy_binary, gateway_bootstrap
from xds.compile import names
from xds.manager.identity import AUDIENCE, ISSUER
from xds.manager.sidecar import token_reference
from xds.only_one import TakenError, only_one
from xds.paths import SOCKET_PATH_LIMIT, StateDir, private_dir, write_private
from xds.registry.regex import MAX_PROGRAM_SIZE
from xds.registry.workload import Address

DRAIN_SECONDS = 2
"""How long requests in flight may go on when the gateway ends, or when it is given another listener."""


class GatewayError(Exception):
    """The gateway can't be started, or has ended; says what to do."""


@dataclass(frozen=True, slots=True)
class GatewayFiles:
    """Where the files of one gateway are."""

    name: str
    folder: Path
    admin_socket: Path
    keys_socket: Path

    @classmethod
    def of(cls, state: StateDir, name: str) -> GatewayFiles:
        """Those in the state directory."""
        return cls(name, state.gateway(name), state.gateway_admin_socket(name), state.gateway_keys_socket(name))

    @property
    def token(self) -> Path:
        """What proves to the manager which gateway this is."""
        return self.folder / "token"

    @property
    def keys(self) -> Path:
        """The keys that the manager told last. They are public, but whoever could change them could be any laptop."""
        return self.folder / "keys.json"

    @property
    def bootstrap(self) -> Path:
        """What Envoy starts from."""
        return self.folder / "bootstrap.json"

    def prepare(self, token: Path) -> None:
        """See that everything is there that is needed. Raises GatewayError, OSError."""
        if not token.is_file():
            raise GatewayError(
                f"there is no token {token}; name the gateway in the file of `byway manager`, start that with the same "
                "--state-dir, or give --token-file"
            )
        for path in (self.admin_socket, self.keys_socket):
            if len(str(path.absolute())) > SOCKET_PATH_LIMIT:
                raise GatewayError(
                    f"the path of a socket is longer than it may be ({SOCKET_PATH_LIMIT} characters): "
                    f"{path.absolute()}; choose a shorter --state-dir"
                )
            private_dir(path.parent)
        private_dir(self.folder)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """See to it that no other process runs this gateway here. Raises GatewayError, OSError."""
        try:
            with only_one(self.folder / "lock"):
                yield
        except TakenError as error:
            raise GatewayError(f"gateway {self.name} runs already ({error}); stop that one first") from None

    def write(self, manager: Address, token: Path, accept_port: int) -> None:
        """Write the bootstrap, and the reference to the token that is in it. Raises OSError."""
        self.admin_socket.unlink(missing_ok=True)
        secret = self.folder / "secret.json"
        write_private(secret, json.dumps(token_reference(token.absolute())))
        bootstrap = gateway_bootstrap(
            {
                "node": names.gateway_node(self.name),
                "admin_socket": str(self.admin_socket.absolute()),
                "keys_socket": str(self.keys_socket.absolute()),
                "accept_port": accept_port,
                "manager_host": manager.host,
                "manager_port": manager.port,
                "secret_file": str(secret.absolute()),
                "issuer": ISSUER,
                "audience": AUDIENCE,
                "max_program_size": MAX_PROGRAM_SIZE,
            }
        )
        write_private(self.bootstrap, json.dumps(bootstrap, indent=1))

    def command(self, log_level: str) -> list[str]:
        """Envoy's command line; no secret is in it. Raises GatewayError."""
        try:
            binary = envoy_binary()
        except NoEnvoyError as error:
            raise GatewayError(str(error)) from error
        return [
            str(binary),
            *("-c", str(self.bootstrap.absolute())),
            # A tunnel belongs to one worker, and requests that another one takes don't find it.
            *("--concurrency", "1"),
            *("--drain-time-s", str(DRAIN_SECONDS), "--drain-strategy", "immediate"),
            *("--log-level", log_level),
            "--disable-hot-restart",
        ]


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """A port on loopback that nobody else is given until the end of the block, and on which Envoy can listen."""
    with socket.socket() as holder:
        if sys.platform == "linux":
            # Envoy asks for the same, and a socket that doesn't listen is given no connections.
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
        if sys.platform != "linux":
            holder.close()
        yield port
