"""The kinds of tunnels that tests go through, and what makes them."""

from __future__ import annotations

from xds.client.tunnel.contract import MakeTunnel
from xds.client.tunnel.mux import PythonTunnel

TUNNELS: dict[str, MakeTunnel] = {"python": PythonTunnel}
