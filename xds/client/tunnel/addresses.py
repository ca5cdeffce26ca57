"""Where a target's host is."""

from __future__ import annotations

import ipaddress

LOCALHOST = ("127.0.0.1", "::1")
"""Many a development server listens on only one of them, and not all on the same."""


def addresses_of(host: str) -> tuple[str, ...]:
    """The IP addresses that a host stands for without asking anybody, in the order in which they are tried; empty
    where it is a name to be resolved."""
    if host.lower() in {"localhost", "localhost."}:
        return LOCALHOST
    try:
        return (str(ipaddress.ip_address(host)),)
    except ValueError:
        return ()
