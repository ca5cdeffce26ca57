"""How the laptop's Envoy dials a gateway.

    listener rc-N ──▶ cluster gateway-N ──▶ 127.0.0.1: listener hop-N ──▶ cluster carrier-N ──TLS, CONNECT──▶ gateway
    (dials)                                 (tcp_proxy)                   (puts the token on the CONNECT)

The tunnel by itself sends in clear once its handshake is done: Envoy takes the socket out of its TLS layer. So it is
carried inside one stream of an ordinary HTTP/2 connection with TLS, which has keepalives of its own from the beginning;
those of the tunnel begin with its first request. The hop has to be TCP: on a Unix socket Envoy 1.40 crashes. Whoever
else on this machine connects to it gets as far as the gateway's second look at a token, which only this Envoy shows.

N is a number that is never used twice: another address, another name, another node is another dialler, made before the
old one is taken away.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    ConfigSource,
    DataSource,
    PathConfigSource,
    SocketAddress,
    SubstitutionFormatString,
    TransportSocket,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.extensions.access_loggers.stream.v3 import StdoutAccessLog
from envoy_data_plane.envoy.extensions.filters.http.credential_injector.v3 import CredentialInjector
from envoy_data_plane.envoy.extensions.filters.http.upstream_codec.v3 import UpstreamCodec
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.filters.network.reverse_tunnel.v3 import DrainAwareHttpConnectionManager
from envoy_data_plane.envoy.extensions.filters.network.tcp_proxy.v3 import TcpProxy, TcpProxyTunnelingConfig
from envoy_data_plane.envoy.extensions.http.injected_credentials.generic.v3 import Generic
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    SdsSecretConfig,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Struct, Value

from xds.client.tunnel.contract import CARRIER_AUTHORITY, Gateway
from xds.client.tunnel.envoy_server import connection_manager
from xds.client.tunnel.envoy_targets import CONNECTION_WINDOW, HTTP_OPTIONS, http2_options, keepalive, located
from xds.compile.encode import encode, pack
from xds.compile.transparent import FOREVER
from xds.serve import CLUSTER, LISTENER, Resource

CONNECT_TIMEOUT = timedelta(seconds=3)
"""For TCP and TLS; a lost SYN is sent again after a second."""

CARRIER_WINDOW = 16 << 20
"""The window of the only stream of a carrier; the streams inside it have theirs."""

SECRET_FILE = "auth/secret.json"  # noqa: S105  its name
CARRIER_LOG = "carrier"
"""What marks Envoy's lines about carriers among others on its standard output."""


@dataclass(frozen=True, slots=True)
class Dialler:
    """Dials one gateway as one node. `number` is unique for as long as the Envoy lives, and longer."""

    number: int
    node: str
    gateway: Gateway
    ca: bytes

    @property
    def hop(self) -> str:
        """The name of its hop's listener."""
        return f"hop-{self.number}"

    @property
    def cluster(self) -> str:
        """The name under which Envoy counts its tunnels."""
        return f"gateway-{self.number}"

    def carrier_resources(self) -> list[Resource]:
        """The hop and what is behind it. The hop takes a free port, which is known when it listens."""
        carrier, hop = self._carrier(), self._hop()
        return [
            Resource.of(CLUSTER, carrier.name, encode(carrier)),
            Resource.of(LISTENER, hop.name, encode(hop)),
        ]

    def tunnel_resources(self, hop_port: int, *, dials: bool = True) -> list[Resource]:
        """What leads to the hop and, where it `dials`, what dials through it and serves what comes back."""
        gateway = located(self.cluster, "127.0.0.1", hop_port, CONNECT_TIMEOUT)
        found = [Resource.of(CLUSTER, gateway.name, encode(gateway))]
        if dials:
            rc = self._reverse()
            found.append(Resource.of(LISTENER, rc.name, encode(rc)))
        return found

    def _reverse(self) -> Listener:
        # Envoy's own notation: rc://NODE:CLUSTER:TENANT@UPSTREAM CLUSTER:CONNECTIONS.
        dial = f"rc://{self.node}:u.{self.node}:default@{self.cluster}:1"
        address = SocketAddress(address=dial, port_value=0, resolver_name="envoy.resolvers.reverse_connection")
        server = DrainAwareHttpConnectionManager(hcm_config=connection_manager(), enable_drain_with_goaway=True)
        drain_aware = "envoy.filters.network.reverse_tunnel_drain_aware_http_connection_manager"
        chain = FilterChain(filters=[Filter(name=drain_aware, typed_config=pack(server))])
        return Listener(
            name=f"rc-{self.number}",
            address=Address(socket_address=address),
            listener_filters_timeout=timedelta(0),
            filter_chains=[chain],
        )

    def _hop(self) -> Listener:
        proxy = TcpProxy(
            stat_prefix=CARRIER_LOG,
            cluster=f"carrier-{self.number}",
            idle_timeout=FOREVER,
            tunneling_config=TcpProxyTunnelingConfig(hostname=CARRIER_AUTHORITY),
            access_log=[self._log()],
        )
        chain = FilterChain(filters=[Filter(name="carrier", typed_config=pack(proxy))])
        local = SocketAddress(address="127.0.0.1", port_value=0)
        return Listener(name=self.hop, address=Address(socket_address=local), filter_chains=[chain])

    def _log(self) -> AccessLog:
        """One line for each carrier that ended, so that the daemon can say why."""
        fields = {
            CARRIER_LOG: str(self.number),
            "flags": "%RESPONSE_FLAGS%",
            "tls": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
        }
        json_format = Struct(fields={key: Value(string_value=fields[key]) for key in sorted(fields)})
        log = StdoutAccessLog(log_format=SubstitutionFormatString(json_format=json_format))
        return AccessLog(name="carrier", typed_config=pack(log))

    def _carrier(self) -> Cluster:
        http2 = http2_options()
        http2.initial_stream_window_size = CARRIER_WINDOW
        http2.initial_connection_window_size = CONNECTION_WINDOW
        # A NAT that forgot the connection, or a network that is gone, says nothing.
        http2.connection_keepalive = keepalive(2, 2)
        options = HttpProtocolOptions(
            explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=http2),
            http_filters=[
                HttpFilter(name="token", typed_config=pack(_token())),
                HttpFilter(name="envoy.filters.http.upstream_codec", typed_config=pack(UpstreamCodec())),
            ],
        )
        cluster = located(f"carrier-{self.number}", self.gateway.host, self.gateway.port, CONNECT_TIMEOUT)
        cluster.transport_socket = TransportSocket(name="tls", typed_config=pack(self._tls()))
        cluster.typed_extension_protocol_options = {HTTP_OPTIONS: pack(options)}
        return cluster

    def _tls(self) -> UpstreamTlsContext:
        name = SubjectAltNameMatcher(
            san_type=SubjectAltNameMatcherSanType.DNS, matcher=StringMatcher(exact=self.gateway.server_name)
        )
        validation = CertificateValidationContext(
            trusted_ca=DataSource(inline_bytes=self.ca), match_typed_subject_alt_names=[name]
        )
        return UpstreamTlsContext(
            sni=self.gateway.server_name,
            common_tls_context=CommonTlsContext(alpn_protocols=["h2"], validation_context=validation),
        )


def _token() -> CredentialInjector:
    """Puts the token on the CONNECT. It is read from a file, so it is in no config dump and may be renewed."""
    source = ConfigSource(path_config_source=PathConfigSource(path=SECRET_FILE))
    credential = Generic(
        header="authorization",
        header_value_prefix="Bearer ",
        credential=SdsSecretConfig(name="token", sds_config=source),
    )
    return CredentialInjector(
        overwrite=True, credential=TypedExtensionConfig(name="token", typed_config=pack(credential))
    )
