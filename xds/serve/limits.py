"""Bounds on what clients may ask for, and how a refusal is said."""

from __future__ import annotations

from dataclasses import dataclass

import grpc


class Refused(Exception):  # noqa: N818  it is an answer, not a failure
    """A client may not connect, or may not go on. The stream ends with this gRPC status and text."""

    def __init__(self, status: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what one client, or all together, may ask of the server."""

    streams: int = 10_000
    """Open streams; further ones are refused with RESOURCE_EXHAUSTED."""
    names: int = 10_000
    """Resource names in one request, and subscribed to per type of a stream."""
    types: int = 32
    """Types asked for on one stream."""
    first_request: float = 30.0
    """Seconds that a client may take to say who it is, and the authenticator to believe it."""
