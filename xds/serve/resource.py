# ruff: noqa: A005  absolute imports only: the standard library's `resource` is not hidden by this one
"""xDS resources, ready to send: a name, a type, the serialised message and a version made from its bytes.

The version is a hash of the content and nothing else. Two replicas of a control plane that hold the same configuration
therefore speak of the same versions, and a client that reconnects to the other replica is sent nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b

from xds.serve.protobuf import as_bytes, as_text, fields

_V3 = "type.googleapis.com/envoy.config."

CLUSTER = f"{_V3}cluster.v3.Cluster"
ENDPOINT = f"{_V3}endpoint.v3.ClusterLoadAssignment"
LISTENER = f"{_V3}listener.v3.Listener"
SCOPED_ROUTE = f"{_V3}route.v3.ScopedRouteConfiguration"
ROUTE = f"{_V3}route.v3.RouteConfiguration"
VIRTUAL_HOST = f"{_V3}route.v3.VirtualHost"
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105  a type URL
EXTENSION = f"{_V3}core.v3.TypedExtensionConfig"
RUNTIME = "type.googleapis.com/envoy.service.runtime.v3.Runtime"

PUSH_ORDER = (CLUSTER, ENDPOINT, LISTENER, SCOPED_ROUTE, ROUTE, VIRTUAL_HOST, SECRET, EXTENSION, RUNTIME)
"""Make before break: what is referred to goes out before what refers to it (xDS protocol, "Eventual consistency
considerations"). Types that are not listed come last."""

REMOVAL_ORDER = (LISTENER, SCOPED_ROUTE, ROUTE, VIRTUAL_HOST, CLUSTER, ENDPOINT)
"""Removals follow when nothing is left to add: who refers goes before who is referred to, and a parent before its
child, because a client that has dropped the parent unsubscribes from the child by itself."""

FULL_STATE = frozenset({CLUSTER, LISTENER})
"""In state-of-the-world, responses of these types hold everything and what is missing is deleted; responses of other
types hold some resources and delete nothing (xDS protocol, "Grouping Resources into Responses")."""


def content_version(body: bytes) -> str:
    """The version of a resource with this serialised body: 16 hexadecimal digits."""
    return blake2b(body, digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Resource:
    """One xDS resource. `body` is the serialised message of type `type_url`; `version` is a hash of it.

    Raises ValueError if it is to be a cluster and its body is no message.
    """

    name: str
    version: str
    type_url: str
    body: bytes
    endpoints: str | None = field(init=False, repr=False, compare=False)
    """For a cluster: under which name it asks for its endpoints, or None if it gets them otherwise."""

    def __post_init__(self) -> None:
        name = _endpoint_name(self.name, self.body) if self.type_url == CLUSTER else None
        object.__setattr__(self, "endpoints", name)

    @classmethod
    def of(cls, type_url: str, name: str, body: bytes) -> Resource:
        """A resource whose version is made from its content."""
        return cls(name, content_version(body), type_url, body)

    def __repr__(self) -> str:
        return f"Resource({self.type_url.rpartition('.')[2]} {self.name!r} @{self.version}, {len(self.body)} B)"


def _endpoint_name(cluster: str, body: bytes) -> str | None:
    """`eds_cluster_config.service_name`, or else the cluster's own name (config.cluster.v3.Cluster, field 3)."""
    config: bytes | None = None
    try:
        for number, kind, value in fields(body):
            if number == 3:
                config = (config or b"") + as_bytes("eds_cluster_config", kind, value)
        if config is None:
            return None
        names = [as_text("service_name", kind, value) for number, kind, value in fields(config) if number == 2]
    except ValueError as error:
        raise ValueError(f"the body of cluster {cluster!r} is no Cluster: {error}") from None
    return names[-1] if names and names[-1] else cluster
