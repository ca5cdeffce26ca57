"""A real Envoy as a gateway, configured by hand: a tunnel port for laptops, and a port for requests to laptops.

On the port for requests nobody is authenticated, and the request names the laptop (`x-byway-node`) by itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, UnixConnector

from demo.processes import Processes, wait_for
from demo.world import free_port, listening
from tests.tunnel.credentials import AUDIENCE, ISSUER, Authority, Tokens
from xds.client.tunnel.contract import CARRIER_AUTHORITY, Gateway, Offer

SERVER_NAME = "gateway.byway"
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
HTTP2 = {
    "allow_connect": True,
    "max_concurrent_streams": 10000,
    "initial_stream_window_size": 1 << 20,
    "initial_connection_window_size": 64 << 20,
}
HALF_CLOSE = "envoy.reloadable_features.allow_multiplexed_upstream_half_close"


def _keepalive(seconds: int) -> dict[str, Any]:
    return {"connection_keepalive": {"interval": f"{seconds}s", "timeout": f"{seconds}s"}}


LIMITS = {"thresholds": [dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), 100_000)]}


def _typed(name: str, **fields: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/{name}", **fields}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _router() -> dict[str, Any]:
    return {"name": "router", "typed_config": _typed("envoy.extensions.filters.http.router.v3.Router")}


def _static_cluster(name: str, port: int) -> dict[str, Any]:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}]
    return {
        "name": name,
        "connect_timeout": "1s",
        "circuit_breakers": LIMITS,
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    }


def _laptops(keepalive: int) -> dict[str, Any]:
    codec = "envoy.extensions.upstreams.http.reverse_tunnel.v3.ReverseTunnelUpstreamCodecOptions"
    http2 = HTTP2 | _keepalive(keepalive)
    return {
        "name": "laptops",
        "connect_timeout": "5s",
        "lb_policy": "CLUSTER_PROVIDED",
        "circuit_breakers": LIMITS,
        "cluster_type": {
            "name": "envoy.clusters.reverse_connection",
            "typed_config": _typed(
                "envoy.extensions.clusters.reverse_connection.v3.ReverseConnectionClusterConfig",
                cleanup_interval="60s",
                host_id_format="%REQ(x-byway-node)%",
            ),
        },
        "typed_extension_protocol_options": {
            HTTP_OPTIONS: _typed(HTTP_OPTIONS, explicit_http_config={"http2_protocol_options": http2}),
            codec: _typed(codec, enable_drain_with_goaway=True),
        },
    }


def _connect_route(cluster: str, *headers: dict[str, Any]) -> dict[str, Any]:
    connect = [{"upgrade_type": "CONNECT", "connect_config": {}}]
    route = {"cluster": cluster, "timeout": "0s", "upgrade_configs": connect}
    return {"match": {"connect_matcher": {}, "headers": list(headers)}, "route": route}


def _exact(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "string_match": {"exact": value}}


def _contains(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "string_match": {"safe_regex": {"regex": f"(.* )?({value}|\\*)( .*)?"}}}


def _says(status: int, text: str, *headers: dict[str, Any]) -> dict[str, Any]:
    match = {"connect_matcher": {}, "headers": list(headers)}
    return {"match": match, "direct_response": {"status": status, "body": {"inline_string": text}}}


@dataclass
class StaticGateway:
    """Use `start` and `stop`, or as a context; it may be started again, on the same ports."""

    processes: Processes
    folder: Path
    authority: Authority
    tokens: Tokens
    name: str = "gw-1"
    services: dict[str, int] = field(default_factory=dict)
    """What CONNECT reaches: `service.namespace:port` → a port of this machine."""
    keepalive: int = 2
    """Seconds between pings, and for which an answer is waited. A test process that is busy on both sides of a tunnel
    takes its time to answer."""
    half_close: bool = False
    """Whether the end of what a laptop sends leaves the other direction open; else it is the end of both, which cuts
    off what has not arrived yet."""
    tunnel_port: int = field(default_factory=free_port)
    port: int = field(default_factory=free_port)
    """For requests to laptops, HTTP/1.1 or h2c."""

    @property
    def gateway(self) -> Gateway:
        return Gateway(self.name, "127.0.0.1", self.tunnel_port, SERVER_NAME)

    def offer(self, node: str, **claims: Any) -> Offer:
        """What the manager would offer a laptop."""
        return Offer(node, self.tokens.token(node, **claims), self.authority.pem, (self.gateway,))

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self.folder.mkdir(parents=True, exist_ok=True)
        certificate, key = self.authority.issue(SERVER_NAME)
        (self.folder / "gateway.crt").write_bytes(certificate)
        (self.folder / "gateway.key").write_bytes(key)
        config = self.folder / "gateway.json"
        config.write_text(json.dumps(self._config()))
        envoy = shutil.which("envoy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        assert envoy is not None
        command = [envoy, "-c", str(config), "--concurrency", "1", "--use-dynamic-base-id", "-l", "warning"]
        self.processes.start(self.name, [*command, "--drain-time-s", "1"])

        def ready() -> bool:
            self.processes.check(self.name)
            return listening(self.port) and listening(self.tunnel_port)

        wait_for(ready, f"{self.name} listens")

    def stop(self) -> None:
        self.processes.stop(self.name)

    def kill(self) -> None:
        self.processes.kill(self.name)

    def freeze(self) -> None:
        self.processes.signal(self.name, signal.SIGSTOP)

    def thaw(self) -> None:
        self.processes.signal(self.name, signal.SIGCONT)

    async def admin(self, path: str, *, method: str = "GET") -> str:
        """Ask the gateway's Envoy."""
        async with ClientSession(connector=UnixConnector(str(self.folder / "admin.sock"))) as session:
            answer = await session.request(method, f"http://admin{path}")
            assert answer.ok, await answer.text()
            return await answer.text()

    @contextlib.contextmanager
    def running(self) -> Iterator[StaticGateway]:
        self.start()
        try:
            yield self
        finally:
            self.processes.stop_all()

    def _config(self) -> dict[str, Any]:
        accept = free_port()
        sockets = "envoy.extensions.bootstrap.reverse_tunnel.upstream_socket_interface.v3"
        interface = _typed(
            f"{sockets}.UpstreamReverseConnectionSocketInterface",
            stat_prefix="tunnels",
            ping_failure_threshold=3,
            max_connections_per_node=2,
        )
        clusters = [_laptops(self.keepalive), _static_cluster("tunnel_accept", accept)]
        clusters += [_static_cluster(name, port) for name, port in self.services.items()]
        return {
            "admin": {"address": {"pipe": {"path": str(self.folder / "admin.sock"), "mode": 0o600}}},
            "node": {"id": self.name, "cluster": "gateways"},
            "layered_runtime": {"layers": [{"name": "test", "static_layer": {HALF_CLOSE: self.half_close}}]},
            "bootstrap_extensions": [{"name": sockets, "typed_config": interface}],
            "static_resources": {
                "clusters": clusters,
                "listeners": [self._accept(accept), self._requests(), self._tunnels()],
            },
        }

    def _accept(self, port: int) -> dict[str, Any]:
        sub = "%DYNAMIC_METADATA(envoy.filters.network.reverse_tunnel.jwt:sub)%"
        config = _typed(
            "envoy.extensions.filters.network.reverse_tunnel.v3.ReverseTunnel",
            ping_interval="1s",
            handshake_timeout="5s",
            enable_connection_limit=True,
            jwt_validator={
                "issuer": ISSUER,
                "audiences": [AUDIENCE],
                "local_jwks": {"inline_string": self.tokens.jwks},
            },
            validation={"node_id_format": sub, "cluster_id_format": f"u.{sub}"},
        )
        filters = [{"name": "envoy.filters.network.reverse_tunnel", "typed_config": config}]
        return {"name": "tunnel_accept", "address": _address(port), "filter_chains": [{"filters": filters}]}

    def _requests(self) -> dict[str, Any]:
        away = {
            "filter": {"response_flag_filter": {"flags": ["UF", "UH"]}},
            "status_code": 503,
            "headers_to_add": [{"header": {"key": "x-byway-away", "value": "tunnel"}}],
        }
        connect = [{"upgrade_type": "CONNECT"}]
        to_laptops = {"cluster": "laptops", "timeout": "0s"}
        routes = [
            {"match": {"connect_matcher": {}}, "route": to_laptops | {"upgrade_configs": connect}},
            {"match": {"prefix": "/"}, "route": to_laptops},
        ]
        return self._http(
            "requests",
            self.port,
            routes,
            http2_protocol_options=HTTP2,
            http_protocol_options={"enable_trailers": True, "accept_http_10": True, "default_host_for_http_10": "x"},
            proxy_100_continue=True,
            max_request_headers_kb=8192,
            common_http_protocol_options={"max_headers_count": 10000},
            upgrade_configs=[{"upgrade_type": "websocket"}, *connect],
            local_reply_config={"mappers": [away]},
        )

    def _tunnels(self) -> dict[str, Any]:
        provider = {
            "issuer": ISSUER,
            "audiences": [AUDIENCE],
            "claim_to_headers": [
                {"claim_name": "sub", "header_name": "x-byway-node"},
                {"claim_name": "ns", "header_name": "x-byway-namespaces"},
            ],
            "clear_route_cache": True,
            "local_jwks": {"inline_string": self.tokens.jwks},
        }
        jwt = _typed(
            "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            providers={"byway": provider},
            rules=[{"match": {"connect_matcher": {}}, "requires": {"provider_name": "byway"}}],
        )
        routes = [_connect_route("tunnel_accept", _exact(":authority", CARRIER_AUTHORITY))]
        for service in self.services:
            namespace = service.partition(":")[0].split(".")[1]
            routes += [
                _connect_route(service, _exact(":authority", service), _contains("x-byway-namespaces", namespace)),
                _says(403, f"you may not use the namespace {namespace}\n", _exact(":authority", service)),
            ]
        routes.append(_says(404, "there is no such service\n"))
        listener = self._http(
            "carrier",
            self.tunnel_port,
            routes,
            http2_protocol_options={**HTTP2, **_keepalive(self.keepalive), "initial_stream_window_size": 16 << 20},
            upgrade_configs=[{"upgrade_type": "CONNECT"}],
            first=[{"name": "envoy.filters.http.jwt_authn", "typed_config": jwt}],
            codec_type="HTTP2",
        )
        files = {"certificate_chain": "gateway.crt", "private_key": "gateway.key"}
        certificate = {name: {"filename": str(self.folder / file)} for name, file in files.items()}
        tls = _typed(
            "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            common_tls_context={"alpn_protocols": ["h2"], "tls_certificates": [certificate]},
        )
        listener["filter_chains"][0]["transport_socket"] = {"name": "tls", "typed_config": tls}
        return listener

    def _http(
        self, name: str, port: int, routes: list[Any], *, first: list[Any] | None = None, **fields: Any
    ) -> dict[str, Any]:
        config = _typed(
            HCM,
            stat_prefix=name,
            stream_idle_timeout="0s",
            generate_request_id=False,
            route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
            http_filters=[*(first or []), _router()],
            **fields,
        )
        filters = [{"name": "hcm", "typed_config": config}]
        return {"name": name, "address": _address(port), "filter_chains": [{"filters": filters}]}
