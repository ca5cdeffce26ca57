"""HTTP/2 without TLS, by prior knowledge: a client and a server that hide nothing (h2 is sans-I/O)."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from h2.exceptions import StreamClosedError
from h2.settings import SettingCodes, Settings

Fields = list[tuple[str, str]]
PIECE = 16 << 10
MANY = 1 << 20


@dataclass(slots=True)
class Message:
    """A request or a response, as far as it has come."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    trailers: dict[str, str] = field(default_factory=dict)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    reset: bool = False


class Http2:
    """One connection, from either side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, client: bool) -> None:
        self._reader = reader
        self._writer = writer
        self._state = H2Connection(H2Configuration(client_side=client, header_encoding="utf-8"))
        # h2's default would refuse what a proxy sends before it has heard of it.
        self._state.local_settings = Settings(client=client, initial_values={SettingCodes.MAX_CONCURRENT_STREAMS: MANY})
        self._window = asyncio.Condition()
        self.reading: asyncio.Task[None] | None = None
        self.messages: defaultdict[int, Message] = defaultdict(Message)
        self._state.initiate_connection()
        self._flush()

    @classmethod
    async def to(cls, port: int) -> Http2:
        """A client's connection; its reader ends with it."""
        found = cls(*await asyncio.open_connection("127.0.0.1", port), client=True)
        found.reading = asyncio.create_task(found.run())
        return found

    def close(self) -> None:
        self._writer.close()

    async def run(self) -> None:
        """Read until the end."""
        with suppress(OSError):
            while data := await self._reader.read(1 << 16):
                for event in self._state.receive_data(data):
                    self._on(event)
                self._flush()
                async with self._window:
                    self._window.notify_all()
        for message in self.messages.values():
            message.reset = message.reset or not message.ended.is_set()
            message.begun.set()
            message.ended.set()

    def _on(self, event: Event) -> None:
        if isinstance(event, RequestReceived | ResponseReceived):
            self.messages[event.stream_id].headers = _plain(event.headers)
            self.messages[event.stream_id].begun.set()
            if isinstance(event, RequestReceived):
                self.on_request(event.stream_id)
        elif isinstance(event, DataReceived):
            self.messages[event.stream_id].body += event.data
            self._state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, TrailersReceived):
            self.messages[event.stream_id].trailers = _plain(event.headers)
        elif isinstance(event, StreamEnded | StreamReset):
            message = self.messages[event.stream_id]
            message.reset = isinstance(event, StreamReset)
            message.begun.set()
            message.ended.set()

    def on_request(self, stream: int) -> None:
        """A request has begun."""

    def _flush(self) -> None:
        self._writer.write(self._state.data_to_send())

    async def send(self, stream: int, headers: Fields, body: bytes = b"", trailers: Fields | None = None) -> None:
        """Send a whole message on a stream."""
        self._state.send_headers(stream, headers, end_stream=not body and not trailers)
        for at in range(0, len(body), PIECE):
            piece = body[at : at + PIECE]
            await self._room(stream, len(piece))
            self._state.send_data(stream, piece, end_stream=not trailers and at + PIECE >= len(body))
            self._flush()
            await self._writer.drain()
        if trailers:
            self._state.send_headers(stream, trailers, end_stream=True)
        self._flush()

    async def _room(self, stream: int, size: int) -> None:
        """Wait until the other side takes so much."""
        async with self._window:
            await self._window.wait_for(lambda: self._state.local_flow_control_window(stream) >= size)

    def open(self, path: str, headers: dict[str, str]) -> int:
        """Begin a request whose body does not end."""
        stream, _ = self.begin()
        self._state.send_headers(stream, request(path, headers, "POST"))
        self._flush()
        return stream

    async def ask(
        self,
        path: str,
        headers: dict[str, str],
        *,
        method: str = "GET",
        body: bytes = b"",
        trailers: Fields | None = None,
    ) -> Message:
        """Ask on a new stream and wait for the end of the answer."""
        stream, message = self.begin()
        await self.send(stream, request(path, headers, method), body, trailers)
        await message.ended.wait()
        return message

    def begin(self) -> tuple[int, Message]:
        """A new stream of a client."""
        stream = self._state.get_next_available_stream_id()
        return stream, self.messages[stream]

    def cancel(self, stream: int) -> None:
        """Reset a stream."""
        self._state.reset_stream(stream, 8)
        self._flush()


def request(path: str, headers: dict[str, str], method: str = "GET") -> Fields:
    """The header fields of a request."""
    pseudo = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "shop")]
    return [*pseudo, *headers.items()]


def _plain(headers: Sequence[tuple[str | bytes, str | bytes]]) -> dict[str, str]:
    return {str(name): str(value) for name, value in headers}


class Named(Http2):
    """A server's connection: each answer says who gives it, and the digest of the body; trailers are sent back."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: Http2Server) -> None:
        super().__init__(reader, writer, client=False)
        self._server = server
        self.tasks: set[asyncio.Task[None]] = set()

    def on_request(self, stream: int) -> None:
        task = asyncio.create_task(self._answer(stream))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _answer(self, stream: int) -> None:
        message = self.messages[stream]
        if message.headers[":path"] == "/hang":
            self._server.hanging.put_nowait(message)
            return
        await message.ended.wait()
        body = hashlib.sha256(message.body).hexdigest().encode()
        headers = [(":status", "200"), ("x-who", self._server.name), ("content-length", str(len(body)))]
        with suppress(StreamClosedError):
            if message.headers[":method"] == "HEAD":
                await self.send(stream, headers)
            else:
                await self.send(stream, headers, body, [*message.trailers.items(), ("x-last", "1")])


class Http2Server:
    """A server on a free port. Requests of `/hang` are never answered, and are put into `hanging` when they begin."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.hanging: asyncio.Queue[Message] = asyncio.Queue()
        self.port = 0
        self._connections: list[Named] = []

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        one = Named(reader, writer, self)
        self._connections.append(one)
        await one.run()
        one.close()

    def close(self) -> None:
        self._server.close()
        for one in self._connections:
            one.close()
