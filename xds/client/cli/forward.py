"""`byway forward`"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import click

from xds.paths import StateDir
from xds.terminal.failure import FailureError, usage
from xds.terminal.options import common
from xds.terminal.output import data, is_data, show, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xds.client.egress.forward import Forward, Wish


@click.command(short_help="Listen on this laptop for a service in the cluster.")
@click.argument("words", nargs=-1, required=True, metavar="SERVICE:PORT [LOCAL]...")
@common
def forward(words: tuple[str, ...], state: StateDir, output: str) -> None:
    """Listen on this laptop for a service in the cluster, until Ctrl-C.

    For programs that know no proxy, such as database clients. SERVICE is NAME.NAMESPACE; LOCAL is the port on this
    laptop, by default the service's own number where it is free, else any other. Only your own programs may connect.

    \b
    Examples:
      byway forward orders.dev:8080
      byway forward postgres.dev:5432 15432 redis.dev:6379

    \b
    JSON (once, when all of them listen):
      forwards [{service, address, port}]
    """
    from xds.client.cli.proxied import proxy_of

    wishes = wishes_of(words)
    proxy = proxy_of(state)
    asyncio.run(_forward(wishes, proxy.address, proxy.password, output))


def wishes_of(words: Sequence[str]) -> list[Wish]:
    """SERVICE:PORT [LOCAL], several times. Raises FailureError."""
    from xds.client.egress.forward import Wish
    from xds.client.egress.socks import check_host

    wishes: list[Wish] = []
    local_may_follow = False
    for word in words:
        host, colon, port = word.rpartition(":")
        if not colon and local_may_follow:
            last = wishes.pop()
            wishes.append(Wish(last.host, last.port, port_of(word, word)))
            local_may_follow = False
            continue
        if not colon:
            raise usage(f"{word!r} is not SERVICE:PORT", hint="for example orders.dev:8080")
        try:
            check_host(host)
        except ValueError:
            raise usage(f"{word!r} is not SERVICE:PORT", hint="for example orders.dev:8080") from None
        if "." not in host:
            raise usage(f"{word!r} names no namespace", hint=f"for example {host}.dev:{port}")
        wishes.append(Wish(host, port_of(port, word)))
        local_may_follow = True
    taken = [wish.local for wish in wishes if wish.local]
    if len(taken) != len(set(taken)):
        raise usage("the same local port is given twice", hint="leave one out, or choose another")
    return wishes


def port_of(text: str, word: str) -> int:
    """A port's number. Raises FailureError."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise usage(f"{word!r}: {text!r} is not a port", hint="ports are numbers from 1 to 65535")
    return int(text)


async def _forward(wishes: Sequence[Wish], proxy: str, password: str, output: str) -> None:
    """Listen and carry until a signal. Raises FailureError."""
    from xds.client.egress.forward import Forward

    forwards: list[Forward] = []
    ending = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Being told to end is how it ends well.
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    try:
        for wish in wishes:
            one = Forward(wish, proxy=proxy, password=password, tell=warn)
            try:
                await one.start()
            except OSError as error:
                reason = error.strerror or str(error)
                hint = "leave LOCAL out, or choose another"
                raise FailureError(f"cannot listen on port {wish.local or 'any'}: {reason}", hint=hint) from error
            forwards.append(one)
        show(announcement(forwards, output))
        await ending.wait()
    finally:
        await asyncio.gather(*(one.close() for one in forwards))


def announcement(forwards: Sequence[Forward], output: str) -> str:
    """What is printed once all of them listen."""
    if is_data(output):
        rows = [{"service": one.wish.service, "address": "127.0.0.1", "port": one.port} for one in forwards]
        return data({"forwards": rows}, output)
    return "".join(f"127.0.0.1:{one.port} is {one.wish.service}\n" for one in forwards)
