"""How requests reach this laptop, in words and as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xds.terminal.output import styled
from xds.terminal.words import duration, plain

if TYPE_CHECKING:
    from xds.api.byway.daemon.v1 import GatewayLink, GetStatusReply, Reach

WAYS = ("auto", "tunnel", "direct")
KINDS = ("auto", "envoy", "python")
HOLDERS = {"envoy": "Envoy", "python": "Python"}


def settled(status: GetStatusReply) -> bool:
    """Whether requests can get here, or there is no point in waiting until they can."""
    reach = status.reach
    return reach is None or reach.way != "tunnel" or not reach.gateways or any(each.up for each in reach.gateways)


def warning_of(status: GetStatusReply) -> str:
    """What a user should know who has just connected; empty where all is well."""
    reach = status.reach
    if reach is None or reach.way != "tunnel" or any(each.up for each in reach.gateways):
        return ""
    if not reach.gateways:
        return f"no request can reach this laptop: {plain(reach.detail)}; {advice(reach)}"
    why = plain(reach.gateways[0].reason)
    return f"there is no tunnel to any gateway yet ({reach.gateways[0].name}: {why}); see `byway status`"


def advice(reach: Reach) -> str:
    """What a user can do about a tunnel that isn't there."""
    if not reach.gateways:
        return "run `byway quit` and `byway connect --reach direct` where sidecars reach this laptop's address"
    if "proxy" in reach.gateways[0].reason:
        return "the way to the gateways must not be through a proxy"
    return "the daemon keeps trying; `byway connect --reach direct` does without where sidecars reach this laptop"


def reach_data(reach: Reach | None) -> dict[str, Any] | None:
    """For programs."""
    if reach is None:
        return None
    return {
        "way": reach.way,
        "wanted": reach.wanted,
        "tunnel": reach.kind,
        "wanted_tunnel": reach.wanted_kind,
        "detail": reach.detail,
        "gateways": [
            {
                "name": each.name,
                "address": each.address,
                "up": each.up,
                "seconds": round(each.seconds, 1),
                "reason": each.reason,
            }
            for each in reach.gateways
        ],
    }


def reach_lines(reach: Reach | None, *, address: str) -> list[tuple[str, str]]:
    """For people, as label and text."""
    if reach is None:
        return []
    if reach.way != "tunnel":
        return [("Reached", f"directly, at {address}" if address else "directly, at the address that it calls from")]
    holder = f" (held by {HOLDERS.get(reach.kind, reach.kind)})" if reach.kind else ""
    remark = f": {plain(reach.detail)}" if reach.detail else ""
    lines = [("Reached", f"by tunnel{holder}{remark}")]
    lines += [(f"  {each.name}", _gateway(each)) for each in reach.gateways]
    if not any(each.up for each in reach.gateways):
        lines.append(("", advice(reach)))
    return lines


def _gateway(link: GatewayLink) -> str:
    if link.up:
        return f"{styled('up', fg='green')} for {duration(link.seconds)}, {link.address}"
    return f"{styled('down', fg='red')} for {duration(link.seconds)}, {link.address}: {plain(link.reason)}"
