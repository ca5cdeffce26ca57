"""A real Envoy that asks a server for its configuration, and a backend that it can send requests to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _bootstrap(xds_port: int, api_type: str, node_id: str, metadata: dict[str, Any]) -> dict[str, Any]:
    source = {"ads": {}, "resource_api_version": "V3"}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": xds_port}}
    back_off = {"base_interval": "0.05s", "max_interval": "0.2s"}
    http2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "node": {"id": node_id, "cluster": "tests", "metadata": metadata},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": api_type,
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [
                    {"envoy_grpc": {"cluster_name": "xds", "retry_policy": {"retry_back_off": back_off}}}
                ],
            },
            "cds_config": source,
            "lds_config": source,
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "xds",
                    "typed_extension_protocol_options": {
                        http2: {
                            "@type": f"type.googleapis.com/{http2}",
                            "explicit_http_config": {"http2_protocol_options": {}},
                        }
                    },
                    "load_assignment": {
                        "cluster_name": "xds",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
                    },
                }
            ]
        },
    }


class Envoy:
    def __init__(self, process: Process, log: Path, session: aiohttp.ClientSession, admin: str) -> None:
        self._process, self._log, self.session, self._admin = process, log, session, admin

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    async def admin(self, path: str) -> str:
        async with self.session.get(f"http://{self._admin}{path}") as answer:
            return await answer.text()

    async def stats(self, pattern: str) -> dict[str, int]:
        text = await self.admin(f"/stats?format=json&filter={pattern}")
        return {each["name"]: each["value"] for each in json.loads(text)["stats"] if "name" in each}


@contextlib.asynccontextmanager
async def envoy(
    folder: Path, xds_port: int, api_type: str, *, node_id: str = "node-1", metadata: dict[str, Any] | None = None
) -> AsyncIterator[Envoy]:
    """Run Envoy until the block ends. It is up when its admin port answers; nothing is said of its configuration."""
    config, address, log = folder / "bootstrap.json", folder / "admin", folder / "envoy.log"
    config.write_text(json.dumps(_bootstrap(xds_port, api_type, node_id, metadata or {})))
    command = [str(Path(sys.executable).parent / "envoy"), "-c", str(config), "--admin-address-path", str(address)]
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, "--use-dynamic-base-id", "--concurrency", "1", "-l", "info", stdout=output, stderr=output
        )
    try:
        async with asyncio.timeout(20), contextlib.AsyncExitStack():
            while not address.exists() or not address.read_text():
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.01)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            yield Envoy(process, log, session, address.read_text())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def backend(name: str) -> AsyncIterator[int]:
    """An HTTP server that answers every request with its name; yields its port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(name), name.encode()))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
