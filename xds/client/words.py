"""How durations and targets are written for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xds.api.byway.manager.v1 import Target


def duration(seconds: float) -> str:
    """Two units at most: `5s`, `12m`, `23h59m`, `2d4h`. Negative counts as zero."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    minutes, whole = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{whole}s" if minutes < 10 and whole else f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h{minutes}m" if minutes else f"{hours}h"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours}h" if hours else f"{days}d"


def host_port(host: str, port: int) -> str:
    """`localhost:8080`, `[::1]:8080`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def target(value: Target | None) -> str:
    """A target as people write it; `-` for none."""
    return host_port(value.host, value.port) if value is not None else "-"
