"""Gateways: the processes in the cluster that laptops which can only call out are reached through."""

from __future__ import annotations

from dataclasses import dataclass

from xds.registry.workload import Address


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway, where laptops dial it (`tunnel`), and where sidecars do (`sidecars`)."""

    name: str
    tunnel: Address
    sidecars: Address
