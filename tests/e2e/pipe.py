"""Both ends of a sidecar, byte for byte: a client that sends what it is told, and servers that keep what reached them.

client ──▶ sidecar ──▶ app          the ordinary way
client ──▶ sidecar ──▶ laptop       the way of a request that an intercept takes
client ──▶ sidecar ──▶ app          the way of such a request while its laptop is away
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from demo.world import Instance, Workload, World, free_port

PATIENCE = 10.0
"""Seconds until an end that waits for bytes gives up."""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\nok"


class Stream:
    """One end of a connection; keeps every byte that was read."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        self.socket = connection
        self.read = b""
        self._ahead = b""

    @classmethod
    def to(cls, port: int) -> Stream:
        """A connection to a port of this machine."""
        return cls(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def until(self, end: bytes) -> bytes:
        """Read up to and with `end`, or up to the end of the connection."""
        while end not in self._ahead and self._more():
            pass
        at = self._ahead.find(end)
        return self._take(len(self._ahead) if at < 0 else at + len(end))

    def exactly(self, size: int) -> bytes:
        while len(self._ahead) < size and self._more():
            pass
        return self._take(min(size, len(self._ahead)))

    def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        while self._more():
            pass
        return self._take(len(self._ahead))

    def _more(self) -> bool:
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        self._ahead += data
        return bool(data)

    def _take(self, size: int) -> bytes:
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        self.read += data
        return data

    def message(self, *, bodiless: bool = False) -> bytes:
        """One request or response, raw; a response without a length ends with its connection. Empty at the end."""
        head = self.until(b"\r\n\r\n")
        fields = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
        }
        status = head[9:12] if head.startswith(b"HTTP/") else b""
        if not head or bodiless or status in {b"204", b"304"} or status.startswith(b"1"):
            return head
        if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            return head + self._chunked()
        if b"content-length" in fields:
            return head + self.exactly(int(fields[b"content-length"]))
        return head + (self.rest() if status else b"")

    def _chunked(self) -> bytes:
        body = b""
        while (line := self.until(b"\r\n")) and int(line.split(b";")[0], 16):
            body += line + self.exactly(int(line.split(b";")[0], 16) + 2)
        body += line
        while line and (line := self.until(b"\r\n")) != b"\r\n":
            body += line
        return body + line


Serve = Callable[[Stream], None]


class Server:
    """A server on a free port that handles each request with `serve`, which a test sets; connections live on."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._socket = socket.create_server((host, 0))
        self.port: int = self._socket.getsockname()[1]
        self.serve: Serve = lambda stream: None
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._handle, args=(Stream(connection),), daemon=True).start()

    def _handle(self, stream: Stream) -> None:
        # The probe of the laptop's daemon connects and says nothing; it is no request.
        with stream.socket, suppress(OSError):
            stream.socket.settimeout(None)
            while stream.socket.recv(1, socket.MSG_PEEK):
                stream.socket.settimeout(PATIENCE)
                self.serve(stream)
                stream.socket.settimeout(None)

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@dataclass(frozen=True, slots=True)
class Seen:
    """One exchange: what reached the server, and what came back to the client."""

    request: bytes
    response: bytes


@dataclass(slots=True)
class Way:
    """A way through the sidecar. What is sent has `mark` in it, by which the sidecar knows the way."""

    name: str
    port: int
    server: Server
    mark: bytes = b""
    added: tuple[bytes, ...] = ()
    """The headers that answers get on this way."""

    def connect(self) -> Stream:
        return Stream.to(self.port)

    def serve_each(self, respond: Callable[[bytes], bytes]) -> None:
        """Answer each request so."""
        self.server.serve = lambda stream: stream.send(respond(stream.message()))

    def marked(self, request: bytes) -> bytes:
        """The request with the mark after its last header."""
        head, end, body = request.partition(b"\r\n\r\n")
        return head + (b"\r\n" + self.mark if self.mark else b"") + end + body

    def exchange(self, request: bytes, response: bytes = OK) -> Seen:
        """Send a request as it is, answer it so; see `marked`."""
        reached: list[bytes] = []

        def serve(stream: Stream) -> None:
            reached.append(stream.message())
            stream.send(response)

        self.server.serve = serve
        stream = self.connect()
        stream.send(request)
        answer = stream.message(bodiless=request.startswith(b"HEAD "))
        stream.socket.close()
        return Seen(reached[0] if reached else b"", answer)


def added(intercept: bytes, *, away: bool = False) -> tuple[bytes, ...]:
    """What answers to intercepted requests get."""
    if away:
        return (b"x-byway-intercept: " + intercept + b"; served-by=cluster",)
    return b"x-byway-intercept: " + intercept + b"; served-by=laptop", b"cache-control: no-store"


@contextmanager
def ways(root: Path) -> Iterator[dict[str, Way]]:
    """A world with one workload, and every way through its sidecar."""
    app, laptop = Server(), Server()
    instance = Instance("shop-1", app=app.port)
    world = World(root, [Workload("shop", [instance])], users=("alice",))
    try:
        world.write_file()
        world.start_manager()
        world.start_sidecar(world.workload("shop"), instance)
        world.wait_for_sidecar(instance)
        alice = world.laptop("alice")
        alice.connect()
        flags = ("--port", str(laptop.port), "--http-header", "x-user=alice")
        created = alice.json("intercept", "shop", *flags)["intercept"]["id"].encode()
        other = ("--port", str(free_port()), "--name", "gone", "--http-header", "x-user=gone")
        gone = alice.json("intercept", "shop", *other)["intercept"]["id"].encode()
        yield {
            "ordinary": Way("ordinary", instance.sidecar, app),
            "intercepted": Way("intercepted", instance.sidecar, laptop, b"X-User: alice", added(created)),
            "away": Way("away", instance.sidecar, app, b"X-User: gone", added(gone, away=True)),
        }
    finally:
        world.stop()
        app.close()
        laptop.close()
