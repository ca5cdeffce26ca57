"""What is known of each tunnel of the laptop's Envoy, put together from what Envoy says and does not say.

Pure: time is given. Whether a tunnel is up is Envoy's count; why it is down is told by, in this order: the process
itself, a refused handshake, the end of the last carrier.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from xds.client.tunnel.contract import GatewayState
from xds.client.tunnel.envoy_admin import Tunnels
from xds.client.tunnel.envoy_carrier import Dialler
from xds.terminal.words import host_port, plain

DIALLING = "dialling"
FRESH = 5.0
"""Seconds for which a refused handshake is the reason; Envoy tries again several times in that time."""


class Watch:
    """The states of a changing set of diallers."""

    def __init__(self) -> None:
        self._states: dict[int, GatewayState] = {}
        self._ends: dict[int, str] = {}
        self._refused: dict[int, tuple[Mapping[str, int], str, float]] = {}
        self._process = DIALLING

    def states(self, diallers: Iterable[Dialler]) -> tuple[GatewayState, ...]:
        """One state for each of these, in this order."""
        return tuple(self._states[each.number] for each in diallers if each.number in self._states)

    def follow(self, diallers: Iterable[Dialler], now: float) -> None:
        """These exist from now on."""
        known = {each.number: each for each in diallers}
        for number in self._states.keys() - known.keys():
            del self._states[number]
            self._ends.pop(number, None)
            self._refused.pop(number, None)
        for number, each in known.items():
            self._states.setdefault(number, GatewayState(each.gateway.name, up=False, since=now, reason=self._process))

    def silent(self, why: str, now: float) -> None:
        """Envoy is gone or does not answer: so are all tunnels."""
        self._process = why
        self._refused.clear()
        self._ends.clear()
        for number, state in self._states.items():
            self._states[number] = _changed(state, up=False, reason=why, now=now)

    def carrier_ended(self, dialler: Dialler, entry: Mapping[str, Any]) -> None:
        """Envoy told of the end of a carrier."""
        self._ends[dialler.number] = why_ended(dialler, str(entry.get("flags") or ""), str(entry.get("tls") or ""))

    def polled(self, tunnels: Tunnels, now: float) -> None:
        """Envoy answered."""
        self._process = DIALLING
        for number, state in self._states.items():
            up = tunnels.up.get(number, 0) > 0
            reason = "" if up else self._why(number, tunnels.refused.get(number, {}), now)
            self._states[number] = _changed(state, up=up, reason=reason, now=now)
            if up:
                self._ends.pop(number, None)

    def _why(self, number: int, counts: Mapping[str, int], now: float) -> str:
        before, said, at = self._refused.get(number, ({}, "", 0.0))
        for reason, count in counts.items():
            if count > before.get(reason, 0):
                said, at = f"the gateway refuses this laptop ({reason.replace('http.', 'HTTP ')})", now
        self._refused[number] = counts, said, at
        if said and now - at < FRESH:
            return said
        return self._ends.get(number, DIALLING)


def why_ended(dialler: Dialler, flags: str, tls: str) -> str:
    """Why a carrier ended, by Envoy's response flags and what its TLS says."""
    where = host_port(dialler.gateway.host, dialler.gateway.port)
    if "CERTIFICATE_VERIFY_FAILED" in tls or "SAN" in tls:
        return f"what answers at {where} can't prove to be {dialler.gateway.server_name}"
    if "UF" in flags and "TLS" in tls:
        return f"no TLS with {where}: {plain(tls)}"
    if "UH" in flags:
        return f"the name {dialler.gateway.host} can't be resolved"
    if "UF" in flags:
        return f"cannot connect to {where}"
    return f"{where} ended the connection, or refused this laptop's token"


def _changed(state: GatewayState, *, up: bool, reason: str, now: float) -> GatewayState:
    since = state.since if up == state.up else now
    return GatewayState(state.name, up=up, since=since, reason=reason)
