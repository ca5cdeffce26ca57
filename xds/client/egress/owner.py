"""Whose process is at the other end of a connection between two sockets of this machine.

A port on loopback is open to every user of the machine, but what is behind ours is one user's access to the cluster.
Linux says whose a socket is (proc(5), /proc/net/tcp): only our own user and root are let in. Elsewhere nobody says it,
and a password has to do.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from pathlib import Path

from xds.client.daemon.listeners import parse_address

KNOWS = sys.platform == "linux"
"""Whether this machine says whose a socket is."""

End = tuple[str, int]
"""Address and port."""


def owner(peer: End, here: End, proc: Path = Path("/proc")) -> int | None:
    """The user id behind the socket `peer` that is connected to our socket `here`; None where there is no such socket.

    A socket that no process holds any more shows user 0 and inode 0; it is nobody's.
    """
    wanted = tuple((ipaddress.ip_address(address), port) for address, port in (peer, here))
    for name in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / name).read_text().splitlines()[1:]
        except OSError:
            continue
        # Comparing text is what makes a table of thousands of connections cheap.
        ports = f":{peer[1]:04X} "
        for line in lines:
            if ports not in line:
                continue
            fields = line.split()
            if (_end(fields[1]), _end(fields[2])) == wanted and fields[9] != "0":
                return int(fields[7])
    return None


def _end(text: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]:
    address, _, port = text.partition(":")
    return parse_address(address), int(port, 16)


def admitted(peer: End, here: End, proc: Path = Path("/proc")) -> bool:
    """Whether our own user, or root, is behind a connection."""
    return owner(peer, here, proc) in {os.getuid(), 0}
