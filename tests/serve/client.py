"""An xDS client for tests: says what it is told to say, and keeps what a real client would keep.

It reads and writes with the library's own messages, so that it shares no code with the server under test.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.service.discovery.v3 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from envoy_data_plane.google.rpc import Status

SILENCE = 0.05
PATIENCE = 5.0

ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/{}AggregatedResources"
CDS = "/envoy.service.cluster.v3.ClusterDiscoveryService/{}Clusters"
EDS = "/envoy.service.endpoint.v3.EndpointDiscoveryService/{}Endpoints"
LDS = "/envoy.service.listener.v3.ListenerDiscoveryService/{}Listeners"
RDS = "/envoy.service.route.v3.RouteDiscoveryService/{}Routes"
SDS = "/envoy.service.secret.v3.SecretDiscoveryService/{}Secrets"


class _Client:
    """What both variants have in common: one call, the node on the first request, responses one by one."""

    prefix: str

    def __init__(self, channel: grpc.aio.Channel, method: str, node_id: str | None, metadata: Any) -> None:
        self.call: Any = channel.stream_stream(method.format(self.prefix))(metadata=metadata)
        self._node: Node | None = Node(id=node_id, cluster="tests") if node_id is not None else None
        self._reading: asyncio.Task[Any] | None = None

    async def _write(self, message: Any) -> None:
        if self._node is not None:
            message.node, self._node = self._node, None
        await self.call.write(bytes(message))

    async def _read(self, patience: float) -> bytes:
        # A read that was given up on would swallow the next response; so it is kept.
        reading = self._reading or asyncio.ensure_future(self.call.read())
        self._reading = reading
        data = await asyncio.wait_for(asyncio.shield(reading), patience)
        self._reading = None
        assert data is not grpc.aio.EOF, f"the stream ended: {await self.call.code()} {await self.call.details()}"
        return bytes(data)

    async def expect_no_response(self, within: float = SILENCE) -> None:
        try:
            data = await self._read(within)
        except TimeoutError:
            return
        raise AssertionError(f"unexpected response: {data!r}")

    async def expect_end(self) -> tuple[grpc.StatusCode, str]:
        """The status with which the server ends the stream. It comes behind the responses, so these are read."""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(grpc.aio.AioRpcError):
                while await (self._reading or self.call.read()) is not grpc.aio.EOF:
                    self._reading = None
            return await self.call.code(), await self.call.details()

    def close(self) -> None:
        self.call.cancel()
        if self._reading is not None:
            self._reading.cancel()


class DeltaClient(_Client):
    """Delta requests and responses; `kept` is what it holds per type: name → version."""

    prefix = "Delta"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.kept: dict[str, dict[str, str]] = {}

    async def request(
        self,
        type_url: str,
        subscribe: Sequence[str] = (),
        unsubscribe: Sequence[str] = (),
        *,
        initial: dict[str, str] | None = None,
        nonce: str = "",
        error: str | None = None,
    ) -> None:
        await self._write(
            DeltaDiscoveryRequest(
                type_url=type_url,
                resource_names_subscribe=list(subscribe),
                resource_names_unsubscribe=list(unsubscribe),
                initial_resource_versions=initial or {},
                response_nonce=nonce,
                error_detail=Status(code=3, message=error) if error is not None else None,
            )
        )

    async def response(self) -> DeltaDiscoveryResponse:
        response = DeltaDiscoveryResponse.parse(await self._read(PATIENCE))
        names = [each.name for each in response.resources]
        assert len(set(names)) == len(names), f"a name comes twice: {names}"
        return response

    async def ack(self, response: DeltaDiscoveryResponse) -> None:
        kept = self.kept.setdefault(response.type_url, {})
        kept |= {each.name: each.version for each in response.resources}
        for name in response.removed_resources:
            kept.pop(name, None)
        await self.request(response.type_url, nonce=response.nonce)

    async def nack(self, response: DeltaDiscoveryResponse, text: str = "refused") -> None:
        await self.request(response.type_url, nonce=response.nonce, error=text)

    async def response_ack(self) -> DeltaDiscoveryResponse:
        response = await self.response()
        await self.ack(response)
        return response

    async def request_ack(self, type_url: str, *args: Any, **kwargs: Any) -> DeltaDiscoveryResponse:
        await self.request(type_url, *args, **kwargs)
        return await self.response_ack()

    async def request_nack(self, type_url: str, *args: Any, **kwargs: Any) -> DeltaDiscoveryResponse:
        await self.request(type_url, *args, **kwargs)
        response = await self.response()
        await self.nack(response)
        return response


class SotwClient(_Client):
    """State-of-the-world requests and responses; names and versions are repeated as Envoy does it."""

    prefix = "Stream"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._names: dict[str, list[str]] = {}
        self._last: dict[str, tuple[str, str]] = {}

    async def request(
        self, type_url: str, names: Sequence[str] | None = None, *, nonce: str | None = None, error: str | None = None
    ) -> None:
        if names is not None:
            self._names[type_url] = list(names)
        version, last = self._last.get(type_url, ("", ""))
        await self._write(
            DiscoveryRequest(
                type_url=type_url,
                version_info=version,
                resource_names=self._names.get(type_url, []),
                response_nonce=last if nonce is None else nonce,
                error_detail=Status(code=3, message=error) if error is not None else None,
            )
        )

    async def response(self) -> DiscoveryResponse:
        return DiscoveryResponse.parse(await self._read(PATIENCE))

    async def ack(self, response: DiscoveryResponse, names: Sequence[str] | None = None) -> None:
        self._last[response.type_url] = (response.version_info, response.nonce)
        await self.request(response.type_url, names)

    async def nack(self, response: DiscoveryResponse, text: str = "refused") -> None:
        version, _ = self._last.get(response.type_url, ("", ""))
        self._last[response.type_url] = (version, response.nonce)
        await self.request(response.type_url, error=text)

    async def response_ack(self) -> DiscoveryResponse:
        response = await self.response()
        await self.ack(response)
        return response

    async def request_ack(self, type_url: str, names: Sequence[str] = ()) -> DiscoveryResponse:
        await self.request(type_url, names)
        return await self.response_ack()

    async def request_nack(self, type_url: str, names: Sequence[str] = ()) -> DiscoveryResponse:
        await self.request(type_url, names)
        response = await self.response()
        await self.nack(response)
        return response


@asynccontextmanager
async def delta(
    address: str, method: str = ADS, *, node_id: str | None = "node-1", metadata: Any = ()
) -> AsyncIterator[DeltaClient]:
    async with grpc.aio.insecure_channel(address) as channel:
        client = DeltaClient(channel, method, node_id, metadata)
        try:
            yield client
        finally:
            client.close()


@asynccontextmanager
async def sotw(
    address: str, method: str = ADS, *, node_id: str | None = "node-1", metadata: Any = ()
) -> AsyncIterator[SotwClient]:
    async with grpc.aio.insecure_channel(address) as channel:
        client = SotwClient(channel, method, node_id, metadata)
        try:
            yield client
        finally:
            client.close()
