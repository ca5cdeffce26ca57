"""Where Byway keeps its state on a machine, and where its own data files are.

The state directory is `--state-dir`, else `$BYWAY_STATE`, else `$XDG_STATE_HOME/byway`, else `~/.local/state/byway`:

    manager/address               host:port of the manager that runs here
    manager/admin.token           the administrator's token
    manager/users/NAME.token      a user's token
    manager/identity/             the keys of the manager's certificate authority, and those that sign tokens
    sidecars/NS/KIND/NAME/ID/     a sidecar's: its token, its bootstrap
    gateways/NAME/                a gateway's: its token, its bootstrap, the keys that it checks tokens with
    run/HASH.sock                 a sidecar's or gateway's admin interface; the path of a socket must be short
    run/HASH.keys.sock            where a gateway's Envoy asks for those keys
    laptop/                       the daemon's: `daemon.sock`, `daemon.log`, `session.json`

Directories are made with mode 0700 and files that hold a secret with 0600.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

SOCKET_PATH_LIMIT = 103
"""The longest path that a Unix socket may have everywhere (macOS: 104 bytes with the final NUL)."""


@dataclass(frozen=True, slots=True)
class StateDir:
    """The state directory."""

    root: Path

    @classmethod
    def default(cls) -> StateDir:
        """The directory that the environment names."""
        if explicit := os.environ.get("BYWAY_STATE"):
            return cls(Path(explicit))
        base = os.environ.get("XDG_STATE_HOME")
        return cls((Path(base) if base else Path.home() / ".local" / "state") / "byway")

    @property
    def manager(self) -> Path:
        """The manager's part."""
        return self.root / "manager"

    @property
    def address(self) -> Path:
        """Holds the address of the manager that runs here."""
        return self.manager / "address"

    @property
    def admin_token(self) -> Path:
        """Holds the administrator's token."""
        return self.manager / "admin.token"

    def user_token(self, user: str) -> Path:
        """Holds a user's token."""
        return self.manager / "users" / f"{user}.token"

    def sidecar(self, workload: str, instance: str) -> Path:
        """The part of one sidecar; `workload` is NAMESPACE/KIND/NAME."""
        return self.root / "sidecars" / workload / instance

    def admin_socket(self, workload: str, instance: str) -> Path:
        """The admin interface of one sidecar; `workload` is NAMESPACE/KIND/NAME."""
        return self._socket(f"{workload}/{instance}", "sock")

    @property
    def identity(self) -> Path:
        """The manager's secrets that others are proved by."""
        return self.manager / "identity"

    def gateway(self, name: str) -> Path:
        """The part of one gateway."""
        return self.root / "gateways" / name

    def gateway_admin_socket(self, name: str) -> Path:
        """The admin interface of one gateway."""
        return self._socket(f"gateway/{name}", "sock")

    def gateway_keys_socket(self, name: str) -> Path:
        """Where one gateway's Envoy asks for the keys that it checks tokens with."""
        return self._socket(f"gateway/{name}", "keys.sock")

    def _socket(self, node: str, ending: str) -> Path:
        return self.root / "run" / f"{blake2b(node.encode(), digest_size=6).hexdigest()}.{ending}"

    @property
    def laptop(self) -> Path:
        """The daemon's part."""
        return self.root / "laptop"


def private_dir(path: Path) -> Path:
    """Make a directory (and those above it) that only its owner may enter. Raises OSError.

    One that was there before stays as it is above `path`: it may be somebody else's.
    """
    made = [path, *itertools.takewhile(lambda one: not one.exists(), path.parents)]
    # pathlib gives the mode to the last one only, and takes the umask's bits away from it.
    for one in reversed(made):
        one.mkdir(exist_ok=True, mode=0o700)
        one.chmod(0o700)
    return path


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all. Raises OSError."""
    private_dir(path.parent)
    # mkstemp makes the file 0600 before there is anything in it.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def data_file(name: str) -> Path:
    """A file of `envoy/`: beside the package in a checkout, inside it when installed from a wheel."""
    here = Path(__file__).parent
    for folder in (here / "_envoy", here.parent / "envoy"):
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"byway was installed without its data file envoy/{name}")
