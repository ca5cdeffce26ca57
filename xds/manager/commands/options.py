"""Options and their reading, shared by the manager's commands."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from xds.paths import StateDir
from xds.registry.workload import Address, WorkloadId

F = TypeVar("F", bound=Callable[..., Any])


def _state(_: click.Context, __: click.Parameter, value: Path | None) -> StateDir:
    return StateDir(value.expanduser().absolute()) if value is not None else StateDir.default()


def state_option(function: F) -> F:
    """`--state-dir`, as `state: StateDir`."""
    return click.option(
        "--state-dir",
        "state",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="BYWAY_STATE",
        callback=_state,
        metavar="DIR",
        help="Where Byway keeps its state on this machine.  [env: BYWAY_STATE]",
    )(function)


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
