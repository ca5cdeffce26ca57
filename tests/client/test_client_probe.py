"""What the daemon says about targets, with real processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.client.laptop import until
from xds.api.byway.manager.v1 import Target, TargetState, TargetStateState
from xds.client.daemon.listeners import parse_address, parse_listeners, read_process
from xds.client.daemon.probe import Prober

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

LISTENING, NOT_LISTENING, STOPPED = (
    TargetStateState.LISTENING,
    TargetStateState.NOT_LISTENING,
    TargetStateState.STOPPED,
)
LISTENER = """
import os, signal, socket, sys
listener = socket.create_server(("127.0.0.1", 0), backlog=1)
child = os.fork() if sys.argv[1:] == ["fork"] else -1
if child != 0:
    print(listener.getsockname()[1], child, flush=True)
signal.pause()
"""


class Watch:
    """A prober at work, and what it has said."""

    def __init__(self, *, use_proc: bool) -> None:
        self.changes = 0
        self.prober = Prober(changed=self._changed, clock=time.monotonic, use_proc=use_proc)

    def _changed(self) -> None:
        self.changes += 1

    @property
    def only(self) -> TargetState:
        (state,) = self.prober.states
        return state

    async def sees(self, state: TargetStateState) -> None:
        await until(lambda: self.only.state == state)


@contextlib.asynccontextmanager
async def watching(host: str, port: int, *, use_proc: bool = True) -> AsyncIterator[Watch]:
    watch = Watch(use_proc=use_proc)
    watch.prober.watch([Target(host=host, port=port)])
    task = asyncio.create_task(watch.prober.run())
    try:
        yield watch
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def listener(*arguments: str) -> AsyncIterator[tuple[int, list[int]]]:
    """A process that listens; its port, and its and its child's pid."""
    line = [sys.executable, "-c", LISTENER, *arguments]
    process = await asyncio.create_subprocess_exec(*line, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    port, child = map(int, (await process.stdout.readline()).split())
    pids = [process.pid, *([child] if child > 0 else [])]
    try:
        yield port, pids
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await process.wait()


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port on which nothing listens, as long as the test runs."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@linux
async def test_a_process_is_seen_to_listen_to_stop_to_go_on_and_to_end() -> None:
    async with listener() as (port, (pid,)), watching("localhost", port) as watch:
        await watch.sees(LISTENING)
        assert f"({pid})" in watch.only.detail
        os.kill(pid, signal.SIGSTOP)
        await watch.sees(STOPPED)
        name = watch.only.detail.split("(")[1].split(")")[0]
        assert watch.only.detail == f"process {pid} ({name}) is stopped; continue it with fg or kill -CONT {pid}"
        os.kill(pid, signal.SIGCONT)
        await watch.sees(LISTENING)
        os.kill(pid, signal.SIGKILL)
        await watch.sees(NOT_LISTENING)
        assert watch.only.detail == f"nothing listens on localhost:{port}"


@linux
async def test_processes_that_share_a_socket_are_stopped_when_all_are() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        async with listener("fork") as (port, (parent, child)), watching("localhost", port) as watch:
            await until(lambda: f"({child})" in watch.only.detail)
            os.kill(parent, signal.SIGSTOP)
            await until(lambda: (process := read_process(parent)) is not None and process.stopped)
            # Another target changes: when that is seen, this one was looked at too.
            watch.prober.watch(
                [Target(host="localhost", port=port), Target(host="localhost", port=other.getsockname()[1])]
            )
            other.listen()
            await until(lambda: watch.prober.states[1].state == LISTENING)
            assert watch.prober.states[0].state == LISTENING
            os.kill(child, signal.SIGSTOP)
            await until(lambda: watch.prober.states[0].state == STOPPED)
            kill = " ".join(map(str, sorted((parent, child))))
            detail = watch.prober.states[0].detail
            assert detail.endswith(f"are stopped; continue them with fg or kill -CONT {kill}")
            os.kill(child, signal.SIGCONT)
            await until(lambda: watch.prober.states[0].state == LISTENING)


@linux
async def test_looking_does_not_connect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        async with watching("localhost", server.getsockname()[1]) as watch:
            await watch.sees(LISTENING)
        with pytest.raises(BlockingIOError):
            server.accept()


@linux
async def test_a_closed_port_opens_and_closes() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        async with watching("127.0.0.1", server.getsockname()[1]) as watch:
            await watch.sees(NOT_LISTENING)
            server.listen()
            await watch.sees(LISTENING)
            server.close()
            await watch.sees(NOT_LISTENING)


@linux
@pytest.mark.parametrize(
    ("listening", "family", "target", "expected"),
    [
        ("0.0.0.0", socket.AF_INET, "localhost", LISTENING),
        ("0.0.0.0", socket.AF_INET, "127.0.0.7", LISTENING),
        ("127.0.0.7", socket.AF_INET, "127.0.0.7", LISTENING),
        ("127.0.0.7", socket.AF_INET, "localhost", NOT_LISTENING),
        ("127.0.0.1", socket.AF_INET, "::1", NOT_LISTENING),
        ("::", socket.AF_INET6, "localhost", LISTENING),
        ("::1", socket.AF_INET6, "::1", LISTENING),
        ("::1", socket.AF_INET6, "localhost", NOT_LISTENING),
    ],
)
async def test_the_address_decides_who_is_reached(
    listening: str, family: socket.AddressFamily, target: str, expected: TargetStateState
) -> None:
    if family == socket.AF_INET6 and not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        server = socket.create_server((listening, 0), family=family)
    except OSError:
        pytest.skip(f"this machine has no {listening}")
    with server:
        port = server.getsockname()[1]
        async with watching(target, port) as watch:
            await watch.sees(expected)
            if expected is NOT_LISTENING:
                assert f"but something listens on {'[::1]' if family == socket.AF_INET6 else listening}:{port}" in (
                    watch.only.detail
                )


async def test_other_machines_are_connected_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        async with watching("127.0.0.1", port, use_proc=False) as watch:
            await watch.sees(LISTENING)
            server.close()
            await watch.sees(NOT_LISTENING)
            assert watch.only.detail == f"cannot connect to 127.0.0.1:{port}: connection refused"


async def test_a_target_that_is_no_longer_wanted_is_forgotten(free_port: int) -> None:
    async with watching("localhost", free_port) as watch:
        await watch.sees(NOT_LISTENING)
        watch.prober.watch([])
        assert watch.prober.states == []


def test_the_kernels_table_is_read_to_the_last_listener_only() -> None:
    rest = "00000000:00000000 00:00000000 00000000  1000        0"
    table = [
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
        f"   0: 0100007F:1F90 00000000:0000 0A {rest} 4711 1 0 100 0 0 10 0",
        f"   1: 0100007F:1F90 0100007F:C350 01 {rest} 4712 1 0 100 0 0 10 0",
    ]

    def lines() -> Iterator[str]:
        yield from table
        raise AssertionError("read beyond the listeners")

    (found,) = parse_listeners(lines())
    assert (str(found.address), found.port, found.inode) == ("127.0.0.1", 8080, 4711)


@pytest.mark.skipif(sys.byteorder != "little", reason="the samples are a little-endian machine's")
@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0100007F", "127.0.0.1"),
        ("00000000", "0.0.0.0"),
        ("00000000000000000000000001000000", "::1"),
        ("0000000000000000FFFF00000100007F", "127.0.0.1"),
        ("B80D01200000000067452301EFCDAB89", "2001:db8::123:4567:89ab:cdef"),
    ],
)
def test_an_address_is_read_in_the_kernels_byte_order(text: str, address: str) -> None:
    assert str(parse_address(text)) == address
