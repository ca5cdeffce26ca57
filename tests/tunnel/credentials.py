"""An authority for certificates and one for tokens, of a test's own."""

from __future__ import annotations

import base64
import datetime
import json
import time
from collections.abc import Iterable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

ISSUER = "byway"
AUDIENCE = "byway-tunnel"


def _url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """Signs certificates."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign("authority", self._key, (), ca=True)
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, *names: str) -> tuple[bytes, bytes]:
        """A certificate for these DNS names and its key, both PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign("server", key, [x509.DNSName(name) for name in names], ca=False)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return certificate.public_bytes(serialization.Encoding.PEM), private

    def _sign(
        self, name: str, key: ec.EllipticCurvePrivateKey, names: Iterable[x509.GeneralName], *, ca: bool
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name("authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())


class Tokens:
    """Signs tokens (ES256)."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def jwks(self) -> str:
        """The public key, as a gateway wants it."""
        numbers = self._key.public_key().public_numbers()
        x, y = (_url(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
        return json.dumps(
            {"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k1", "x": x, "y": y}]}
        )

    def token(self, node: str, *, namespaces: str = "*", seconds: float = 600, **claims: Any) -> str:
        """A token for a node."""
        payload = {"iss": ISSUER, "aud": AUDIENCE, "sub": node, "ns": namespaces, "exp": int(time.time() + seconds)}
        parts = [{"alg": "ES256", "typ": "JWT", "kid": "k1"}, payload | claims]
        signed = ".".join(_url(json.dumps(part).encode()) for part in parts)
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"
