"""The names of resources. They are what people see in Envoy's admin pages and in xdsctl, so they read as paths."""

from __future__ import annotations

from xds.registry.intercept import Target, WhenDown
from xds.registry.workload import WorkloadId

METADATA = "byway"
"""The key of our filter metadata on routes and endpoints."""

APP = "app"
"""The name of the route that ordinary traffic takes."""


def port(workload: WorkloadId, number: int) -> str:
    """The listener, and the route configuration, of a workload's port."""
    return f"{workload}/{number}"


def app_cluster(workload: WorkloadId, number: int) -> str:
    """The cluster of the app itself."""
    return f"{workload}/{number}/{APP}"


def laptop_cluster(workload: WorkloadId, number: int, session: str, target: Target, when_down: WhenDown) -> str:
    """The cluster of a laptop that is reached directly.

    A cluster is never edited in place, since an edited EDS cluster warms for up to 15 s: whatever tells two
    configurations apart is part of the name, and addresses come by EDS.
    """
    variant = "" if when_down is WhenDown.CLUSTER else f"/{when_down}"
    return f"{workload}/{number}/laptop/{session}/{target}{variant}"


def node(workload: WorkloadId, instance: str) -> str:
    """The node id of an instance's sidecar."""
    return f"{workload}/{instance}"
