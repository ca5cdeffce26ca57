"""The settings that decide about intercepts, by the names that users know them by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """Durations in seconds."""

    connection_ttl: float = 24 * 3600.0
    """`grpc.connectionTTL`: a session whose user did nothing for this long is ended."""
    inactive_block_timeout: float = 600.0
    """`intercept.inactiveBlockTimeout`: a session idle for longer keeps its intercepts, but can't block others'."""
    allow_global_intercepts: bool = True
    """`intercept.allowGlobalIntercepts`."""
    default_header: str = "x-telepresence-id"
    """`intercept.defaultHeader`: the header, and baggage member, of `--http-header auto`; in lower case."""
