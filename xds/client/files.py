"""The files of the laptop's part of the state directory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from xds.paths import SOCKET_PATH_LIMIT, StateDir

ALREADY_RUNNING = 75
"""The daemon's exit code (EX_TEMPFAIL of sysexits.h) when another one holds this state directory."""


class SocketPathTooLongError(ValueError):
    """The daemon's socket would have a path longer than a Unix socket may have."""


@dataclass(frozen=True, slots=True)
class LaptopFiles:
    """What the daemon keeps, and the command line looks for."""

    folder: Path

    @classmethod
    def of(cls, state: StateDir) -> LaptopFiles:
        """The files below a state directory; a daemon has no use for relative paths."""
        return cls(state.laptop.absolute())

    @property
    def socket(self) -> Path:
        """Where the daemon answers."""
        return self.folder / "daemon.sock"

    @property
    def log(self) -> Path:
        """What the daemon says."""
        return self.folder / "daemon.log"

    @property
    def pid(self) -> Path:
        """Locked by the daemon that runs; holds its process id."""
        return self.folder / "daemon.pid"

    @property
    def session(self) -> Path:
        """The session to resume, with its token."""
        return self.folder / "session.json"

    @property
    def tunnel(self) -> Path:
        """Envoy's, where one holds the tunnel. Its sockets have no longer paths than the daemon's."""
        return self.folder / "tun"

    def socket_address(self) -> str:
        """The socket as gRPC names it. Raises SocketPathTooLongError."""
        length = len(os.fsencode(self.socket))
        if length > SOCKET_PATH_LIMIT:
            raise SocketPathTooLongError(
                f"{self.socket} is {length} bytes long, but the path of a Unix socket has at most {SOCKET_PATH_LIMIT}; "
                "choose a shorter directory with --state-dir or BYWAY_STATE"
            )
        # gRPC reads the address as a URI and undoes percent-encoding.
        return "unix:" + quote(os.fspath(self.socket))
