"""Secrets that prove who is calling: made, kept in files of mode 0600, compared by hash.

Standalone, the manager makes a token for the administrator, and one for each user, sidecar and gateway, and leaves them
in its state directory, where only the user that runs it can read them. They stay the same over restarts. Session tokens
are made when a session starts; the manager keeps their hashes only.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from xds.paths import StateDir, write_private
from xds.registry.workload import WorkloadId


def new_token() -> str:
    """A token of 256 random bits."""
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """What is kept of a token. It has too many random bits for a salt or a slow hash to add anything."""
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class SidecarIdentity:
    """The instance that a sidecar stands in front of."""

    workload: WorkloadId
    instance: str


@dataclass(slots=True)
class Tokens:
    """Who presents which token, by the token's hash."""

    admin: str = ""
    users: dict[str, str] = field(default_factory=dict)
    sidecars: dict[str, SidecarIdentity] = field(default_factory=dict)
    gateways: dict[str, str] = field(default_factory=dict)

    def is_admin(self, token: str) -> bool:
        """Whether it is the administrator's."""
        return bool(token) and secrets.compare_digest(self.admin, token_hash(token))

    def user(self, token: str) -> str | None:
        """The user whose token it is."""
        return self.users.get(token_hash(token)) if token else None

    def sidecar(self, token: str) -> SidecarIdentity | None:
        """The sidecar whose token it is."""
        return self.sidecars.get(token_hash(token)) if token else None

    def gateway(self, token: str) -> str | None:
        """The name of the gateway whose token it is."""
        return self.gateways.get(token_hash(token)) if token else None


def issue(
    state: StateDir, users: Iterable[str], sidecars: Iterable[SidecarIdentity], gateways: Iterable[str] = ()
) -> Tokens:
    """Read or make every token of the standalone manager. Raises OSError."""
    tokens = Tokens(admin=token_hash(_keep(state.admin_token)))
    for user in users:
        tokens.users[token_hash(_keep(state.user_token(user)))] = user
    for sidecar in sidecars:
        path = state.sidecar(str(sidecar.workload), sidecar.instance) / "token"
        tokens.sidecars[token_hash(_keep(path))] = sidecar
    for name in gateways:
        tokens.gateways[token_hash(_keep(state.gateway(name) / "token"))] = name
    return tokens


def _keep(path: Path) -> str:
    """The token in a file, made where there is none."""
    if path.exists():
        token = path.read_text().strip()
        if token:
            path.chmod(0o600)
            return token
    token = new_token()
    write_private(path, token + "\n")
    return token


def new_id(prefix: str) -> str:
    """An id that nobody has: the prefix and 40 random bits, short enough to type."""
    return f"{prefix}-{secrets.token_hex(5)}"
