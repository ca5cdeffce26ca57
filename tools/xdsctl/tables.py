"""Resources as rows for people, in the manner of `istioctl proxy-config`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from xds.terminal.output import styled, table
from xdsctl.resources import Listing, Resource, address_text
from xdsctl.words import match_words

Row = list[str]
USABLE = {"HEALTHY", "UNKNOWN"}
"""Envoy takes an endpoint of which nothing is known for a healthy one (config.core.v3.HealthStatus)."""
HTTP, TCP = "HttpConnectionManager", "TcpProxy"


def listing_table(listing: Listing, *, wide: bool) -> str:
    """The table of a listing. Wide tables have what the manager or Envoy knows of each resource beside what it is."""
    headings, rows = TABLES.get(listing.type, _others)(listing, wide)
    if wide:
        headings += ["VERSION", "ACKED"] if listing.source == "manager" else ["VERSION"]
    return table(headings, [[*row, *(_versions(listing, one) if wide else [])] for one, row in rows])


def _versions(listing: Listing, resource: Resource) -> Row:
    if listing.source != "manager":
        return [resource.version]
    acked = "same" if resource.acked_version == resource.version else resource.acked_version or "never"
    return [resource.version, styled(acked, fg="green" if acked == "same" else "red")]


Rows = Iterator[tuple[Resource, Row]]


def _listeners(listing: Listing, wide: bool) -> tuple[Row, Rows]:  # noqa: ARG001  one shape for all
    return ["NAME", "ADDRESS", "KIND", "DESTINATION"], (
        (one, [one.name, listener_address(one.body), listener_kind(one.body), ", ".join(_destinations(one.body))])
        for one in listing.resources
    )


def listener_address(body: dict[str, Any]) -> str:
    """Where it accepts connections; an internal one has no address."""
    return address_text(body.get("address", {}))


def listener_kind(body: dict[str, Any]) -> str:
    """http, tcp, sniffed (either, by the first bytes) or internal."""
    if "internal_listener" in body:
        return "internal"
    kinds = {_type_of(config) for config in _filters(body)}
    if {HTTP, TCP} <= kinds:
        return "sniffed"
    return "http" if HTTP in kinds else "tcp" if TCP in kinds else "other"


def _filters(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    chains = [
        *body.get("filter_chains", []),
        *([body["default_filter_chain"]] if "default_filter_chain" in body else []),
    ]
    for chain in chains:
        for each in chain.get("filters", []):
            yield each.get("typed_config", {})


def _type_of(config: dict[str, Any]) -> str:
    return str(config.get("@type", "")).rpartition(".")[2]


def _destinations(body: dict[str, Any]) -> Iterator[str]:
    for config in _filters(body):
        if "rds" in config:
            yield f"routes {config['rds'].get('route_config_name', '')}"
        elif "route_config" in config:
            yield from dict.fromkeys(
                f"cluster {cluster}"
                for _, route in _routes_of(config["route_config"])
                if (cluster := destination(route))
            )
        elif "cluster" in config:
            yield f"cluster {config['cluster']}"


def _routes_of(configuration: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each virtual host's name, and a route of it."""
    for host in configuration.get("virtual_hosts", []):
        for route in host.get("routes", []):
            yield host.get("name", ""), route


def destination(route: dict[str, Any]) -> str:
    """Where a route leads."""
    action = route.get("route", {})
    if "cluster" in action:
        return str(action["cluster"])
    if "weighted_clusters" in action:
        return ", ".join(str(each.get("name", "")) for each in action["weighted_clusters"].get("clusters", []))
    if "direct_response" in route:
        return f"direct response {route['direct_response'].get('status', '')}"
    return "redirect" if "redirect" in route else ""


def facts(holder: dict[str, Any]) -> dict[str, str]:
    """Our own metadata of a route or an endpoint."""
    found: dict[str, str] = holder.get("metadata", {}).get("filter_metadata", {}).get("byway", {})
    return found


def _routes(listing: Listing, wide: bool) -> tuple[Row, Rows]:
    headings = ["PORT", "ORDER", "NAME", "MATCH", "CLUSTER", "OWNER"]
    return [*headings, *(["INTERCEPT", "WHEN DOWN", "LAST SEEN"] if wide else [])], _route_rows(listing, wide)


def _route_rows(listing: Listing, wide: bool) -> Rows:
    for one in listing.resources:
        port = one.name.rpartition("/")[2]
        for order, (_, route) in enumerate(_routes_of(one.body), 1):
            known = facts(route)
            row = [port, str(order), route.get("name", ""), match_words(route.get("match", {})), destination(route)]
            extra = [known.get("name", ""), known.get("when-down", ""), known.get("since", "")] if wide else []
            yield one, [*row, known.get("owner", ""), *extra]


def _clusters(listing: Listing, wide: bool) -> tuple[Row, Rows]:
    assignments = {one.name: one.body for one in listing.endpoints}

    def rows() -> Rows:
        for one in listing.resources:
            service = one.body.get("eds_cluster_config", {}).get("service_name") or one.name
            assignment = one.body.get("load_assignment") or assignments.get(service, {})
            found = [endpoint for _, endpoint in endpoints_of(assignment)]
            healthy = sum(health(endpoint) in USABLE for endpoint in found)
            row = [one.name, one.body.get("type", "STATIC"), timeout_text(one.body.get("connect_timeout", "5s"))]
            row.append(f"{healthy}/{len(found)} healthy" if found else "none")
            yield one, [*row, *([", ".join(endpoint_address(each) for each in found)] if wide else [])]

    return ["NAME", "TYPE", "CONNECT TIMEOUT", "ENDPOINTS", *(["ADDRESSES"] if wide else [])], rows()


def timeout_text(duration: str) -> str:
    """protobuf's JSON has three decimals where it has any: 1.500s."""
    return f"{float(duration.removesuffix('s')):g}s"


def endpoints_of(assignment: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each endpoint with its priority."""
    for locality in assignment.get("endpoints", []):
        for endpoint in locality.get("lb_endpoints", []):
            yield locality.get("priority", 0), endpoint


def endpoint_address(endpoint: dict[str, Any]) -> str:
    """Where it is."""
    return address_text(endpoint.get("endpoint", {}).get("address", {}))


def health(endpoint: dict[str, Any]) -> str:
    """As EDS says it."""
    return str(endpoint.get("health_status", "UNKNOWN"))


def served_by(endpoint: dict[str, Any]) -> str:
    """`laptop` or `cluster`; `hop` for the way to a laptop through a listener of the same Envoy."""
    internal = "envoy_internal_address" in endpoint.get("endpoint", {}).get("address", {})
    return facts(endpoint).get("served-by", "hop" if internal else "")


def _endpoints(listing: Listing, wide: bool) -> tuple[Row, Rows]:
    live = wide and listing.source == "envoy"

    def rows() -> Rows:
        for one in listing.resources:
            for priority, endpoint in endpoints_of(one.body):
                address, state = endpoint_address(endpoint), health(endpoint)
                shown = styled(state, fg="green" if state in USABLE else "red")
                row = [one.name, address, shown, str(priority), served_by(endpoint)]
                seen = listing.traffic.get((one.name, address)) if live else None
                counts = [str(seen.connections), str(seen.requests), str(seen.errors)] if seen else ["", "", ""]
                yield one, [*row, *(counts if live else [])]

    headings = ["CLUSTER", "ADDRESS", "HEALTH", "PRIORITY", "SERVED BY"]
    return [*headings, *(["CONNECTIONS", "REQUESTS", "ERRORS"] if live else [])], rows()


def _others(listing: Listing, wide: bool) -> tuple[Row, Rows]:  # noqa: ARG001  one shape for all
    """Types of which nothing more is known than what every resource has."""
    return ["NAME", "CONTENT"], ((one, [one.name, ", ".join(_contents(one.body))]) for one in listing.resources)


def _contents(body: dict[str, Any]) -> Iterator[str]:
    for key, value in body.items():
        if key in {"@type", "name"}:
            continue
        yield f"{key} {kind}" if isinstance(value, dict) and (kind := _type_of(value)) else key


TABLES = {"listeners": _listeners, "routes": _routes, "clusters": _clusters, "endpoints": _endpoints}


def named(resources: Iterable[Resource], kind: str, part: str) -> list[Resource]:
    """The resources with that text in their name; of route configurations also the routes of that name alone."""
    found = []
    for one in resources:
        if part in one.name:
            found.append(one)
        elif kind == "routes" and (kept := _with_routes(one.body, part)):
            found.append(Resource(one.name, kept, one.version, one.acked_version))
    return found


def _with_routes(configuration: dict[str, Any], name: str) -> dict[str, Any]:
    """A route configuration with the routes of that name alone; empty without any."""
    hosts = []
    for host in configuration.get("virtual_hosts", []):
        if routes := [route for route in host.get("routes", []) if route.get("name") == name]:
            hosts.append({**host, "routes": routes})
    return {**configuration, "virtual_hosts": hosts} if hosts else {}
