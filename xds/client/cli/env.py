"""`byway env`"""

from __future__ import annotations

import click

from xds.paths import StateDir
from xds.terminal.options import common
from xds.terminal.output import data, is_data, show


@click.command(short_help="Print the variables that lead programs into the cluster.")
@click.option("--unset", is_flag=True, help="Print how to take them back.")
@common
def env(unset: bool, state: StateDir, output: str) -> None:
    """Print the variables that lead programs into the cluster.

    With them curl, git, most languages' HTTP clients and everything else that knows proxies reach services by the names
    that they have in the cluster, such as orders.dev or orders.dev.svc.cluster.local, in the namespaces that you may
    use. Everything else is out of their reach, but for what NO_PROXY names: what it named before stays, and localhost
    is added. Each connection counts as activity.

    \b
    Examples:
      eval "$(byway env)"
      curl http://orders.dev:8080/
      eval "$(byway env --unset)"

    \b
    JSON:
      variables {HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, the same in lower case, BYWAY_PROXY}

    The proxy is the daemon's: it listens on this machine's loopback only, for your own programs only, until
    `byway quit`.
    """
    from xds.client.cli.proxied import proxy_of
    from xds.client.egress.environment import ALL_NAMES, exports, unsets, variables

    if unset:
        show(data({"unset": list(ALL_NAMES)}, output) if is_data(output) else unsets())
        return
    proxy = proxy_of(state)
    values = variables(proxy.address, proxy.password)
    show(data({"variables": values}, output) if is_data(output) else exports(values))
