"""The kinds of tunnel. What is shown of one is shown of every one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from xds.client.tunnel.contract import Changed, Tunnel
from xds.client.tunnel.envoy_tunnel import EnvoyTunnel
from xds.client.tunnel.mux import PythonTunnel

Make = Callable[[Changed, Path], Tunnel]


def _envoy(changed: Changed, folder: Path) -> Tunnel:
    return EnvoyTunnel(changed, folder=folder)


def _python(changed: Changed, _: Path) -> Tunnel:
    return PythonTunnel(changed)


KINDS: dict[str, Make] = {"envoy": _envoy, "python": _python}
