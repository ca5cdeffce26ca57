"""All of it together, as the manager's process holds it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from xds.manager.clock import Clock
from xds.manager.identity.authority import Authority
from xds.manager.identity.certificates import Secrets, subjects
from xds.manager.identity.keys import SigningKeys
from xds.manager.pulse import Pulse
from xds.manager.store.errors import StoreError
from xds.registry.workload import Workload
from xds.serve.store import Store


class Identity:
    """The authority, the signing keys, and the secrets of sidecars and gateways."""

    def __init__(self, folder: Path, store: Store, clock: Clock) -> None:
        """Read what is in a folder of the manager's, or make it. Raises IdentityError, OSError."""
        self.authority = Authority.open(folder / "ca.pem", wall=clock.wall())
        self.keys = SigningKeys(folder / "keys.json", lambda: clock.wall().timestamp())
        self.rotated = Pulse()
        """Fires when gateways have to hear of other keys."""
        self._secrets = Secrets(store, self.authority, clock)

    def serve(self, gateways: Iterable[str], workloads: Iterable[Workload]) -> None:
        """Have certificates for these gateways and, where there are any, for every instance of these workloads."""
        self._secrets.want(subjects(gateways, workloads))

    def tick(self) -> None:
        """Renew what is due. Raises StoreError where new keys can't be kept; the old ones go on meanwhile."""
        self._secrets.renew()
        try:
            if self.keys.advance():
                self.rotated.fire()
        except OSError as error:
            raise StoreError(f"the next signing key can't be kept: {error}") from error
