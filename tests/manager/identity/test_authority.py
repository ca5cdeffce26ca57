"""The certificate authority: what it signs, where its key is, and that a damaged file is never written over."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from xds.manager.identity.authority import BACKDATED, LEAF_LIFE, Authority, Certificate, Subject
from xds.manager.identity.errors import IdentityError
from xds.registry.workload import WorkloadId

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
GATEWAY = Subject.of_gateway("gw-1")
SIDECAR = Subject.of_workload(WorkloadId("dev", "deployment", "orders"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "identity" / "ca.pem"


@pytest.fixture
def authority(path: Path) -> Authority:
    return Authority.open(path, wall=NOW)


def parsed(certificate: Certificate) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate.chain)


def policy(authority: Authority, at: datetime) -> PolicyBuilder:
    return PolicyBuilder().store(Store([x509.load_pem_x509_certificate(authority.pem)])).time(at)


def uris(certificate: Certificate) -> list[str]:
    names = parsed(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def test_it_is_made_once_and_is_the_same_after_a_restart(path: Path, authority: Authority) -> None:
    before = path.read_bytes()
    again = Authority.open(path, wall=NOW + timedelta(days=400))
    assert again.pem == authority.pem
    assert path.read_bytes() == before


def test_its_file_is_readable_by_its_owner_alone(path: Path, authority: Authority) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o644)
    Authority.open(path, wall=NOW)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_gateway_is_a_server_under_the_name_that_laptops_demand(authority: Authority) -> None:
    issued = authority.issue(GATEWAY, wall=NOW)
    verifier = policy(authority, NOW).build_server_verifier(x509.DNSName("gateway.byway"))
    assert verifier.verify(parsed(issued), [])
    assert uris(issued) == ["spiffe://byway/gateway/gw-1"]
    with pytest.raises(VerificationError):
        policy(authority, NOW).build_server_verifier(x509.DNSName("orders.dev")).verify(parsed(issued), [])


def test_a_sidecar_is_a_client_that_names_its_workload_and_no_server(authority: Authority) -> None:
    issued = authority.issue(SIDECAR, wall=NOW)
    assert policy(authority, NOW).build_client_verifier().verify(parsed(issued), [])
    assert uris(issued) == ["spiffe://byway/dev/deployment/orders"]
    usage = parsed(issued).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_a_gateway_is_no_client(authority: Authority) -> None:
    with pytest.raises(VerificationError):
        policy(authority, NOW).build_client_verifier().verify(parsed(authority.issue(GATEWAY, wall=NOW)), [])


def test_a_certificate_is_good_for_a_day_and_where_the_clock_is_late(authority: Authority) -> None:
    found = parsed(authority.issue(SIDECAR, wall=NOW))
    assert found.not_valid_before_utc == NOW - BACKDATED
    assert found.not_valid_after_utc == NOW + LEAF_LIFE
    for when in (NOW - BACKDATED - timedelta(seconds=1), NOW + LEAF_LIFE + timedelta(seconds=1)):
        with pytest.raises(VerificationError):
            policy(authority, when).build_client_verifier().verify(found, [])


def test_what_another_authority_signed_is_refused(tmp_path: Path, authority: Authority) -> None:
    other = Authority.open(tmp_path / "other.pem", wall=NOW)
    with pytest.raises(VerificationError):
        policy(authority, NOW).build_client_verifier().verify(parsed(other.issue(SIDECAR, wall=NOW)), [])


def test_each_certificate_has_a_key_of_its_own(authority: Authority) -> None:
    first, second = authority.issue(SIDECAR, wall=NOW), authority.issue(SIDECAR, wall=NOW)
    assert first.key != second.key
    assert parsed(first).public_key() != parsed(second).public_key()


def test_a_key_is_in_no_text_that_stands_for_it(authority: Authority) -> None:
    issued = authority.issue(SIDECAR, wall=NOW)
    assert "PRIVATE" not in f"{issued!r} {authority!r}"


@pytest.mark.parametrize(
    "damage",
    [
        lambda pem: b"",
        lambda pem: pem[: len(pem) // 4],
        lambda pem: pem[: pem.index(b"-----BEGIN CERTIFICATE")],
        lambda pem: pem[pem.index(b"-----BEGIN CERTIFICATE") :],
        lambda pem: pem.replace(b"-----BEGIN PRIVATE KEY-----\nM", b"-----BEGIN PRIVATE KEY-----\nX"),
        lambda pem: b"\xff\x00" + pem[::-1],
    ],
    ids=["empty", "cut", "no certificate", "no key", "another key", "garbage"],
)
def test_a_damaged_file_is_named_and_left_as_it_is(path: Path, authority: Authority, damage) -> None:  # type: ignore[no-untyped-def]
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    with pytest.raises(IdentityError, match="restore it from a copy") as caught:
        Authority.open(path, wall=NOW)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == damaged


def test_a_certificate_that_is_not_the_keys_is_noticed(tmp_path: Path, path: Path, authority: Authority) -> None:
    other = tmp_path / "other.pem"
    Authority.open(other, wall=NOW)
    begin = b"-----BEGIN CERTIFICATE"
    key, _, _ = path.read_bytes().partition(begin)
    _, _, certificate = other.read_bytes().partition(begin)
    path.write_bytes(key + begin + certificate)
    with pytest.raises(IdentityError, match="not that of the key"):
        Authority.open(path, wall=NOW)


def test_an_authority_that_is_about_to_expire_is_told(path: Path, authority: Authority) -> None:
    before = path.read_bytes()
    with pytest.raises(IdentityError, match="is valid until 2036"):
        Authority.open(path, wall=NOW + timedelta(days=3650))
    assert path.read_bytes() == before


def test_it_is_on_the_curve_that_every_envoy_takes(authority: Authority) -> None:
    for pem in (authority.pem, authority.issue(GATEWAY, wall=NOW).chain):
        key = x509.load_pem_x509_certificate(pem).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.curve.name == "secp256r1"
