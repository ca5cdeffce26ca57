"""Who is who between sidecars, gateways and laptops: TLS with certificates of the manager's own authority.

The certificates are secrets that come by the stream that everything comes by, and are renewed there without closing a
connection (https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret).
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import TransportSocket
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    CommonTlsContextCombinedCertificateValidationContext,
    DownstreamTlsContext,
    SdsSecretConfig,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from xds.compile.ads import ads
from xds.compile.encode import pack

IDENTITY = "byway/identity"
"""The secret with a process's own certificate and key."""

AUTHORITY = "byway/ca"
"""The secret with the certificate of whoever signs all others."""

GATEWAY_NAME = "gateway.byway"
"""The name that every gateway's certificate is for."""


def to_gateway() -> TransportSocket:
    """A sidecar's side of a connection to a gateway."""
    gateway = SubjectAltNameMatcher(
        san_type=SubjectAltNameMatcherSanType.DNS, matcher=StringMatcher(exact=GATEWAY_NAME)
    )
    common = _common(CertificateValidationContext(match_typed_subject_alt_names=[gateway]))
    return TransportSocket(
        name="tls", typed_config=pack(UpstreamTlsContext(common_tls_context=common, sni=GATEWAY_NAME))
    )


def from_sidecar() -> TransportSocket:
    """A gateway's side of a connection from a sidecar, which has to show its certificate."""
    context = DownstreamTlsContext(
        common_tls_context=_common(CertificateValidationContext()), require_client_certificate=True
    )
    return TransportSocket(name="tls", typed_config=pack(context))


def from_laptop() -> TransportSocket:
    """A gateway's side of a connection from a laptop, which shows a token instead of a certificate."""
    common = CommonTlsContext(alpn_protocols=["h2"], tls_certificate_sds_secret_configs=[_secret(IDENTITY)])
    return TransportSocket(name="tls", typed_config=pack(DownstreamTlsContext(common_tls_context=common)))


def _common(default: CertificateValidationContext) -> CommonTlsContext:
    return CommonTlsContext(
        alpn_protocols=["h2"],
        tls_certificate_sds_secret_configs=[_secret(IDENTITY)],
        combined_validation_context=CommonTlsContextCombinedCertificateValidationContext(
            default_validation_context=default, validation_context_sds_secret_config=_secret(AUTHORITY)
        ),
    )


def _secret(name: str) -> SdsSecretConfig:
    return SdsSecretConfig(name=name, sds_config=ads())
