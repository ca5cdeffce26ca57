"""The way to a laptop: through an internal listener of the sidecar's own Envoy.

    route ──▶ intercept cluster ─P0─▶ internal listener ──▶ laptop cluster ─P0─▶ laptop
                       └──────── P1 ──▶ app                        └─── P1 ──▶ app

That is a laptop that is reached directly. One that has a tunnel is reached through the gateways, whose cluster all
intercepts of a workload share:

    route ──▶ intercept cluster ─P0─▶ internal listener ──▶ gateways ──▶ tunnel ──▶ laptop
                       └──────── P1 ──▶ app

Why the hop: nobody may wait for ever on a laptop that is gone, and nobody's time at a breakpoint may be limited.
Envoy has no way to end the requests in flight at one endpoint: neither a health flip nor removing endpoint, cluster
or route does it, and time limits are fixed when a request starts. A removed listener, however, closes its connections
after the drain time (`--drain-time-s`, two seconds for our sidecars) and touches no other. So when a laptop is away
its endpoint becomes unhealthy, which sends new requests to the app, and its internal listener is removed, which ends
the old ones.

When it comes back the listener has a new name (a new *generation*): under the old name, connections that are pooled
for the listener that is draining would be used again and cut.

A connection that is refused is retried on the app behind the hop; a hop that isn't there yet, or not any more, is
retried on the app before it. So is what a gateway, or the laptop's end of the tunnel, marks as seen by nobody.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.listener.v3 import FilterChain, Listener, ListenerInternalListenerConfig
from envoy_data_plane.envoy.config.route.v3 import Route, RouteConfiguration, VirtualHost

from xds.compile import endpoint, names
from xds.compile.connection_manager import connection_manager
from xds.compile.route import gateway_hop_route, hop_route
from xds.compile.state import Reach
from xds.registry.intercept import Intercept, WhenDown
from xds.registry.workload import Address


def internal_listener(name: str, intercept: Intercept, laptop_cluster: str) -> Listener:
    """The listener of one generation of the way to a laptop that is reached directly."""
    return _listener(name, hop_route(intercept, laptop_cluster))


def gateway_listener(name: str, intercept: Intercept, port: int) -> Listener:
    """The listener of one generation of the way to a laptop that has a tunnel."""
    return _listener(name, gateway_hop_route(intercept, port), mark_away=True)


def _listener(name: str, route: Route, *, mark_away: bool = False) -> Listener:
    """It has its only route inside."""
    host = VirtualHost(name="all", domains=["*"], routes=[route])
    # Clusters come by another type of resource, and may be a moment later than this one.
    routes = RouteConfiguration(name=name, virtual_hosts=[host], validate_clusters=False)
    chain = FilterChain(filters=[connection_manager("hop", routes=routes, mark_away=mark_away)])
    return Listener(name=name, internal_listener=ListenerInternalListenerConfig(), filter_chains=[chain])


def assignments(cluster: str, intercept: Intercept, reach: Reach, app: Address) -> dict[str, bytes]:
    """The endpoints of an intercept's clusters, for one instance whose app is at that address."""
    behind = fallback(intercept, app)
    hop = endpoint.hop_locality(names.hop(cluster, reach.generation), up=reach.up)
    if reach.tunnel:
        return {cluster: endpoint.assignment(cluster, [hop, *behind])}
    laptop = names.laptop_cluster(cluster)
    return {
        cluster: endpoint.assignment(cluster, [hop, *behind]),
        laptop: endpoint.assignment(laptop, [endpoint.laptop_locality(reach.address), *behind]),
    }


def fallback(intercept: Intercept, app: Address) -> list[bytes]:
    """Who answers while the laptop doesn't: the app, or nobody."""
    return [endpoint.app_locality(app, priority=1)] if intercept.spec.when_down is WhenDown.CLUSTER else []
