"""How commands get at the daemon's proxy into the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xds.terminal.failure import FailureError, not_connected

if TYPE_CHECKING:
    from xds.api.byway.daemon.v1 import Proxy
    from xds.paths import StateDir


def proxy_of(state: StateDir) -> Proxy:
    """The proxy, ready for use. Raises FailureError."""
    from xds.api.byway.daemon.v1 import Proxy
    from xds.client.cli.api import call_daemon
    from xds.client.cli.bringup import get_status

    status = call_daemon(state, get_status)
    if status.state != "connected":
        raise not_connected(f"not connected: {status.detail}", hint="see `byway status`")
    proxy = status.proxy or Proxy(detail="the daemon that runs is older than this command")
    if proxy.detail or not proxy.address:
        raise FailureError(proxy.detail, hint="see `byway status`", code="no_way_into_the_cluster")
    return proxy
