"""Secrets as they may be shown: who holds one and of what, but never a key. Envoy's own dumps have the same words."""

from __future__ import annotations

from typing import Final

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret, TlsCertificate

from xds.compile.encode import encode
from xds.serve.resource import SECRET, Resource

REDACTED: Final = b"[redacted]"


def shown(resource: Resource) -> bytes:
    """The body of a resource, fit to be shown. What a secret holds other than public certificates is left out."""
    if resource.type_url != SECRET:
        return resource.body
    whole = Secret.parse(resource.body)
    public = Secret(name=whole.name, validation_context=whole.validation_context)
    if whole.tls_certificate is not None:
        public.tls_certificate = TlsCertificate(
            certificate_chain=whole.tls_certificate.certificate_chain, private_key=DataSource(inline_bytes=REDACTED)
        )
    return encode(public)
