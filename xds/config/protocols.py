"""What a port speaks, from what Kubernetes knows of it: `protocol`, `appProtocol`, the port's name.

The order and the names are Istio's (https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/),
the `kubernetes.io/` names those of https://kubernetes.io/docs/concepts/services-networking/service/#application-protocol.
"""

from __future__ import annotations

from typing import Final

from xds.registry.workload import AppProtocol

_BY_NAME: Final = {
    "http": AppProtocol.HTTP,
    "http2": AppProtocol.HTTP2,
    "grpc": AppProtocol.GRPC,
    # gRPC-Web is plain HTTP, of any version (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md).
    "grpc-web": AppProtocol.HTTP,
    "https": AppProtocol.TLS,
    "tls": AppProtocol.TLS,
    "tcp": AppProtocol.TCP,
    "mongo": AppProtocol.TCP,
    "mysql": AppProtocol.TCP,
    "redis": AppProtocol.TCP,
}
_BY_APP_PROTOCOL: Final = _BY_NAME | {
    "h2c": AppProtocol.HTTP2,
    "ws": AppProtocol.HTTP,
    "wss": AppProtocol.TLS,
    "kubernetes.io/h2c": AppProtocol.HTTP2,
    "kubernetes.io/ws": AppProtocol.HTTP,
    "kubernetes.io/wss": AppProtocol.TLS,
}
APP_PROTOCOLS: Final = tuple(_BY_APP_PROTOCOL)
"""The names that `appProtocol` may have, in lower case."""


def by_app_protocol(name: str) -> AppProtocol | None:
    """What an `appProtocol` declares, in any letter case; UNKNOWN for another vendor's (`example.com/x`).

    None for a name that means nothing to us and has no vendor.
    """
    lower = name.lower()
    unknown = AppProtocol.UNKNOWN if "/" in lower and not lower.startswith("kubernetes.io/") else None
    return _BY_APP_PROTOCOL.get(lower, unknown)


def by_port_name(name: str) -> AppProtocol:
    """What a port's name declares: `http`, `grpc-orders`; UNKNOWN when it declares nothing."""
    lower = name.lower()
    if lower == "grpc-web" or lower.startswith("grpc-web-"):
        return AppProtocol.HTTP
    return _BY_NAME.get(lower.partition("-")[0], AppProtocol.UNKNOWN)
