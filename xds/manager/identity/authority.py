"""The certificate authority: one key, which outlives the manager's process, and the certificates that it signs.

What is in one file can't be half replaced, so the key and the certificate of the authority are in one. Whoever has that
file can be any sidecar and any gateway: it is readable by the manager's user alone, and a file that is there is never
written again, whatever is in it.

Times in certificates are wall-clock times, because that is what Envoy checks. They begin a while before they
are issued: the clocks of other machines may be late.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from xds.manager.identity.errors import IdentityError
from xds.paths import write_private
from xds.registry.workload import WorkloadId

SERVER_NAME: Final = "gateway.byway"
"""What laptops and sidecars demand of a gateway's certificate, whatever address they reach it at."""

AUTHORITY_LIFE: Final = timedelta(days=3650)
LEAF_LIFE: Final = timedelta(hours=24)
BACKDATED: Final = timedelta(hours=1)
"""By how much another machine's clock may be late."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a certificate names: a URI for each, and a DNS name for those that others connect to."""

    uri: str
    dns: str = ""

    @classmethod
    def of_gateway(cls, name: str) -> Subject:
        """A gateway, as laptops and sidecars see it."""
        return cls(f"spiffe://byway/gateway/{name}", SERVER_NAME)

    @classmethod
    def of_workload(cls, workload: WorkloadId) -> Subject:
        """Every sidecar of a workload, as gateways see it."""
        return cls(f"spiffe://byway/{workload}")


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, both PEM, and when it was issued by the wall clock."""

    chain: bytes
    key: bytes
    issued: datetime

    def __repr__(self) -> str:
        return f"<Certificate issued {self.issued.isoformat(timespec='seconds')}>"


class Authority:
    """Signs. `life` is that of the certificates that it issues."""

    def __init__(
        self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, *, life: timedelta = LEAF_LIFE
    ) -> None:
        self._key = key
        self._certificate = certificate
        self.life = life

    def __repr__(self) -> str:
        return f"<Authority {self._certificate.subject.rfc4514_string()}>"

    @classmethod
    def open(cls, path: Path, *, wall: datetime) -> Authority:
        """The authority in a file, made where there is no file. Raises IdentityError, OSError."""
        try:
            pem = path.read_bytes()
        except FileNotFoundError:
            made = cls._make(wall)
            write_private(path, (made._key_pem(made._key) + made.pem).decode())
            return made
        path.chmod(0o600)
        return cls._read(path, pem, wall)

    @classmethod
    def _make(cls, wall: datetime) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        serial = x509.random_serial_number()
        # Two authorities of one name would be told apart by nothing in an error message.
        name = _name(f"Byway {serial:x}"[:24])
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), serial, wall - BACKDATED, wall + AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(key, certificate)

    @classmethod
    def _read(cls, path: Path, pem: bytes, wall: datetime) -> Authority:
        advice = "restore it from a copy; without one remove it, and start every sidecar, gateway and laptop anew"
        try:
            key = load_pem_private_key(pem, password=None)
            certificate = x509.load_pem_x509_certificate(pem)
        except (ValueError, TypeError) as error:
            # What the parser says of a key may hold parts of it.
            raise IdentityError(f"{path} holds no key and certificate: {type(error).__name__}; {advice}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate.public_key() != key.public_key():
            raise IdentityError(f"the certificate in {path} is not that of the key in it; {advice}")
        if certificate.not_valid_after_utc <= wall + LEAF_LIFE:
            until = certificate.not_valid_after_utc.isoformat(timespec="seconds")
            raise IdentityError(f"the certificate in {path} is valid until {until} only; {advice}")
        return cls(key, certificate)

    @property
    def pem(self) -> bytes:
        """The certificate by which others check what this authority signed. No secret."""
        return self._certificate.public_bytes(Encoding.PEM)

    @staticmethod
    def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def issue(self, subject: Subject, *, wall: datetime) -> Certificate:
        """A certificate and a new key for it, valid from now on for `life`."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(subject.uri)]
        purpose = ExtendedKeyUsageOID.CLIENT_AUTH
        if subject.dns:
            names.append(x509.DNSName(subject.dns))
            purpose = ExtendedKeyUsageOID.SERVER_AUTH
        authority = self._certificate
        certificate = (
            x509.CertificateBuilder(
                authority.subject,
                # Who it is, is said by the alternative names: a common name is limited to 64 characters.
                x509.Name([]),
                key.public_key(),
                x509.random_serial_number(),
                wall - BACKDATED,
                min(wall + self.life, authority.not_valid_after_utc),
            )
            # Critical, since there is no other name (RFC 5280 section 4.2.1.6).
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Certificate(certificate.public_bytes(Encoding.PEM), self._key_pem(key), wall)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
