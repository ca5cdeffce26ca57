"""An xDS server as a library: both variants of the protocol (delta, state of the world), aggregated and per type.

It serves any xDS resources and knows nothing of what they are for. Put resources into a store, as a name and serialised
bytes; give the server's handlers to a `grpc.aio` server of your own; say who may see what:

    store = Store()
    routes = Resource.of(ROUTE, "dev/deployment/orders/8080", bytes(route_configuration))
    store.update(group={"dev/deployment/orders": {(ROUTE, routes.name): routes}})
    store.complete()  # until then clients are told to come back

    async def authenticate(node: Node, metadata: Metadata) -> View:
        if not await proves(metadata, node.id):
            raise Refused(grpc.StatusCode.UNAUTHENTICATED, "the token is not this node's")
        return View(group=node.cluster, node=node.id)

    xds = XdsServer(store, authenticate=authenticate, identifier="manager-0")
    server = grpc.aio.server(options=SERVER_OPTIONS)
    server.add_generic_rpc_handlers(xds.handlers())

From then on `store.update` is all there is to do. A client sees the resources of its group and of its own node. What
changed goes out at once to the streams of that group and to nobody else, in the order in which nothing breaks; further
changes within 20 ms go out together. `update` returns a revision, and `xds.lagging(group, revision)` says who has not
acknowledged it yet and what they refused: when it is empty, the change is in force everywhere. An `Observer` is told of
each response, acknowledgement and refusal. A refused resource is never sent again until its content changes.

`update` takes a reason, in words of the caller's own. `xds.journal` has the last pushes to each node with their reasons
and what became of them, and lets a node be watched live. `ClientStatusService` answers CSDS for other tools.

How it is made, from the inside out: `subscription` (what a client asked for), `watch` with its variants `delta` and
`sotw` (one type of one stream), `stream` (all types of one stream, and their order), all of them without I/O; `session`
and `server` around them move bytes. `journal` (upon `push` and `tap`) remembers what was sent. `wire` (upon
`protobuf`) reads and writes the bytes, `store` holds the state.
"""

from xds.serve.csds import ClientStatusService
from xds.serve.journal import Bounds, Journal
from xds.serve.limits import Limits, Refused
from xds.serve.resource import (
    CLUSTER,
    ENDPOINT,
    EXTENSION,
    LISTENER,
    PUSH_ORDER,
    ROUTE,
    RUNTIME,
    SCOPED_ROUTE,
    SECRET,
    VIRTUAL_HOST,
    Resource,
    content_version,
)
from xds.serve.server import SERVER_OPTIONS, Authenticate, Metadata, XdsServer
from xds.serve.status import (
    Ack,
    ClientStatus,
    Lag,
    LastSent,
    Nack,
    Observer,
    StreamInfo,
    SyncState,
    TypeStatus,
    Variant,
)
from xds.serve.store import Changes, Key, Store, View
from xds.serve.wire import Node

__all__ = [
    "CLUSTER",
    "ENDPOINT",
    "EXTENSION",
    "LISTENER",
    "PUSH_ORDER",
    "ROUTE",
    "RUNTIME",
    "SCOPED_ROUTE",
    "SECRET",
    "SERVER_OPTIONS",
    "VIRTUAL_HOST",
    "Ack",
    "Authenticate",
    "Bounds",
    "Changes",
    "ClientStatus",
    "ClientStatusService",
    "Journal",
    "Key",
    "Lag",
    "LastSent",
    "Limits",
    "Metadata",
    "Nack",
    "Node",
    "Observer",
    "Refused",
    "Resource",
    "Store",
    "StreamInfo",
    "SyncState",
    "TypeStatus",
    "Variant",
    "View",
    "XdsServer",
    "content_version",
]
