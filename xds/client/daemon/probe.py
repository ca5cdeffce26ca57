"""Looks at the targets on the laptop and says whether somebody answers there.

Targets on this machine are looked up in /proc where there is one (see `listeners`): several times a second, cheaply,
and without connecting. Targets elsewhere, and all of them on macOS, are connected to once a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from xds.api.byway.manager.v1 import Target, TargetState, TargetStateState
from xds.client.daemon.listeners import Listener, Process, holders, listeners, local_addresses, read_process
from xds.terminal.words import host_port

LOCAL_INTERVAL = 0.15
REMOTE_INTERVAL = 1.0
REMOTE_TIMEOUT = 1.0
RESCAN_AFTER = 1.0
"""How long the holders of a socket are believed while all of them are stopped: another may be forked meanwhile."""

Key = tuple[str, int]


def key_of(target: Target) -> Key:
    """Messages can't be dictionary keys."""
    return target.host, target.port


class SocketOwners:
    """Which processes hold a socket, remembered by inode: finding out means walking all open files."""

    def __init__(self, proc: Path, clock: Callable[[], float]) -> None:
        self._proc = proc
        self._clock = clock
        self._pids: dict[int, set[int]] = {}
        self._scanned = -RESCAN_AFTER

    def processes(self, inodes: frozenset[int]) -> dict[int, list[Process]]:
        """The processes behind each socket; an empty list where they are somebody else's."""
        found = self._look(inodes)
        stale = any(len(found[inode]) != len(self._pids.get(inode, ())) for inode in inodes)
        unknown = any(inode not in self._pids for inode in inodes)
        stopped = any(found[inode] and all(each.stopped for each in found[inode]) for inode in inodes)
        if stale or unknown or (stopped and self._clock() - self._scanned >= RESCAN_AFTER):
            self._pids = holders(inodes, self._proc)
            self._scanned = self._clock()
            found = self._look(inodes)
        return found

    def _look(self, inodes: frozenset[int]) -> dict[int, list[Process]]:
        pids = {inode: sorted(self._pids.get(inode, ())) for inode in inodes}
        return {
            inode: [process for pid in pids[inode] if (process := read_process(pid, self._proc)) is not None]
            for inode in inodes
        }


class LocalProbe:
    """Looks at this machine's targets through /proc."""

    def __init__(self, *, clock: Callable[[], float], proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._owners = SocketOwners(proc, clock)

    def look(self, targets: Iterable[Target], *, both_loopbacks: bool = False) -> list[TargetState]:
        """The state of each target that is on this machine; the others are left out."""
        found = ((target, local_addresses(target.host, both_loopbacks=both_loopbacks)) for target in targets)
        local = [(target, addresses) for target, addresses in found if addresses]
        sockets = listeners(frozenset(target.port for target, _ in local), self._proc)
        on_port = {target.port: [each for each in sockets if each.port == target.port] for target, _ in local}
        taking = {
            key_of(target): [each for each in on_port[target.port] if any(each.takes(address) for address in addresses)]
            for target, addresses in local
        }
        inodes = frozenset(listener.inode for each in taking.values() for listener in each)
        processes = self._owners.processes(inodes)
        return [judge(target, taking[key_of(target)], processes, on_port[target.port]) for target, _ in local]


def judge(
    target: Target, taking: list[Listener], processes: dict[int, list[Process]], same_port: list[Listener]
) -> TargetState:
    """A target's state. It is stopped when every process that could accept is; one that can't be seen is not."""
    where = host_port(target.host, target.port)
    if not taking:
        detail = f"nothing listens on {where}"
        if same_port:
            elsewhere = ", ".join(sorted({host_port(str(each.address), each.port) for each in same_port}))
            detail += f"; but something listens on {elsewhere}: give that address with --address, or listen on {where}"
        return TargetState(target=target, state=TargetStateState.NOT_LISTENING, detail=detail)
    owners = [process for listener in taking for process in processes[listener.inode]]
    if all(processes[listener.inode] for listener in taking) and all(process.stopped for process in owners):
        unique = sorted({process.pid for process in owners})
        kill = " ".join(str(pid) for pid in unique)
        names = ", ".join(f"{process.pid} ({process.name})" for process in _distinct(owners))
        subject, verb, them = ("process", "is", "it") if len(unique) == 1 else ("processes", "are", "them")
        detail = f"{subject} {names} {verb} stopped; continue {them} with fg or kill -CONT {kill}"
        return TargetState(target=target, state=TargetStateState.STOPPED, detail=detail)
    detail = ", ".join(f"{process.name} ({process.pid})" for process in _distinct(owners))
    return TargetState(target=target, state=TargetStateState.LISTENING, detail=detail)


def _distinct(processes: list[Process]) -> list[Process]:
    return [process for _, process in sorted({process.pid: process for process in processes}.items())]


async def connect_probe(target: Target, timeout: float = REMOTE_TIMEOUT) -> TargetState:
    """Connect to a target and hang up. `timeout` in seconds."""
    where = host_port(target.host, target.port)
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(target.host, target.port)
    except TimeoutError:
        detail = f"{where} did not answer within {timeout:g} s"
        return TargetState(target=target, state=TargetStateState.NOT_LISTENING, detail=detail)
    except OSError as error:
        reason = "connection refused" if isinstance(error, ConnectionRefusedError) else (error.strerror or str(error))
        detail = f"cannot connect to {where}: {reason}"
        return TargetState(target=target, state=TargetStateState.NOT_LISTENING, detail=detail)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return TargetState(target=target, state=TargetStateState.LISTENING)


class Prober:
    """Keeps the states of a changing set of targets; `changed` is called when one of them changes."""

    def __init__(
        self, *, changed: Callable[[], None], clock: Callable[[], float], use_proc: bool = sys.platform == "linux"
    ) -> None:
        self._changed = changed
        self._clock = clock
        self._local = LocalProbe(clock=clock) if use_proc else None
        self._targets: dict[Key, Target] = {}
        self._states: dict[Key, TargetState] = {}
        self._remote: dict[Key, float] = {}
        self._connecting: dict[Key, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self.both_loopbacks = False
        """Whether `localhost` is ::1 too: a tunnel tries both, sidecars know only 127.0.0.1."""

    @property
    def states(self) -> list[TargetState]:
        """What is known about each target, those not looked at yet included."""
        return [self._states.get(key) or TargetState(target=target) for key, target in self._targets.items()]

    def watch(self, targets: Iterable[Target]) -> None:
        """These targets from now on, instead of the ones before."""
        wanted = {key_of(target): target for target in targets}
        if wanted.keys() == self._targets.keys():
            return
        self._targets = wanted
        self._states = {key: state for key, state in self._states.items() if key in wanted}
        for key in self._connecting.keys() - wanted.keys():
            self._connecting.pop(key).cancel()
        self._wake.set()

    async def run(self) -> None:
        """Look and look again, until cancelled."""
        try:
            while True:
                self._wake.clear()
                if self._targets:
                    await self._round()
                # Not wait_for: before Python 3.12 it may swallow a cancellation (python/cpython#86296).
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOCAL_INTERVAL if self._targets else None):
                        await self._wake.wait()
        finally:
            for task in self._connecting.values():
                task.cancel()

    async def _round(self) -> None:
        targets = list(self._targets.values())
        seen: list[TargetState] = []
        if self._local is not None:
            # Walking /proc takes milliseconds on a full machine; heartbeats must not wait for it.
            seen = await asyncio.to_thread(self._local.look, targets, both_loopbacks=self.both_loopbacks)
        self._take(seen)
        local = {key_of(state.target) for state in seen if state.target is not None}
        for target in targets:
            if key_of(target) not in local:
                self._connect(target)

    def _connect(self, target: Target) -> None:
        key = key_of(target)
        due = self._clock() - self._remote.get(key, -REMOTE_INTERVAL) >= REMOTE_INTERVAL
        if due and key not in self._connecting and key in self._targets:
            self._remote[key] = self._clock()
            task = asyncio.create_task(self._connect_once(target))
            self._connecting[key] = task
            task.add_done_callback(lambda done: self._forget(key, done))

    def _forget(self, key: Key, done: asyncio.Task[None]) -> None:
        if self._connecting.get(key) is done:
            del self._connecting[key]

    async def _connect_once(self, target: Target) -> None:
        self._take([await connect_probe(target)])

    def _take(self, seen: Iterable[TargetState]) -> None:
        changed = False
        for state in seen:
            assert state.target is not None
            key = key_of(state.target)
            if key not in self._targets:
                continue
            before = self._states.get(key)
            if before is None or (before.state, before.detail) != (state.state, state.detail):
                self._states[key] = state
                changed = True
        if changed:
            self._changed()
