"""Channels to the manager and to the daemon."""

from __future__ import annotations

import ipaddress
import os

# gRPC writes to stderr by itself, and its fork handlers would meddle with the processes that we start.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

import grpc.aio

from xds.client.egress.environment import without_ours

RECONNECT_OPTIONS: list[tuple[str, int | str]] = [
    # The daemon decides when to try again; gRPC's own pauses (up to 2 min) must not come on top.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_reconnect_backoff_ms", 500),
    # With keepalive on, Linux drops a connection whose data nobody confirms for `timeout` (TCP_USER_TIMEOUT): a laptop
    # that changed networks notices at its next heartbeat, not after the kernel's quarter of an hour.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 4_000),
]


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def manager_channel(address: str) -> grpc.aio.Channel:
    """A channel to a manager at HOST:PORT. Nothing is connected yet."""
    options = [*RECONNECT_OPTIONS]
    if _is_loopback(address) or without_ours(os.environ) != os.environ:
        # An http_proxy in the environment is meant for the network, not for this machine; and ours needs a session.
        options.append(("grpc.enable_http_proxy", 0))
    return grpc.aio.insecure_channel(address, options=options)


def socket_channel(address: str) -> grpc.aio.Channel:
    """A channel to the daemon at `unix:PATH`. Nothing is connected yet."""
    # Without a local pool and with the default authority gRPC would name the host "path%2Fto%2Fsocket", which strict
    # servers refuse.
    options: list[tuple[str, int | str]] = [("grpc.default_authority", "localhost"), ("grpc.enable_http_proxy", 0)]
    return grpc.aio.insecure_channel(address, options=options)
