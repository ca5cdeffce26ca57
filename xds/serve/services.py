"""The gRPC services of xDS, which both sides have to name alike."""

from __future__ import annotations

from types import MappingProxyType

from xds.serve.resource import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, RUNTIME, SCOPED_ROUTE, SECRET
from xds.serve.status import Variant

_DISCOVERY = "envoy.service.{}.v3.{}"
SERVICES: tuple[tuple[str, str, str | None], ...] = (
    (_DISCOVERY.format("discovery", "AggregatedDiscoveryService"), "AggregatedResources", None),
    (_DISCOVERY.format("cluster", "ClusterDiscoveryService"), "Clusters", CLUSTER),
    (_DISCOVERY.format("endpoint", "EndpointDiscoveryService"), "Endpoints", ENDPOINT),
    (_DISCOVERY.format("listener", "ListenerDiscoveryService"), "Listeners", LISTENER),
    (_DISCOVERY.format("route", "RouteDiscoveryService"), "Routes", ROUTE),
    (_DISCOVERY.format("route", "ScopedRoutesDiscoveryService"), "ScopedRoutes", SCOPED_ROUTE),
    (_DISCOVERY.format("secret", "SecretDiscoveryService"), "Secrets", SECRET),
    (_DISCOVERY.format("extension", "ExtensionConfigDiscoveryService"), "ExtensionConfigs", EXTENSION),
    (_DISCOVERY.format("runtime", "RuntimeDiscoveryService"), "Runtime", RUNTIME),
)
"""gRPC service, method name without its prefix, and the only type it speaks of (None: any)."""

PREFIXES = MappingProxyType({Variant.SOTW: "Stream", Variant.DELTA: "Delta"})
"""What each variant's method names begin with."""


def method_path(variant: Variant, type_url: str | None = None) -> str:
    """The path of a method: the aggregated one, or that of the only type it speaks of. Raises ValueError."""
    for service, method, speaks_of in SERVICES:
        if speaks_of == type_url:
            return f"/{service}/{PREFIXES[variant]}{method}"
    raise ValueError(f"no service speaks of {type_url} alone, only the aggregated one does")
