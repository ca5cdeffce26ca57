"""An xDS client as a library: both variants of the protocol (delta, state of the world), aggregated and per type.

It holds resources as the bytes that the server sent and knows nothing of what they are for. Say who you are, open a
stream, ask, and acknowledge what comes:

    client = DeltaClient(node(id="dev/deployment/orders/orders-1", cluster="dev/deployment/orders"))
    async with open_stream(channel, client) as stream:
        await stream.subscribe(CLUSTER)
        async for response in stream:
            await stream.answer(response)

`answer` acknowledges what is well formed and refuses the rest (`Response.problem`); `refuse` says why you don't want
it. What was acknowledged is in `client.held(type_url)`, and a client that is given to another stream resumes there:
it asks for everything again and, in delta, says which versions it has.

How it is made, from the inside out: `messages` writes requests and reads responses, `client` keeps what was asked for
and what is held, `follow` asks for what the resources themselves name, as Envoy does, all of them without I/O and
without a clock; `stream` moves the bytes over `grpc.aio`. A program that wants another transport, or a test that wants
to hold back an acknowledgement, drives a `Client` by itself: its methods return the bytes to send.
"""

from xds.serve.client.client import Client, DeltaClient, SotwClient, client_of
from xds.serve.client.follow import Follower, endpoint_names, route_names
from xds.serve.client.messages import Received, Response, encode_struct, node
from xds.serve.client.stream import Stream, StreamEndedError, open_stream

__all__ = [
    "Client",
    "DeltaClient",
    "Follower",
    "Received",
    "Response",
    "SotwClient",
    "Stream",
    "StreamEndedError",
    "client_of",
    "encode_struct",
    "endpoint_names",
    "node",
    "open_stream",
    "route_names",
]
