"""Certificates in the xDS store: who has one, when it is renewed, and that its key is never shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret

from tests.manager.running import NODE, Running, running
from tests.serve.client import ADS, DeltaClient
from xds.api.byway.manager import v1
from xds.api.rpc import bearer
from xds.api.services import Debug
from xds.compile import names
from xds.manager.identity.authority import LEAF_LIFE
from xds.manager.identity.certificates import CA, IDENTITY
from xds.manager.identity.redact import shown
from xds.serve.resource import CLUSTER, SECRET, Resource
from xds.serve.store import View

GATEWAYS = """\
gateways:
- {name: gw-1, tunnel: "127.0.0.1:11", sidecars: "127.0.0.1:12"}
- {name: gw-2, tunnel: "127.0.0.1:13", sidecars: "127.0.0.1:14"}
workloads:
"""
GATEWAY = "gateway/gw-1"


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as manager:
        manager.change(replace=("workloads:\n", GATEWAYS))
        manager.standalone.reload()
        yield manager


def secrets(there: Running, node: str) -> dict[str, Secret]:
    found = there.manager.store.snapshot(View("", node), SECRET).resources
    return {name: Secret.parse(one.body) for name, one in found.items()}


def certificate(there: Running, node: str) -> x509.Certificate:
    pair = secrets(there, node)[IDENTITY].tls_certificate
    assert pair is not None
    assert pair.certificate_chain is not None
    return x509.load_pem_x509_certificate(pair.certificate_chain.inline_bytes or b"")


def uri(there: Running, node: str) -> str:
    names = certificate(there, node).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (found,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    return found


async def test_without_gateways_nobody_has_a_certificate(tmp_path: Path) -> None:
    async with running(tmp_path) as manager:
        assert secrets(manager, NODE) == {}


def test_every_sidecar_and_gateway_has_one_of_its_own_that_names_it(there: Running) -> None:
    assert uri(there, NODE) == "spiffe://byway/dev/deployment/orders"
    assert [uri(there, f"gateway/{name}") for name in ("gw-1", "gw-2")] == [
        "spiffe://byway/gateway/gw-1",
        "spiffe://byway/gateway/gw-2",
    ]
    keys = {secrets(there, node)[IDENTITY].tls_certificate.private_key.inline_bytes for node in (NODE, GATEWAY)}  # type: ignore[union-attr]
    assert len(keys) == 2


def test_all_check_each_other_by_the_managers_authority(there: Running) -> None:
    for node in (NODE, GATEWAY):
        context = secrets(there, node)[CA].validation_context
        assert context is not None
        assert context.trusted_ca is not None
        assert context.trusted_ca.inline_bytes == there.standalone.identity.authority.pem


def test_a_workload_that_changes_keeps_its_certificates(there: Running) -> None:
    before = certificate(there, NODE)
    there.manager.delivery.publish(next(iter(there.manager.state.workloads)), "a test")
    assert certificate(there, NODE) == before


def test_a_certificate_is_renewed_at_half_of_its_life(there: Running) -> None:
    before = {node: certificate(there, node) for node in (NODE, GATEWAY)}
    there.manager.clock.step((LEAF_LIFE / 2 - timedelta(minutes=1)).total_seconds())
    there.standalone._timers.tick()
    assert {node: certificate(there, node) for node in before} == before
    there.manager.clock.step(61)
    there.standalone._timers.tick()
    for node, old in before.items():
        assert certificate(there, node).not_valid_after_utc >= old.not_valid_before_utc + LEAF_LIFE * 1.5
        assert certificate(there, node).public_key() != old.public_key()


def test_a_key_that_is_done_with_is_forgotten(there: Running) -> None:
    store = there.manager.store
    before = store.snapshot(View("", NODE), SECRET).resources[IDENTITY]
    there.manager.clock.step(LEAF_LIFE.total_seconds())
    there.standalone._timers.tick()
    assert store.snapshot(View("", NODE), SECRET).resources[IDENTITY] != before
    assert store.past(SECRET, IDENTITY, before.version) is None


def test_who_is_taken_out_of_the_file_loses_its_certificate(there: Running) -> None:
    there.change(replace=("workloads:\n", GATEWAYS.replace("gw-2", "gw-3")))
    before = certificate(there, GATEWAY)
    there.standalone.reload()
    assert secrets(there, "gateway/gw-2") == {}
    assert uri(there, "gateway/gw-3") == "spiffe://byway/gateway/gw-3"
    assert certificate(there, GATEWAY) == before
    there.change()
    there.standalone.reload()
    assert secrets(there, NODE) == secrets(there, GATEWAY) == {}


def test_a_workload_that_comes_back_has_certificates_again(there: Running) -> None:
    there.change(replace=("workloads:\n", GATEWAYS.replace("workloads:\n", "workloads: []\nenv:\n")))
    text = there.file.read_text().partition("env:\n")[0]
    there.file.write_text(text)
    there.standalone.reload()
    assert secrets(there, NODE) == {}
    there.change(replace=("workloads:\n", GATEWAYS))
    there.standalone.reload()
    assert uri(there, NODE) == "spiffe://byway/dev/deployment/orders"


def test_a_restart_makes_new_keys_of_the_same_authority(there: Running) -> None:
    first = there.standalone.identity
    pem = first.authority.pem
    again = type(first)(there.state.identity, there.manager.store, there.manager.clock)
    assert again.authority.pem == pem
    assert again.keys.jwks() == first.keys.jwks()


def test_what_is_shown_of_a_secret_has_no_key(there: Running) -> None:
    found = there.manager.store.snapshot(View("", NODE), SECRET).resources
    for one in found.values():
        assert b"PRIVATE KEY" not in shown(one)
        assert "PRIVATE" not in repr(one)
    seen = Secret.parse(shown(found[IDENTITY])).tls_certificate
    assert seen is not None
    assert seen.certificate_chain is not None
    assert b"BEGIN CERTIFICATE" in (seen.certificate_chain.inline_bytes or b"")
    assert seen.private_key is not None
    assert seen.private_key.inline_bytes == b"[redacted]"
    assert Secret.parse(shown(found[CA])).validation_context == Secret.parse(found[CA].body).validation_context


def test_what_is_no_secret_is_shown_as_it_is() -> None:
    other = Resource.of(CLUSTER, "a", b"\x0a\x01a")
    assert shown(other) == other.body


def test_no_workload_has_the_node_id_of_a_gateway() -> None:
    assert names.gateway_node("gw-1") == GATEWAY
    assert NODE.count("/") > GATEWAY.count("/")


async def test_the_debug_api_shows_no_key(there: Running) -> None:
    sidecar = await there.silent_sidecar()
    await sidecar.request(SECRET, [IDENTITY, CA])
    proof = bearer(there.admin_token)
    reply = await Debug.GET_RESOURCES(there.channel, v1.GetResourcesRequest(node=NODE, type="secrets"), metadata=proof)
    assert [one.name for one in reply.resources] == [CA, IDENTITY]
    compared = await Debug.COMPARE(there.channel, v1.CompareRequest(node=NODE, bodies=True), metadata=proof)
    (secrets,) = (kind for kind in compared.types if kind.type == "secrets")
    assert [one.name for one in secrets.resources] == [CA, IDENTITY]
    assert b"PRIVATE KEY" not in bytes(reply) + bytes(compared)
    sidecar.close()


async def test_a_gateways_token_lets_it_see_what_gateways_have_and_nothing_else(there: Running) -> None:
    gateway = there.gateway("gw-1")
    await gateway.request(SECRET, [IDENTITY, CA])
    assert {one.name for one in (await gateway.response()).resources} == {IDENTITY, CA}
    server = there.manager.sidecars.server
    assert server is not None
    assert [client.stream.view for client in server.clients()] == [View("gateways", GATEWAY)]
    gateway.close()


@pytest.mark.parametrize("node", ["gateway/gw-2", NODE, "gw-1"])
async def test_a_gateways_token_is_no_others(there: Running, node: str) -> None:
    gateway = there.gateway("gw-1", node=node)
    await gateway.request(SECRET, [IDENTITY])
    status, text = await gateway.expect_end()
    assert status is grpc.StatusCode.PERMISSION_DENIED
    assert text == f"the token is that of {GATEWAY}, not of {node}"


async def test_a_sidecars_token_is_no_gateways(there: Running) -> None:
    sidecar = DeltaClient(there.channel, ADS, GATEWAY, tuple(bearer(there.sidecar_token())))
    await sidecar.request(SECRET, [IDENTITY])
    assert (await sidecar.expect_end())[0] is grpc.StatusCode.PERMISSION_DENIED


async def test_the_token_of_a_gateway_that_was_taken_out_is_refused(there: Running) -> None:
    there.change()
    there.standalone.reload()
    gateway = there.gateway("gw-1")
    await gateway.request(SECRET, [IDENTITY])
    assert (await gateway.expect_end())[0] is grpc.StatusCode.UNAUTHENTICATED
