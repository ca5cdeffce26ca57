"""The names of resources. They are what people see in Envoy's admin pages and in xdsctl, so they read as paths."""

from __future__ import annotations

from xds.registry.workload import WorkloadId

METADATA = "byway"
"""The key of our filter metadata on routes and endpoints."""

GATEWAYS = "gateways"
"""The group of all gateways: what every one of them is given. A workload's has slashes in it. For sidecars, the name of
the cluster that takes them there.
"""

APP = "app"
"""The name of the route that ordinary traffic takes."""


def port(workload: WorkloadId, number: int) -> str:
    """The listener, and the route configuration, of a workload's port."""
    return f"{workload}/{number}"


def app_cluster(workload: WorkloadId, number: int) -> str:
    """The cluster of the app itself."""
    return f"{workload}/{number}/{APP}"


def intercept_cluster(workload: WorkloadId, number: int, intercept: str) -> str:
    """The cluster that an intercept's routes on a port name.

    A cluster is never edited in place, since an edited EDS cluster warms for up to 15 s: its configuration is the
    same for ever, and whatever changes comes by EDS.
    """
    return f"{workload}/{number}/intercept/{intercept}"


def laptop_cluster(cluster: str) -> str:
    """The cluster behind the hop of an intercept's cluster: the laptop itself."""
    return f"{cluster}/laptop"


def hop(cluster: str, generation: str) -> str:
    """The internal listener of an intercept's cluster."""
    return f"{cluster}/hop@{generation}"


def tcp_cluster(workload: WorkloadId, number: int) -> str:
    """The cluster of a port's connections that carry no HTTP, whoever answers them."""
    return f"{workload}/{number}/tcp"


def tcp_laptop_cluster(cluster: str) -> str:
    """The laptop that an intercept sends connections to, behind their hop."""
    return f"{cluster}/tcp-laptop"


def tcp_hop(cluster: str, generation: str) -> str:
    """The internal listener of an intercept's connections."""
    return f"{cluster}/tcp-hop@{generation}"


TO_SIDECARS = "sidecars"
"""The listener at which a gateway takes what sidecars send, and its route configuration."""

TO_LAPTOPS = "laptops"
"""The listener that laptops dial, and its route configuration."""


def target(intercept: str, number: int) -> str:
    """What a sidecar says to a gateway to name a laptop's target: an intercept's, for a port of its workload."""
    return f"{intercept}/{number}"


def identity(workload: WorkloadId) -> str:
    """The name in the certificates of a workload's sidecars, as SPIFFE writes such names."""
    return f"spiffe://byway/{workload}"


def service_cluster(workload: WorkloadId, number: int) -> str:
    """A gateway's cluster of a workload's port, for laptops that call into the cluster."""
    return f"service/{workload}/{number}"


def node(workload: WorkloadId, instance: str) -> str:
    """The node id of an instance's sidecar."""
    return f"{workload}/{instance}"


def gateway_node(name: str) -> str:
    """The node id of a gateway. No workload's has as few parts."""
    return f"gateway/{name}"
