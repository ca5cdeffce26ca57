"""How the API's values are written for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xds.terminal.words import host_port

if TYPE_CHECKING:
    from xds.api.byway.manager.v1 import Target


KEEPS_TRYING = "the daemon keeps trying"
"""Said where the connection to the manager is lost, and will come back by itself if the manager does."""


def target(value: Target | None) -> str:
    """A target as people write it; `-` for none."""
    return host_port(value.host, value.port) if value is not None else "-"
