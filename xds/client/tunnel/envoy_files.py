"""What the laptop's Envoy reads from its folder: the token, and the name of the token's file.

The folder is the user's alone. The token is replaced by renaming, which is what Envoy watches for; it is read anew for
each carrier and each handshake.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from xds.client.tunnel.envoy_carrier import SECRET_FILE
from xds.paths import private_dir, write_private


@dataclass(frozen=True, slots=True)
class EnvoyFiles:
    """The folder that Envoy is started in. Paths in its configuration are relative to it."""

    folder: Path

    @property
    def admin(self) -> Path:
        """Envoy's admin socket."""
        return self.folder / "admin"

    @property
    def xds(self) -> Path:
        """Where the daemon serves Envoy's configuration."""
        return self.folder / "xds"

    @property
    def raw(self) -> Path:
        """Where the daemon makes raw connections for Envoy."""
        return self.folder / "raw"

    @property
    def token(self) -> Path:
        """The token, and nothing else."""
        return self.folder / "auth" / "token"

    def prepare(self, token: str) -> None:
        """Make everything that has to be there before Envoy. Raises OSError."""
        private_dir(self.folder)
        self.admin.unlink(missing_ok=True)
        self.renew(token)
        secret = {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            "name": "token",
            "generic_secret": {"secret": {"filename": "auth/token", "watched_directory": {"path": "auth"}}},
        }
        write_private(self.folder / SECRET_FILE, json.dumps({"resources": [secret]}))

    def renew(self, token: str) -> None:
        """Put another token in the place of the old one. Raises OSError."""
        write_private(self.token, token)

    def remove(self) -> None:
        """Leave nothing."""
        with contextlib.suppress(OSError):
            shutil.rmtree(self.folder)
