"""What has lost its routes stays for a moment, so that what is on its way there still finds it.

Envoy looks for a cluster when it has chosen a route, and once more behind the hop to a laptop, an instant later. If the
cluster is removed in between, that request fails, although routes were removed first. So an intercept's clusters,
endpoints and hops are removed some seconds after its routes.

That is only for what sidecars have acknowledged. What one refused is taken back at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from xds.compile.state import Routed

LINGER: Final = 2.0
"""Seconds, more than any request takes from its route to the laptop's connection."""


@dataclass(slots=True)
class Lingering:
    """The intercepts of one workload that are routed, and those that were until a moment ago. No clock."""

    _routed: dict[str, Routed] = field(default_factory=dict)
    _leaving: dict[str, tuple[Routed, float]] = field(default_factory=dict)

    def update(self, routed: Iterable[Routed], *, acknowledged: Collection[str], now: float) -> tuple[Routed, ...]:
        """Take in what is routed from now on; returns what lingers. `acknowledged`: ids of what was routed before."""
        before, self._routed = self._routed, {one.intercept.id: one for one in routed}
        for key, one in before.items():
            if key in acknowledged:
                self._leaving[key] = (one, now + LINGER)
        self._leaving = {
            key: (one, until) for key, (one, until) in self._leaving.items() if key not in self._routed and until > now
        }
        return tuple(one for one, _ in self._leaving.values())

    def due(self, now: float) -> bool:
        """Whether something has lingered for long enough."""
        return any(until <= now for _, until in self._leaving.values())
