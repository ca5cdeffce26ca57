"""How the manager's commands read their options."""

from __future__ import annotations

import ipaddress

import click

from xds.registry.workload import Address, WorkloadId


def parse_workload(_: click.Context, __: click.Parameter, value: str) -> WorkloadId:
    """Read NS/KIND/NAME."""
    try:
        return WorkloadId.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def parse_address(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Address | None:
    """Read HOST:PORT, where HOST is an IP address."""
    if value is None:
        return None
    host, _, port = value.rpartition(":")
    try:
        ipaddress.ip_address(host.strip("[]"))
        number = int(port)
        if not 0 <= number <= 65535:
            raise ValueError(port)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not of the form HOST:PORT with an IP address") from None
    return Address(host.strip("[]"), number)


def parse_listener(ctx: click.Context, param: click.Parameter, value: str | None) -> Address | None:
    """Read HOST:PORT, where the manager may listen."""
    address = parse_address(ctx, param, value)
    if address is not None and not ipaddress.ip_address(address.host).is_loopback:
        raise click.BadParameter(
            f"{value!r} is no loopback address: standalone mode has no TLS, so tokens would cross the network in the "
            f"clear; give 127.0.0.1:{address.port}"
        )
    return address
