"""The resources of one node, from whichever side they come."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

TYPES = ("listeners", "routes", "clusters", "endpoints")

MORE_TYPES = {
    "secrets": "sds",
    "extensions": "ecds",
    "runtimes": "rtds",
    "scoped-routes": "srds",
    "virtual-hosts": "vhds",
}
"""Types that Byway's manager does not use, and their abbreviations."""

ALIASES = {
    **{name: name for name in TYPES},
    **{name.removesuffix("s"): name for name in TYPES},
    **{f"{name[0]}ds": name for name in TYPES},
}
"""As people may say it: listeners, listener, lds."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource. `body` is its JSON with the names of Envoy's protos; versions are empty where unknown."""

    name: str
    body: dict[str, Any]
    version: str = ""
    acked_version: str = ""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What Envoy counted for one endpoint."""

    connections: int
    requests: int
    errors: int


@dataclass(frozen=True, slots=True)
class Listing:
    """The resources of one type of a node. `source` is `manager` or `envoy`; `remarks` are sentences for people.

    `endpoints` are there where the type is clusters; `traffic` where Envoy was asked, by cluster and address.
    """

    node: str
    type: str
    source: str
    resources: list[Resource]
    endpoints: list[Resource] = field(default_factory=list)
    traffic: dict[tuple[str, str], Traffic] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """What `-o json` and `-o yaml` print."""
        shown: list[dict[str, Any]] = []
        for one in self.resources:
            acked = {"acked_version": one.acked_version} if self.source == "manager" else {}
            shown.append({"name": one.name, "version": one.version, **acked, "resource": one.body})
        remarks = {"remarks": self.remarks} if self.remarks else {}
        return {"node": self.node, "type": self.type, "source": self.source, **remarks, "resources": shown}


def address_text(address: dict[str, Any]) -> str:
    """An address of Envoy's as people write it."""
    if socket := address.get("socket_address"):
        host, port = socket.get("address", ""), socket.get("port_value", socket.get("named_port", 0))
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if internal := address.get("envoy_internal_address"):
        return f"internal {internal.get('server_listener_name', '')}"
    if pipe := address.get("pipe"):
        return f"unix:{pipe.get('path', '')}"
    return ""
