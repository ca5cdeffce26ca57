"""CSDS as the manager serves it: to the administrator, and without keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy_data_plane.envoy.admin.v3 import ClientResourceStatus
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret
from envoy_data_plane.envoy.service.status.v3 import ClientStatusRequest, ClientStatusResponse

from tests.manager.identity.test_certificates import GATEWAYS
from tests.manager.running import NODE, Running, running, until
from tests.serve.client import ADS, DeltaClient
from xds.api.rpc import Metadata, bearer
from xds.manager.identity.certificates import IDENTITY
from xds.serve.resource import SECRET
from xds.serve.status import SyncState

FETCH = "/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus"


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as manager:
        manager.change(replace=("workloads:\n", GATEWAYS))
        manager.standalone.reload()
        yield manager


async def fetch(there: Running, proof: Metadata) -> bytes:
    call: Any = there.channel.unary_unary(FETCH)
    return bytes(await call(bytes(ClientStatusRequest()), metadata=tuple(proof)))


def synced(there: Running) -> bool:
    server = there.manager.sidecars.server
    found = server.clients() if server else []
    return [one.state for client in found for one in client.types.values()] == [SyncState.SYNCED]


async def test_a_secret_is_shown_without_its_key(there: Running) -> None:
    token = (there.state.sidecar("dev/deployment/orders", "orders-1") / "token").read_text().strip()
    client = DeltaClient(there.channel, ADS, NODE, tuple(bearer(token)))
    await client.request_ack(SECRET, [IDENTITY])
    await until(lambda: synced(there))
    data = await fetch(there, bearer(there.admin_token))
    assert b"PRIVATE KEY" not in data
    (config,) = ClientStatusResponse.parse(data).config
    (secret,) = config.generic_xds_configs
    assert (secret.name, secret.client_status) == (IDENTITY, ClientResourceStatus.ACKED)
    assert secret.xds_config is not None
    pair = Secret.parse(secret.xds_config.value).tls_certificate
    assert pair is not None
    assert pair.private_key is not None
    assert pair.private_key.inline_bytes == b"[redacted]"
    assert pair.certificate_chain is not None
    client.close()


@pytest.mark.parametrize("who", ["nobody", "a stranger", "a user", "a sidecar"])
async def test_nobody_but_the_administrator_is_told(there: Running, who: str) -> None:
    proof = {
        "nobody": (),
        "a stranger": bearer("guess"),
        "a user": bearer(there.user_token("ann")),
        "a sidecar": bearer((there.state.sidecar("dev/deployment/orders", "orders-1") / "token").read_text().strip()),
    }[who]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await fetch(there, proof)
    expected = grpc.StatusCode.UNAUTHENTICATED if who == "nobody" else grpc.StatusCode.PERMISSION_DENIED
    assert refused.value.code() is expected
