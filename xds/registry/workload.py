"""Workloads, their ports and their running instances: what can be intercepted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True, order=True)
class WorkloadId:
    """Names a workload; prints as `dev/deployment/orders`. The kind is in lower case."""

    namespace: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.kind}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> WorkloadId:
        """Read `NAMESPACE/KIND/NAME`; raises ValueError on anything else."""
        parts = text.split("/")
        if len(parts) != 3 or not all(parts):
            raise ValueError(f"{text!r} is not of the form NAMESPACE/KIND/NAME")
        return cls(parts[0], parts[1].lower(), parts[2])


class AppProtocol(StrEnum):
    """What a port speaks, as Kubernetes' `appProtocol` or the port's name declare it."""

    HTTP = "http"
    HTTP2 = "http2"
    GRPC = "grpc"
    TCP = "tcp"
    TLS = "tls"
    UDP = "udp"
    UNKNOWN = "unknown"

    @property
    def is_http(self) -> bool:
        """Declared to be HTTP of some version: no sniffing needed."""
        return self in {AppProtocol.HTTP, AppProtocol.HTTP2, AppProtocol.GRPC}

    @property
    def may_be_http(self) -> bool:
        """Conditions on requests make sense."""
        return self.is_http or self is AppProtocol.UNKNOWN

    @property
    def may_be_tcp(self) -> bool:
        """Connections may carry bytes that are not HTTP, or are not to be read."""
        return self in {AppProtocol.TCP, AppProtocol.TLS, AppProtocol.UNKNOWN}


@dataclass(frozen=True, slots=True, order=True)
class Port:
    """A port of a workload: the number that the app listens on, as the rest of the cluster knows it."""

    number: int
    name: str = ""
    protocol: AppProtocol = AppProtocol.UNKNOWN

    def __str__(self) -> str:
        return f"{self.number} ({self.name})" if self.name else str(self.number)


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """An IP address and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Instance:
    """One running copy of a workload, with a sidecar in front of each of its ports.

    `listen` says where the sidecar of a workload port accepts connections, `app` where the app itself does.
    """

    id: str
    listen: Mapping[int, Address]
    app: Mapping[int, Address]


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload with its ports, environment and live instances (by id)."""

    id: WorkloadId
    ports: tuple[Port, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    instances: Mapping[str, Instance] = field(default_factory=dict)

    def port(self, ref: int | str) -> Port | None:
        """The port of that number or name."""
        return next((port for port in self.ports if ref in {port.number, port.name or None}), None)
