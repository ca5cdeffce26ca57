"""What the laptop's Envoy says of itself, over its admin socket: where its hops listen, and which tunnels are up.

Envoy tells nobody when a tunnel comes or goes, so it is asked, a few times a second. An Envoy that does not answer is
as good as gone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import aiohttp

ANSWER_WITHIN = 0.8
"""Seconds; a stopped process accepts connections, and never answers. It is asked twice: where this process itself did
not run meanwhile, the first time says nothing."""

_DRAINING = "listener_manager.total_listeners_draining"
_CONNECTED = re.compile(r"^tunnels\.worker_\d+\.cluster\.gateway-(\d+)\.connected: (\d+)$", re.MULTILINE)
_REFUSED = re.compile(
    r"^tunnels\.handshake\.worker\.worker_\d+\.cluster\.gateway-(\d+)\.result\.failed\.failure_reason\.(\S+): (\d+)$",
    re.MULTILINE,
)


class SilentError(Exception):
    """Envoy does not answer."""


@dataclass(frozen=True, slots=True)
class Tunnels:
    """By the number of the dialler: tunnels that are up, and how often each reason made a handshake fail so far."""

    up: Mapping[int, int] = field(default_factory=dict)
    refused: Mapping[int, Mapping[str, int]] = field(default_factory=dict)


def parse_tunnels(stats: str) -> Tunnels:
    """Read Envoy's statistics, one `name: value` a line."""
    refused: dict[int, dict[str, int]] = {}
    for number, reason, count in _REFUSED.findall(stats):
        refused.setdefault(int(number), {})[reason] = int(count)
    return Tunnels({int(number): int(count) for number, count in _CONNECTED.findall(stats)}, refused)


class EnvoyAdmin:
    """Asks over one connection that is kept."""

    def __init__(self, socket: Path) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path=str(socket), limit=1),
            timeout=aiohttp.ClientTimeout(total=ANSWER_WITHIN),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def tunnels(self) -> Tunnels:
        """Which tunnels are up. Raises SilentError."""
        path = "/stats?usedonly&filter=%5Etunnels%5C."
        try:
            return parse_tunnels(await self._get(path))
        except SilentError:
            return parse_tunnels(await self._get(path))

    async def listening(self) -> dict[str, int]:
        """The port of each listener, by name. Raises SilentError."""
        found = json.loads(await self._get("/listeners?format=json")).get("listener_statuses", [])
        ports = {each["name"]: each.get("local_address", {}).get("socket_address", {}) for each in found}
        return {name: int(address["port_value"]) for name, address in ports.items() if "port_value" in address}

    async def draining(self) -> bool:
        """Whether listeners that were taken away are still there. Raises SilentError."""
        return not (await self._get(f"/stats?filter=%5E{_DRAINING}$")).endswith(": 0\n")

    async def _get(self, path: str) -> str:
        try:
            async with self._session.get(f"http://envoy{path}") as answer:
                return await answer.text()
        # RuntimeError: the session was closed meanwhile, because this run of Envoy has ended.
        except (aiohttp.ClientError, TimeoutError, OSError, RuntimeError) as error:
            raise SilentError(f"Envoy's admin socket does not answer: {error or type(error).__name__}") from error
