"""A connection to a gateway's tunnel port: TLS, and in it HTTP/2 with a CONNECT stream for each thing that is carried.

    authority `tunnel.byway:443`           the laptop's own tunnel
    authority `SERVICE.NAMESPACE[.svc…]:PORT`  a TCP connection to a service in the cluster

Every stream proves by the session's token whose laptop it is. The certificate has to be for the name that the manager
gave for this gateway, and signed by the authority that it gave: no other is trusted, whatever the machine trusts.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from xds.client.tunnel.bytestream import READ, TcpStream
from xds.client.tunnel.contract import Gateway
from xds.client.tunnel.framing import Headers
from xds.client.tunnel.multiplex import Multiplex, Stream
from xds.terminal.words import host_port, plain

DIAL_TIMEOUT = 5.0
"""Seconds for TCP and TLS."""
WINDOW = 16 << 20
"""Bytes of a stream that may be on their way or unread. Large, because a gateway's Envoy drops what it has not sent yet
when a service ends a connection first (https://github.com/envoyproxy/envoy/issues/28329); it resets the stream then, so
that nobody takes it for complete."""
ANSWER_TIMEOUT = 10.0
"""Seconds that a gateway may take to answer a CONNECT."""
TEXT_LIMIT = 500
"""Characters of a refusal that are worth showing."""


class CarrierError(Exception):
    """The gateway can't be reached, or was lost before it answered. Nothing was carried; another gateway may do."""


class RefusedError(Exception):
    """The gateway answered, with something else than 2xx. `text` is what it said, one line."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"the gateway answered {status}{': ' + text if text else ''}")
        self.status = status
        self.text = text


def tls_context(ca: bytes) -> ssl.SSLContext:
    """Trusts this authority (PEM) and no other. Raises CarrierError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    try:
        context.load_verify_locations(cadata=ca.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise CarrierError(f"the manager's certificate authority can't be read: {error}") from error
    return context


class Carrier:
    """An open connection to a gateway."""

    def __init__(self, gateway: Gateway, writer: asyncio.StreamWriter, multiplex: Multiplex) -> None:
        self.gateway = gateway
        self.multiplex = multiplex
        self._writer = writer
        self._retiring: asyncio.Task[None] | None = None

    @classmethod
    async def dial(cls, gateway: Gateway, ca: bytes, *, timeout: float = DIAL_TIMEOUT) -> Carrier:
        """Connect. `timeout` in seconds. Raises CarrierError."""
        where = host_port(gateway.host, gateway.port)
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await asyncio.open_connection(
                    gateway.host,
                    gateway.port,
                    ssl=tls_context(ca),
                    server_hostname=gateway.server_name,
                    limit=READ,
                )
        except TimeoutError as error:
            raise CarrierError(f"{where} did not answer within {timeout:g} s") from error
        except ssl.SSLError as error:
            raise CarrierError(f"{where} is not the gateway {gateway.name}: {_tls_words(error)}") from error
        except OSError as error:
            raise CarrierError(f"cannot connect to {where}: {_words(error)}") from error
        tls = writer.get_extra_info("ssl_object")
        if tls.selected_alpn_protocol() != "h2":
            writer.transport.abort()
            raise CarrierError(f"{where} does not speak HTTP/2")
        multiplex = Multiplex(TcpStream(reader, writer), client=True, keepalive=True, stream_window=WINDOW)
        return cls(gateway, writer, multiplex)

    @property
    def full(self) -> bool:
        """Whether no further stream can be opened on it."""
        return self.multiplex.full

    async def connect(
        self, authority: str, token: str, *, headers: Headers | None = None, timeout: float = ANSWER_TIMEOUT
    ) -> Stream:
        """Open a stream to `authority` (HOST:PORT). Raises CarrierError, RefusedError."""
        stream: Stream | None = None
        try:
            async with asyncio.timeout(timeout):
                stream = self.multiplex.open(_connect_head(authority, token) + (headers or []))
                status, text = await _answer(stream)
            if status < 300:
                accepted, stream = stream, None
                return accepted
        except TimeoutError as error:
            raise CarrierError(f"the gateway {self.gateway.name} did not answer within {timeout:g} s") from error
        except (OSError, ValueError) as error:
            raise CarrierError(f"the gateway {self.gateway.name} was lost: {error}") from error
        finally:
            if stream is not None:
                stream.abort()
        raise RefusedError(status, text)

    def retire(self) -> None:
        """Hang up once nothing is carried any more."""
        self._retiring = asyncio.create_task(self._retire())

    async def _retire(self) -> None:
        try:
            await self.multiplex.empty()
        finally:
            await self.close()

    async def close(self) -> None:
        """Hang up."""
        self.multiplex.close()
        try:
            async with asyncio.timeout(1.0):
                await self._writer.wait_closed()
        except (TimeoutError, OSError):
            self._writer.transport.abort()


def _connect_head(authority: str, token: str) -> Headers:
    return [
        (b":method", b"CONNECT"),
        (b":authority", authority.encode()),
        (b"authorization", b"Bearer " + token.encode()),
    ]


async def _answer(stream: Stream) -> tuple[int, str]:
    """The final status and, of a refusal, what it says. Raises OSError, ValueError."""
    status = 100
    while status < 200:
        status = int(dict(await stream.head())[b":status"])
    return status, "" if status < 300 else await _text(stream)


async def _text(stream: Stream) -> str:
    body = b""
    with contextlib.suppress(OSError):
        while len(body) < TEXT_LIMIT and (data := await stream.read()):
            body += data
    return plain(body[:TEXT_LIMIT].decode("utf-8", "replace"))


def _tls_words(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({error.verify_message})"
    return str(error.reason or error).lower().replace("_", " ")


def _words(error: OSError) -> str:
    return "connection refused" if isinstance(error, ConnectionRefusedError) else (error.strerror or str(error))
