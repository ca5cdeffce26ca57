"""What Envoy itself has, from the admin interface of a sidecar on this machine: a Unix socket in its directory.

Only what came from the manager is listed: not the bootstrap's own cluster, nor the routes inside of internal
listeners. https://www.envoyproxy.io/docs/envoy/latest/operations/admin#get--config_dump
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from xds.paths import StateDir
from xds.terminal.failure import Exit, FailureError
from xdsctl.nodes import split
from xdsctl.resources import Listing, Resource, Traffic, address_text

BOOTSTRAP = "bootstrap.json"
TIMEOUT = 10.0
"""Seconds that Envoy may take for an answer."""

# Where a config dump has each type: the kind of dump, its list, what holds the resource, and the resource in it.
PLACES = {
    "listeners": ("ListenersConfigDump", "dynamic_listeners", "active_state", "listener"),
    "routes": ("RoutesConfigDump", "dynamic_route_configs", "", "route_config"),
    "clusters": ("ClustersConfigDump", "dynamic_active_clusters", "", "cluster"),
    "endpoints": ("EndpointsConfigDump", "dynamic_endpoint_configs", "", "endpoint_config"),
}


def local_nodes(state: StateDir) -> list[str]:
    """The nodes whose sidecar was started on this machine with this state directory."""
    root = state.root / "sidecars"
    return sorted(str(found.parent.relative_to(root)) for found in root.glob(f"*/*/*/*/{BOOTSTRAP}"))


def socket_of(state: StateDir, node: str) -> Path:
    """The admin socket of a node. Raises FailureError where there is none."""
    path = state.admin_socket(*split(node))
    if not path.exists():
        raise FailureError(
            f"--live: there is no admin socket {path}",
            hint="ask on the machine where the sidecar runs, with the --state-dir that it was started with",
            code="no_socket",
        )
    return path


def ask_envoy(node: str, path: Path, kind: str) -> Listing:
    """The resources of one type that Envoy has. Raises FailureError."""
    dump, statuses = asyncio.run(_fetch(node, path))
    return listing(node, kind, dump, statuses)


def ask_envoy_all(node: str, path: Path, kinds: Iterable[str]) -> dict[str, Listing]:
    """The resources of several types that Envoy has, all of one moment. Raises FailureError."""
    dump, statuses = asyncio.run(_fetch(node, path))
    return {kind: listing(node, kind, dump, statuses) for kind in kinds}


async def _fetch(node: str, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    connector = aiohttp.UnixConnector(path=str(path))
    try:
        async with aiohttp.ClientSession("http://envoy", connector=connector, timeout=timeout) as session:
            pages = []
            for page in ("/config_dump?include_eds", "/clusters?format=json"):
                async with session.get(page) as response:
                    response.raise_for_status()
                    pages.append(await response.json(content_type=None))
    except TimeoutError:
        raise FailureError(
            f"--live: Envoy of {node} accepts the connection but does not answer",
            hint="its process may be stopped",
            code="deadline_exceeded",
            exit_code=Exit.NOT_CONNECTED,
        ) from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise FailureError(
            f"--live: nobody answers at {path}: {_cause(error)}",
            hint="is the sidecar running, and as the same user?",
            code="unavailable",
            exit_code=Exit.NOT_CONNECTED,
        ) from None
    return pages[0], pages[1]


def _cause(error: Exception) -> str:
    cause = error if isinstance(error, OSError) else error.__cause__ or error
    return (getattr(cause, "strerror", None) or str(cause)).lower()


def listing(node: str, kind: str, dump: dict[str, Any], statuses: dict[str, Any]) -> Listing:
    """The resources of one type, from what `/config_dump` and `/clusters` say."""
    return Listing(
        node,
        kind,
        "envoy",
        _resources(dump, kind),
        endpoints=_resources(dump, "endpoints") if kind == "clusters" else [],
        traffic=_traffic(statuses),
        remarks=list(_remarks(dump, kind)),
    )


def _section(dump: dict[str, Any], kind: str) -> dict[str, Any]:
    sections: Iterable[dict[str, Any]] = dump.get("configs", [])
    return next((each for each in sections if each.get("@type", "").endswith(f".{PLACES[kind][0]}")), {})


def _resources(dump: dict[str, Any], kind: str) -> list[Resource]:
    _, entries, state, key = PLACES[kind]
    found = []
    for entry in _section(dump, kind).get(entries, []):
        holder = entry.get(state, {}) if state else entry
        if key in holder:
            body = holder[key]
            found.append(
                Resource(body.get("name") or body.get("cluster_name", ""), body, holder.get("version_info", ""))
            )
    return sorted(found, key=lambda one: one.name)


def _remarks(dump: dict[str, Any], kind: str) -> Iterable[str]:
    """What isn't in use: refused updates, and what still warms or drains."""
    section = _section(dump, kind)
    for entry in section.get(PLACES[kind][1], []):
        if error := entry.get("error_state"):
            name = error.get("failed_configuration", {}).get("name") or entry.get("name", "")
            yield f"{name}: Envoy refused an update: {error.get('details', '')}"
        for state, words in (("warming_state", "warming, not in use yet"), ("draining_state", "draining")):
            if state in entry:
                yield f"{entry.get('name', '')}: {words}"
    for entry in section.get("dynamic_warming_clusters", []):
        yield f"{entry.get('cluster', {}).get('name', '')}: warming, not in use yet"


def _traffic(statuses: dict[str, Any]) -> dict[tuple[str, str], Traffic]:
    found = {}
    for cluster in statuses.get("cluster_statuses", []):
        for host in cluster.get("host_statuses", []):
            count = {each["name"]: int(each.get("value", 0)) for each in host.get("stats", [])}
            found[cluster["name"], address_text(host.get("address", {}))] = Traffic(
                count.get("cx_active", 0), count.get("rq_total", 0), count.get("rq_error", 0)
            )
    return found
