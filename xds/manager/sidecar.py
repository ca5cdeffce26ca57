"""A sidecar's Envoy: its bootstrap from the template, its files, its command line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from xds.bootstrap import NoEnvoyError, envoy_binary, sidecar_bootstrap
from xds.compile import names
from xds.paths import SOCKET_PATH_LIMIT, StateDir, private_dir, write_private
from xds.registry.regex import MAX_PROGRAM_SIZE
from xds.registry.workload import Address, WorkloadId

DRAIN_SECONDS = 2
"""How long what is in flight at a laptop may go on after the laptop went away: the drain time of its hop's listener."""


class SidecarError(Exception):
    """The sidecar can't be started; says what to do."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The sidecar of one instance, and where its files are."""

    workload: WorkloadId
    instance: str
    folder: Path
    admin_socket: Path

    @classmethod
    def of(cls, state: StateDir, workload: WorkloadId, instance: str) -> Sidecar:
        """The sidecar whose files are in the state directory."""
        name = str(workload)
        return cls(workload, instance, state.sidecar(name, instance), state.admin_socket(name, instance))

    @property
    def token_file(self) -> Path:
        """What proves to the manager which sidecar this is."""
        return self.folder / "token"

    @property
    def bootstrap(self) -> Path:
        """What Envoy starts from."""
        return self.folder / "bootstrap.json"

    def write(self, manager: Address, token_file: Path | None = None) -> None:
        """Write bootstrap and secret reference. Raises SidecarError."""
        token = (token_file or self.token_file).absolute()
        if not token.is_file():
            raise SidecarError(
                f"there is no token {token}; start `byway manager` with a file that names this instance, "
                "with the same --state-dir, or give --token-file"
            )
        if len(str(self.admin_socket.absolute())) > SOCKET_PATH_LIMIT:
            raise SidecarError(
                f"the path of the admin socket is longer than a socket's may be ({SOCKET_PATH_LIMIT} characters): "
                f"{self.admin_socket.absolute()}; choose a shorter --state-dir"
            )
        private_dir(self.folder)
        private_dir(self.admin_socket.parent)
        self.admin_socket.unlink(missing_ok=True)
        secret = self.folder / "secret.json"
        write_private(secret, json.dumps(token_reference(token)))
        write_private(self.bootstrap, json.dumps(self._bootstrap(manager, secret), indent=1))

    def _bootstrap(self, manager: Address, secret: Path) -> object:
        values: dict[str, str | int] = {
            "node": names.node(self.workload, self.instance),
            "workload": str(self.workload),
            "admin_socket": str(self.admin_socket.absolute()),
            "manager_host": manager.host,
            "manager_port": manager.port,
            "secret_file": str(secret.absolute()),
            "max_program_size": MAX_PROGRAM_SIZE,
        }
        return sidecar_bootstrap(values)

    def command(self, *, concurrency: int, log_level: str) -> list[str]:
        """Envoy's command line; no secret is in it. Raises SidecarError."""
        try:
            binary = envoy_binary()
        except NoEnvoyError as error:
            raise SidecarError(str(error)) from error
        return [
            str(binary),
            *("-c", str(self.bootstrap.absolute())),
            *("--concurrency", str(concurrency)),
            *("--drain-time-s", str(DRAIN_SECONDS), "--drain-strategy", "immediate"),
            *("--log-level", log_level),
            "--disable-hot-restart",
        ]


def token_reference(token: Path) -> object:
    """A file of one secret, for Envoy to watch: what is in it is the name of the token's file."""
    return {
        "resources": [
            {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
                "name": "token",
                "generic_secret": {
                    "secret": {"filename": str(token), "watched_directory": {"path": str(token.parent)}}
                },
            }
        ]
    }
