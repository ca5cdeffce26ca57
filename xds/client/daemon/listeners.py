"""Who listens on this machine, as Linux tells without anybody being connected to.

A connect probe would do harm here: every probe fills the accept queue of a process that sits at a breakpoint, and
leaves a line in the log of one that doesn't. /proc/net/tcp and tcp6 list the listening sockets before all others
(net/ipv4/tcp_ipv4.c, `tcp_seq_start`), so reading ends at the first that isn't one, however many connections there are.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

LISTEN = "0A"
"""TCP_LISTEN of include/net/tcp_states.h, as /proc/net/tcp writes it."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
LOCALHOST: tuple[Address, ...] = (ipaddress.IPv4Address("127.0.0.1"),)


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket. `inode` names the socket to those who hold it."""

    address: Address
    port: int
    inode: int

    def takes(self, wanted: Address) -> bool:
        """Whether a connection to this address reaches it. `[::]` takes IPv4 too, as it does by default."""
        if self.address == wanted:
            return True
        return self.address.is_unspecified and wanted.version in {self.address.version, 4}


def parse_address(text: str) -> Address:
    """Read an address in the kernel's notation: 32-bit words of the machine's byte order, in hexadecimal."""
    data = bytes.fromhex(text)
    if sys.byteorder == "little":
        data = b"".join(data[at : at + 4][::-1] for at in range(0, len(data), 4))
    address = ipaddress.ip_address(data)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def parse_listeners(lines: Iterable[str]) -> Iterator[Listener]:
    """The listening sockets at the head of /proc/net/tcp or tcp6 (the first line is the table's heading)."""
    for number, line in enumerate(lines):
        if number == 0:
            continue
        fields = line.split()
        if len(fields) < 10 or fields[3] != LISTEN:
            return
        host, _, port = fields[1].partition(":")
        yield Listener(parse_address(host), int(port, 16), int(fields[9]))


def listeners(ports: frozenset[int], proc: Path = Path("/proc")) -> list[Listener]:
    """The sockets that listen on any of these ports. A table that can't be read (no IPv6) is an empty one."""
    found: list[Listener] = []
    for name in ("tcp", "tcp6"):
        try:
            with (proc / "net" / name).open() as lines:
                found += [each for each in parse_listeners(lines) if each.port in ports]
        except OSError:
            continue
    return found


def local_addresses(host: str, *, both_loopbacks: bool = False) -> tuple[Address, ...] | None:
    """The addresses that a target's host stands for on this machine; None where it is another machine's.

    `localhost` is 127.0.0.1, which is where a sidecar connects to; by a tunnel it is ::1 too. An address is this
    machine's own when a socket can be bound to it.
    """
    if host.lower() in {"localhost", "localhost."}:
        return (*LOCALHOST, ipaddress.IPv6Address("::1")) if both_loopbacks else LOCALHOST
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if address.is_loopback or address.is_unspecified:
        return (address,)
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as trial:
            trial.bind((host, 0))
    except OSError:
        return None
    return (address,)


@dataclass(frozen=True, slots=True)
class Process:
    """A process as /proc shows it. `stopped`: by SIGSTOP or Ctrl-Z, not by a debugger."""

    pid: int
    name: str
    stopped: bool


def read_process(pid: int, proc: Path = Path("/proc")) -> Process | None:
    """Look at one process; None where it is gone (proc(5): the state follows the name, which may hold anything)."""
    try:
        stat = (proc / str(pid) / "stat").read_text(errors="replace")
        name = stat[stat.index("(") + 1 : stat.rindex(")")]
        state = stat[stat.rindex(")") + 2]
        stopped = state == "T" and _tracer((proc / str(pid) / "status").read_text(errors="replace")) == 0
    except (OSError, ValueError, IndexError):
        return None
    return None if state in "ZX" else Process(pid, name, stopped)


def _tracer(status: str) -> int:
    for line in status.splitlines():
        if line.startswith("TracerPid:"):
            return int(line.partition(":")[2])
    return 0


def holders(inodes: frozenset[int], proc: Path = Path("/proc")) -> dict[int, set[int]]:
    """The processes of this user that hold each of these sockets, by walking their open files."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, set[int]] = {inode: set() for inode in inodes}
    user = os.getuid()
    for entry in os.scandir(proc):
        if not entry.name.isdigit():
            continue
        try:
            if entry.stat().st_uid != user and user != 0:
                continue
            for file in (Path(entry.path) / "fd").iterdir():
                if inode := wanted.get(_link(file)):
                    found[inode].add(int(entry.name))
        except OSError:
            continue  # It ended meanwhile, or it doesn't let itself be looked at.
    return found


def _link(file: Path) -> str:
    try:
        # Not Path.readlink: "socket:[123]" is no path, and there are thousands of them.
        return os.readlink(file)  # noqa: PTH115
    except OSError:
        return ""  # Closed meanwhile.
