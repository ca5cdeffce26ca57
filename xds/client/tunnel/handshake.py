"""How a reverse tunnel begins, without I/O: what Envoy's initiator says, and the bytes before HTTP/2.

    laptop   GET /reverse_connections/request, with who it is in headers       ──▶ gateway
    gateway  200                                                               ──▶ laptop
    gateway  RPING, now and then, while no request uses the tunnel; echoed by the laptop
    gateway  PRI * HTTP/2.0 …: from here on it is an HTTP/2 connection, whose server is the laptop

`R` and `P` tell the two apart; a ping may come in pieces, or several at once with what follows them.
"""

from __future__ import annotations

import time

import h11

PATH = "/reverse_connections/request"
PING = b"RPING"
TENANT = "default"
CLUSTER = "gateway"
"""What the initiator calls the gateways; the responder only shows it."""


class HandshakeError(Exception):
    """The gateway did not take the tunnel. `status`: of its answer; 0 where it gave none that is HTTP."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Handshake:
    """Feed it what the gateway sends: `received` returns None until the tunnel is accepted, then what follows."""

    def __init__(self, node: str, token: str) -> None:
        self._http = h11.Connection(h11.CLIENT)
        self._head: h11.Response | None = None
        headers = [
            ("host", "tunnel.byway"),
            ("x-envoy-reverse-tunnel-node-id", node),
            ("x-envoy-reverse-tunnel-cluster-id", f"u.{node}"),
            ("x-envoy-reverse-tunnel-tenant-id", TENANT),
            ("x-envoy-reverse-tunnel-upstream-cluster-name", CLUSTER),
            ("x-envoy-reverse-tunnel-initiation-time", str(int(time.time() * 1000))),
            ("x-envoy-reverse-tunnel-worker-id", "worker_0"),
            ("x-envoy-reverse-tunnel-connection-id", "0"),
            ("authorization", f"Bearer {token}"),
            ("content-length", "0"),
        ]
        request = self._http.send(h11.Request(method="GET", target=PATH, headers=headers))
        self.request: bytes = (request or b"") + (self._http.send(h11.EndOfMessage()) or b"")
        """What to send first. It holds the token."""

    def received(self, data: bytes) -> bytes | None:
        """Take bytes; empty is the end. Raises HandshakeError."""
        try:
            self._http.receive_data(data)
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    return None
                if isinstance(event, h11.Response):
                    self._head = event
                elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                    break
        except h11.RemoteProtocolError as error:
            raise HandshakeError(0, f"the gateway's answer to the handshake is no HTTP: {error}") from error
        if self._head is None:
            raise HandshakeError(0, "the gateway closed the tunnel before it was accepted")
        if self._head.status_code != 200:
            status = self._head.status_code
            raise HandshakeError(status, f"the gateway refused the tunnel with status {status}")
        return bytes(self._http.trailing_data[0])


class Pings:
    """The pings before HTTP/2."""

    def __init__(self) -> None:
        self._begun = b""
        self.over = False
        """Whether HTTP/2 has begun."""

    def received(self, data: bytes) -> tuple[bytes, bytes]:
        """Take bytes; returns what to send back, and what belongs to HTTP/2."""
        data = self._begun + data
        count = 0
        while not self.over and data.startswith(PING):
            count += 1
            data = data[len(PING) :]
        if not self.over and PING.startswith(data):
            self._begun, data = data, b""
        else:
            self._begun, self.over = b"", True
        return PING * count, data
