"""The kinds of tunnels that tests go through, and what makes them."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path

from xds.client.tunnel.contract import Changed, MakeTunnel, Tunnel
from xds.client.tunnel.envoy_tunnel import EnvoyTunnel
from xds.client.tunnel.mux import PythonTunnel


def _envoy(changed: Changed) -> Tunnel:
    # The tunnel makes it, and removes it when it is stopped.
    return EnvoyTunnel(changed, folder=Path(tempfile.gettempdir()) / f"bw-{secrets.token_hex(4)}")


TUNNELS: dict[str, MakeTunnel] = {"envoy": _envoy, "python": PythonTunnel}
