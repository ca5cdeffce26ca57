"""An xDS server that is not Byway's manager, as a process: `xds.serve` and a state that is told to it.

Each line of stdin is a JSON list: what to do, and with what. `["put", "c"]` and `["drop", "c"]` change one of the
resources below; `["lines"]` only answers. Each is answered with a line; the first line is the port.

    --token TOKEN   let in who shows it
    --cert FILE --key FILE   speak TLS
    --silent        take every stream, and never say a word
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Any

import grpc
import grpc.aio

from tests.serve.configs import eds_cluster, endpoints, listener, routes
from xds.serve import (
    ENDPOINT,
    RUNTIME,
    SECRET,
    SERVER_OPTIONS,
    Metadata,
    Node,
    Refused,
    Resource,
    Store,
    View,
    XdsServer,
)
from xds.serve.protobuf import encode_field
from xds.serve.services import PREFIXES, SERVICES

GROUP = "group"
PASSWORD = "hunter2-and-more"
"""What a secret holds."""


def named(type_url: str, name: str, *more: bytes) -> Resource:
    return Resource.of(type_url, name, encode_field(1, name) + b"".join(more))


def secret() -> Resource:
    """A Secret whose generic_secret has the password inline: Secret.generic_secret.secret.inline_string."""
    return named(SECRET, "password", encode_field(5, encode_field(1, encode_field(3, PASSWORD))))


RESOURCES = {
    "c": eds_cluster("c", "c-endpoints"),
    "d": eds_cluster("d"),
    "c-endpoints": endpoints("c-endpoints", 9001),
    "d-endpoints": named(ENDPOINT, "d"),
    "l": listener("l", 9002, "r"),
    "r": routes("r", "c"),
    "password": secret(),
    "flags": named(RUNTIME, "flags"),
    "steering": eds_cluster("\x1b[2Jsteering"),
}
AT_FIRST = ("c", "c-endpoints", "l", "r", "password", "flags")


def resource(name: str) -> Resource:
    return RESOURCES[name]


class Silent:
    """Services that take every call and never answer."""

    async def method(self, _requests: Any, _context: Any) -> None:
        await asyncio.Event().wait()

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        return [
            grpc.method_handlers_generic_handler(
                service,
                {f"{prefix}{name}": grpc.stream_stream_rpc_method_handler(self.method) for prefix in PREFIXES.values()},
            )
            for service, name, _ in SERVICES
        ]


async def main() -> None:
    parser = argparse.ArgumentParser()
    for flag in ("--token", "--cert", "--key"):
        parser.add_argument(flag, default="")
    parser.add_argument("--silent", action="store_true")
    options = parser.parse_args()

    async def authenticate(node: Node, metadata: Metadata) -> View:
        if options.token and ("authorization", f"Bearer {options.token}") not in metadata:
            raise Refused(grpc.StatusCode.UNAUTHENTICATED, "show me a token that I know")
        return View(GROUP, node.id)

    store = Store()
    store.update(group={GROUP: {(one.type_url, one.name): one for one in map(resource, AT_FIRST)}})
    store.complete()
    xds = XdsServer(store, authenticate=authenticate, identifier="another server", settle=0.2)
    server = grpc.aio.server(options=SERVER_OPTIONS)
    server.add_generic_rpc_handlers(tuple(Silent().handlers() if options.silent else xds.handlers()))
    if options.cert:
        with open(options.key, "rb") as key, open(options.cert, "rb") as cert:  # noqa: ASYNC230, PTH123  at the start
            port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key.read(), cert.read())]))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        verb, *names = json.loads(line)
        for one in map(resource, names):
            store.update(group={GROUP: {(one.type_url, one.name): one if verb == "put" else None}})
        print(len(xds.clients()), flush=True)
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(main())
