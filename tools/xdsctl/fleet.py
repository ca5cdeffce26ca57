"""`xdsctl fleet`"""

from __future__ import annotations

import asyncio
import itertools
import resource
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xds.terminal.failure import Exit, usage
from xds.terminal.options import Seconds, output_option
from xds.terminal.output import data, is_data, pairs, show
from xdsctl.fetch import metadata_values
from xdsctl.server import Server, read_token, server_options

if TYPE_CHECKING:
    from xdsctl.simulated import Fleet, Identity
    from xdsctl.waves import Tally, Wave

PATIENCE = 120.0
"""Seconds after which, with --duration, it is given up that all of them come into sync."""
SPARE_FILES = 64
"""File descriptors that are needed beside one for each connection."""


@click.command(short_help="Simulate many sidecars, for load.")
@server_options
@click.option("-n", "--number", type=click.IntRange(1, 100_000), default=100, show_default=True, help="How many.")
@click.option(
    "--workload",
    "workloads",
    multiple=True,
    required=True,
    metavar="NS/KIND/NAME",
    help="Be sidecars of this; repeatable.",
)
@click.option(
    "--tokens",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Be the instances with a token DIR/NS/KIND/NAME/INSTANCE/token: `sidecars` in a state directory.",
)
@click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="The nodes' metadata; KEY:=JSON for no text.")
@click.option("--rate", type=click.FloatRange(1, 100_000), default=200, show_default=True, help="New streams a second.")
@click.option(
    "--connections", type=click.IntRange(0), default=0, metavar="C", help="Share C connections.  [default: one each]"
)
@click.option(
    "--duration", type=Seconds(), metavar="SECONDS", help="End so long after all are in sync.  [default: with Ctrl-C]"
)
@output_option
def fleet(
    server: Server,
    number: int,
    workloads: tuple[str, ...],
    tokens: Path | None,
    metadata: tuple[str, ...],
    rate: float,
    connections: int,
    duration: float | None,
    output: str,
) -> int:
    """Be many sidecars at once: delta streams that ask for what an Envoy would, and acknowledge what they get.

    What comes is counted and thrown away; resources are not kept. Each push to streams that were in sync is a line,
    with the time from the first stream that got it to the last. At the end, by Ctrl-C or --duration, comes a summary.

    Byway's manager wants a token for each instance: with --tokens the sidecars are those instances, several each where
    -n is greater. Without, sidecar number 7 is the node NS/KIND/NAME/fleet-7 of the cluster NS/KIND/NAME.

    Whoever creates an intercept waits for these sidecars too, so it is no tool for a manager that others use.

    \b
    Examples:
      D=~/.local/state/byway
      xdsctl fleet $(cat $D/manager/address) -n 1000 --workload dev/deployment/orders --tokens $D/sidecars
      xdsctl fleet 127.0.0.1:18000 -n 500 --workload a/b/c --workload a/b/d --duration 60 -o json

    \b
    JSON, at the end:
      streams, open, in_sync, synced_after_seconds, responses, acknowledged, refused, bytes, reconnects, ends {code: n},
      waves [{types [..], responses, streams, bytes, seconds}], seconds, cpu_seconds, memory_bytes

    Exits with 1 where not every stream is in sync at the end.
    """
    from xdsctl.simulated import Fleet

    identities = list(itertools.islice(itertools.cycle(_identities(server, workloads, tokens, number)), number))
    _allow_files(connections or number)
    said = not is_data(output)

    def on_wave(wave: Wave) -> None:
        if said:
            show(f"{time.strftime('%H:%M:%S')}  {wave_line(wave)}\n")

    def on_sync(seconds: float) -> None:
        if said:
            show(f"{time.strftime('%H:%M:%S')}  {number} streams in sync after {seconds:.2f} s\n")

    began, cpu = time.monotonic(), time.process_time()
    one = Fleet(
        server,
        identities,
        metadata=metadata_values(metadata),
        rate=rate,
        connections=connections,
        on_wave=on_wave,
        on_sync=on_sync,
    )
    asyncio.run(_run(one, duration))
    found = {
        **one.tally.as_dict(),
        "seconds": round(time.monotonic() - began, 3),
        "cpu_seconds": round(time.process_time() - cpu, 3),
        "memory_bytes": memory(),
    }
    show(data(found, output) if is_data(output) else summary(found))
    return Exit.OK if found["in_sync"] == number else Exit.FAILED


async def _run(one: Fleet, duration: float | None) -> None:
    """Until the time is over, or somebody interrupts: that is the way to end it, and no failure."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    running = asyncio.create_task(one.run())
    stopped, synced = asyncio.create_task(stop.wait()), asyncio.create_task(one.synced.wait())
    waiting = [stopped, synced, asyncio.create_task(_progress(one.tally))]
    try:
        if duration is not None:
            await asyncio.wait({running, stopped, synced}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if duration is None or synced.done():
            await asyncio.wait({running, stopped}, timeout=duration, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
    finally:
        for task in (running, *waiting):
            task.cancel()
        await asyncio.gather(running, *waiting, return_exceptions=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _progress(tally: Tally) -> None:
    """A line that is written over and over, where somebody looks."""
    if not sys.stderr.isatty():
        return
    try:
        while True:
            sys.stderr.write(f"\r{progress_line(tally)}\x1b[K")
            sys.stderr.flush()
            await asyncio.sleep(0.5)
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def _identities(server: Server, workloads: Sequence[str], tokens: Path | None, number: int) -> list[Identity]:
    """Whom to be, as many as there are. Raises FailureError."""
    from xdsctl.simulated import Identity

    for workload in workloads:
        if len(workload.split("/")) != 3 or not all(workload.split("/")):
            raise usage(f"--workload: {workload!r} is not NAMESPACE/KIND/NAME")
    if tokens is None:
        token = server.token()
        each = -(-number // len(workloads))
        return [
            Identity(f"{workload}/fleet-{index}", workload, token)
            for index in range(1, each + 1)
            for workload in workloads
        ]
    if server.token_file:
        raise usage("--tokens and --token-file exclude each other")
    if not (server.encrypted or server.is_local):
        raise usage(
            f"--tokens: without --tls they would cross the network to {server.address} in the clear", hint="add --tls"
        )
    found = []
    for workload in workloads:
        files = sorted((tokens / workload).glob("*/token"))
        if not files:
            raise usage(
                f"--tokens: there is no {tokens / workload}/INSTANCE/token",
                hint="the manager makes them in `sidecars` of its state directory",
            )
        found += [Identity(f"{workload}/{file.parent.name}", workload, read_token(file)) for file in files]
    return found


def _allow_files(connections: int) -> None:
    """Allow as many open files as there are connections. Raises FailureError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise usage(
                f"-n: {connections} connections need {needed} open files, and {hard} are allowed",
                hint="raise `ulimit -Hn`, or share connections with --connections",
            )
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def memory() -> int:
    """The most memory that this process has had, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def progress_line(tally: Tally) -> str:
    """How it stands."""
    line = f"{len(tally.open)} of {tally.wanted} streams, {len(tally.in_sync)} in sync; {tally.responses:,} responses"
    if tally.reconnects:
        line += f"; {tally.reconnects:,} ended"
    return line + (f"; the last: {wave_line(tally.waves[-1])}" if tally.waves else "")


def wave_line(wave: Wave) -> str:
    """A wave, for people."""
    return (
        f"{wave.responses:,} responses about {', '.join(wave.types)} to {len(wave.streams):,} streams "
        f"in {wave.seconds * 1000:.0f} ms ({wave.size:,} B)"
    )


def summary(found: dict[str, Any]) -> str:
    """What came of it, for people."""
    waves = [one for one in found["waves"] if one["streams"] == found["streams"]]
    slowest = max((one["seconds"] for one in waves), default=None)
    after = found["synced_after_seconds"]
    ends = ", ".join(f"{count} {code}" for code, count in sorted(found["ends"].items()))
    answers = f"{found['acknowledged']:,} acknowledged, {found['refused']:,} refused"
    reached = f"{len(found['waves']):,}, of which {len(waves):,} reached every stream"
    return pairs(
        [
            ("Streams", f"{found['streams']:,}, of which {found['in_sync']:,} are in sync at the end"),
            ("All in sync", "never" if after is None else f"after {after:.2f} s"),
            ("Responses", f"{found['responses']:,} ({found['bytes']:,} B): {answers}"),
            ("Waves", reached if found["waves"] else "none"),
            ("Slowest of these", "" if slowest is None else f"{slowest * 1000:.0f} ms from first to last stream"),
            ("Streams ended", f"{found['reconnects']:,} ({ends})" if ends else ""),
            ("Time", f"{found['seconds']:.1f} s"),
            ("Processor", f"{found['cpu_seconds']:.1f} s"),
            ("Memory", f"{found['memory_bytes'] / 1e6:.0f} MB at most"),
        ]
    )
