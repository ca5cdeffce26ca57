"""The list `gateways` of the standalone file: where laptops behind NAT, and the sidecars that look for them, meet."""

from __future__ import annotations

from typing import Final

from xds.config.addresses import AddressBook, read_gateway
from xds.config.reader import Value
from xds.config.workloads import Once
from xds.registry.gateway import Gateway
from xds.registry.workload import Address

GATEWAY: Final = {
    "name": "the name of the gateway",
    "tunnel": "the address where laptops reach it",
    "sidecars": "the address where sidecars reach it",
}


def read_gateways(value: Value, book: AddressBook) -> tuple[Gateway, ...]:
    """The gateways; those that have problems are left out, and the problems reported."""
    once = Once("a name")
    read = (_gateway(item, once, book) for item in value.items("a list of gateways"))
    return tuple(gateway for gateway in read if gateway is not None)


def _gateway(value: Value, once: Once, book: AddressBook) -> Gateway | None:
    fields = value.fields(GATEWAY, required=GATEWAY)
    name = fields["name"].label(GATEWAY["name"]) if "name" in fields else None
    if name is not None:
        once.add(name, fields["name"])
    tunnel = _address(fields["tunnel"], book) if "tunnel" in fields else None
    sidecars = _address(fields["sidecars"], book) if "sidecars" in fields else None
    if name is None or tunnel is None or sidecars is None:
        return None
    return Gateway(name, tunnel, sidecars)


def _address(value: Value, book: AddressBook) -> Address | None:
    address = read_gateway(value)
    return address if address is not None and book.claim(address, value) else None
