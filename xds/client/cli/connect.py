"""`byway connect`"""

from __future__ import annotations

import asyncio
import getpass
import ipaddress
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xds.client.cli.reach import KINDS, WAYS, warning_of
from xds.client.cli.telepresence import KnowingCommand
from xds.paths import StateDir
from xds.terminal.failure import FailureError, usage
from xds.terminal.options import Seconds, common
from xds.terminal.output import data, is_data, show, warn

if TYPE_CHECKING:
    from xds.api.byway.daemon.v1 import GetStatusReply


@click.command(cls=KnowingCommand, short_help="Connect this laptop to a manager.")
@click.option("--manager", metavar="HOST:PORT", help="The manager.  [default: the one that runs on this machine]")
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Holds your token.  [default: manager/users/USER.token in the state directory]",
)
@click.option("--user", metavar="NAME", help="Whose token of this machine's manager to use.  [default: $USER]")
@click.option("--address", metavar="IP", help="Where sidecars reach this laptop.  [default: where it calls from]")
@click.option(
    "--reach",
    type=click.Choice(WAYS),
    help="How requests get here: by a tunnel that this laptop dials, or directly from sidecars. `auto` is a tunnel "
    "where the manager has gateways.  [default: auto]",
)
@click.option(
    "--tunnel",
    type=click.Choice(KINDS),
    help="Who holds the tunnel. `auto` is Envoy where it runs, else Python.  [default: auto]",
)
@click.option("--host", metavar="NAME", help="This laptop's name, for people.  [default: its host name]")
@click.option("--timeout", type=Seconds(), default=5.0, metavar="SECONDS", help="How long to try.  [default: 5]")
@common
def connect(
    manager: str | None,
    token_file: Path | None,
    user: str | None,
    address: str | None,
    reach: str | None,
    tunnel: str | None,
    host: str | None,
    timeout: float,
    state: StateDir,
    output: str,
) -> None:
    """Connect this laptop to a manager.

    Starts a daemon that holds the session until `byway quit`, whatever becomes of the network or of the manager. Where
    the manager has gateways, the daemon keeps a tunnel to each of them, by which requests reach this laptop though
    nobody can connect to it; `byway status` shows them.

    \b
    Examples:
      byway connect
      byway connect --user alice
      byway connect --manager byway.example:15010 --token-file ~/byway.token
      byway connect --reach direct --address 10.8.0.7
    """
    from xds.client.cli.bringup import bring_up  # start-up time
    from xds.client.spawn import DaemonOptions

    check_user(user)
    check_address(address)
    running = running_status(state)
    if running is not None and running.state not in {"refused", "ended"}:
        check_same(running, manager=manager, user=user, token_file=token_file, host=host, address=address)
        check_same_way(running, reach=reach, tunnel=tunnel)
        options = None
    else:
        options = DaemonOptions(
            manager=manager_address(manager, state),
            token_file=user_token_file(token_file, user, state).absolute(),
            host=host or platform.node() or "laptop",
            address=address or "",
            reach=reach or "auto",
            tunnel=tunnel or "auto",
        )
    status, resumed = asyncio.run(bring_up(state, options, timeout=timeout, user=user))
    if is_data(output):
        from xds.client.cli.status import status_data

        show(data(status_data(status), output))
    else:
        show(sentence(status, already=options is None and not resumed) + "\n")
    if text := warning_of(status):
        warn(text)


def check_user(user: str | None) -> None:
    """A user's name becomes part of a path. Raises FailureError."""
    if user is not None and (not user or "/" in user or user.startswith(".")):
        raise usage(f"--user {user!r} is not a user's name")


def check_address(address: str | None) -> None:
    """Envoy is told it as it is, and Envoy wants an IP address. Raises FailureError."""
    try:
        ipaddress.ip_address(address or "127.0.0.1")
    except ValueError:
        raise usage(f"--address {address!r} is not an IP address") from None


def manager_address(given: str | None, state: StateDir) -> str:
    """The manager to connect to. Raises FailureError."""
    flag = "--manager"
    if given is None:
        flag = str(state.address)
        try:
            given = state.address.read_text().strip()
        except OSError:
            hint = "give --manager HOST:PORT, or start one here with `byway manager --standalone`"
            raise usage("no manager is known", hint=hint) from None
    host, _, port = given.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise usage(f"{flag}: {given!r} is not HOST:PORT", hint="for example 127.0.0.1:15010")
    return given


def user_token_file(given: Path | None, user: str | None, state: StateDir) -> Path:
    """The file that holds the user's token. Raises FailureError."""
    name = user or _login()
    path = given.expanduser() if given is not None else state.user_token(name)
    try:
        if path.read_text().strip():
            return path
    except (OSError, UnicodeDecodeError) as error:
        if given is not None:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise usage(f"--token-file: cannot read {path}: {reason}") from None
        others = sorted(each.stem for each in path.parent.glob("*.token")) if path.parent.is_dir() else []
        hint = f"give --user NAME ({', '.join(others)})" if others else "give --token-file FILE"
        raise usage(f"there is no token for user {name} at {path}", hint=hint) from None
    raise usage(f"the token file {path} is empty", hint="put your token there")


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        raise usage("your user name is not known", hint="give --user NAME or --token-file FILE") from None


def running_status(state: StateDir) -> GetStatusReply | None:
    """How the daemon is that runs already; None where none does."""
    from xds.client.cli.api import call_daemon, daemon_answers  # start-up time
    from xds.client.cli.bringup import get_status

    return call_daemon(state, get_status) if daemon_answers(state) else None


def check_same(
    running: GetStatusReply,
    *,
    manager: str | None,
    user: str | None,
    token_file: Path | None,
    host: str | None,
    address: str | None,
) -> None:
    """A daemon runs; was it meant? Raises FailureError."""
    wanted = [
        ("--manager", manager, running.manager_address),
        # Not known before the manager has answered.
        ("--user", user, running.user or user),
        ("--token-file", token_file and _real(token_file), _real(Path(running.token_file))),
        ("--host", host, running.host),
        ("--address", address, running.address),
    ]
    for flag, given, actual in wanted:
        if given is not None and given != actual:
            who = f" as {running.user}@{running.host}" if running.user else ""
            message = f"already connected to {running.manager_address}{who}, which is not {flag} {given}"
            raise FailureError(message, hint="run `byway quit` first", code="already_connected")


def check_same_way(running: GetStatusReply, *, reach: str | None, tunnel: str | None) -> None:
    """A daemon runs; does it do it this way? Raises FailureError."""
    if running.reach is None:
        return
    wanted = [("--reach", reach, running.reach.wanted), ("--tunnel", tunnel, running.reach.wanted_kind)]
    for flag, given, actual in wanted:
        if given is not None and given != actual:
            message = f"already connected with {flag} {actual}, which is not {flag} {given}"
            raise FailureError(message, hint="run `byway quit` first", code="already_connected")


def _real(path: Path) -> str:
    return os.path.realpath(path.expanduser())


def sentence(status: GetStatusReply, *, already: bool) -> str:
    """What `byway connect` prints."""
    start = "Already connected" if already else "Connected"
    text = f"{start} to {status.manager_address} as {status.user}@{status.host}"
    text += f"; your header is {status.key_name}: {status.key_value}"
    count = len(status.session.intercepts) if status.session is not None else 0
    return text + (f" ({count} intercept{'s' if count > 1 else ''} resumed)" if count and not already else "")
