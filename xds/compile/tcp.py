"""Connections that are carried as they are: those of TCP and TLS ports, and on sniffed ports those that aren't HTTP.

    TCP proxy ──▶ the port's TCP cluster ─P0─▶ internal listener: TCP proxy ──▶ laptop cluster ─P0─▶ laptop
                          └────────────── P1 ──▶ app                                  └─── P1 ──▶ app

There are no routes that could change, and a listener that changed would cut everybody's connections. So each such port
has a cluster of its own for ever, and a global intercept changes its endpoints: new connections go to the laptop,
while those that are there stay where they are. The hop is there for the same reason as that of requests: what is
under way at a laptop that goes away has to end, see `xds.compile.hop`.

Endpoints arrive before listeners, so for a moment the way may lead to a hop that isn't there yet. The first proxy tries
again until it is. The second one tries again until the app is asked, where the laptop refuses the connection.

To a laptop that has a tunnel each connection goes as a CONNECT through a gateway. There is no app behind that: where
the tunnel has just been lost, connections fail until the control plane has taken the way away.
"""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import BackoffStrategy
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener, ListenerInternalListenerConfig
from envoy_data_plane.envoy.extensions.filters.network.tcp_proxy.v3 import TcpProxy, TcpProxyTunnelingConfig

from xds.compile import endpoint, names
from xds.compile.encode import pack
from xds.compile.hop import fallback
from xds.compile.route import OVERWRITE, TO, header
from xds.compile.state import Reach, Routed
from xds.compile.transparent import FOREVER
from xds.registry.intercept import Intercept
from xds.registry.workload import Address

CONNECT_AUTHORITY = "laptop.byway:1"
"""What a CONNECT to a gateway asks for; where it leads is said by its headers."""

TRIES = 8
FIRST_PAUSE = timedelta(milliseconds=25)
LONGEST_PAUSE = timedelta(milliseconds=100)
"""Envoy waits for a random part of a pause that doubles: together a third of a second on average. The first is long
enough to have heard, in all likelihood, that a laptop is put aside.
"""


def tcp_proxy(stat_prefix: str, cluster: str, tunneling: TcpProxyTunnelingConfig | None = None) -> Filter:
    """A TCP proxy without any limit of time on connections. Only connecting is tried again."""
    config = TcpProxy(
        stat_prefix=stat_prefix,
        cluster=cluster,
        idle_timeout=FOREVER,
        max_connect_attempts=TRIES,
        tunneling_config=tunneling,
        backoff_options=BackoffStrategy(base_interval=FIRST_PAUSE, max_interval=LONGEST_PAUSE),
    )
    return Filter(name="tcp", typed_config=pack(config))


def internal_listener(name: str, laptop_cluster: str) -> Listener:
    """The listener of one generation of an intercept's hop."""
    return _listener(name, tcp_proxy("hop", laptop_cluster))


def gateway_listener(name: str, intercept: Intercept, port: int) -> Listener:
    """The listener of one generation of the way to a laptop that has a tunnel: each connection is a CONNECT."""
    tunneling = TcpProxyTunnelingConfig(
        hostname=CONNECT_AUTHORITY, headers_to_add=[header(TO, names.target(intercept.id, port), OVERWRITE)]
    )
    return _listener(name, tcp_proxy("hop", names.GATEWAYS, tunneling))


def _listener(name: str, proxy: Filter) -> Listener:
    chain = FilterChain(filters=[proxy])
    return Listener(name=name, internal_listener=ListenerInternalListenerConfig(), filter_chains=[chain])


def assignment(cluster: str, way: tuple[str, Routed] | None, port: int, app: Address) -> bytes:
    """The endpoints of a port's TCP cluster: the app, or the hop of the intercept that has the port.

    `way`: that intercept, and the name that its clusters have on this port.
    """
    if way is None:
        return endpoint.assignment(cluster, [endpoint.app_locality(app, priority=0)])
    name, holder = way
    reach = holder.laptops[port]
    hop = endpoint.hop_locality(names.tcp_hop(name, reach.generation), up=reach.up)
    return endpoint.assignment(cluster, [hop, *fallback(holder.intercept, app)])


def laptop_assignment(cluster: str, intercept: Intercept, reach: Reach, app: Address) -> bytes:
    """The endpoints behind the hop."""
    return endpoint.assignment(cluster, [endpoint.laptop_locality(reach.address), *fallback(intercept, app)])
