"""HTTP from the proxy's side: CONNECT, and requests for an absolute URL (`GET http://orders.dev/`), RFC 9110, 9112.

Pages in a browser can send requests to any port of this machine, or have a name of theirs resolve to it. But all that
a page can make a browser send to *us* is a request for a path (`GET /…`), never CONNECT nor an absolute URL, which a
browser sends only to what its user has made its proxy. So a request for a path is refused and its connection closed,
whatever follows in it: it may be a body that looks like a request.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hmac
from collections.abc import Awaitable, Callable, Iterable

import h11

from xds.client.egress.gateways import NoWayError, Reason
from xds.client.egress.socks import check_host
from xds.client.tunnel.bytestream import ByteStream, splice

Dial = Callable[[str, int], Awaitable[ByteStream]]
"""Opens a connection to a service. Raises NoWayError."""
HEAD_LIMIT = 1 << 20
"""Bytes of a head at most."""
HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"proxy-authenticate"}
)
STATUS = {Reason.FORBIDDEN: 403, Reason.UNKNOWN: 404, Reason.UNREACHABLE: 502, Reason.NO_GATEWAY: 504}


class RefusalError(Exception):
    """The request isn't served; answer it so and hang up."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def authority(text: str, default_port: int | None) -> tuple[str, int]:
    """HOST:PORT, taken apart. Raises RefusalError."""
    host, colon, port = text.rpartition(":")
    if (not colon or "]" in port) and default_port is not None:
        host, port = text, str(default_port)
    try:
        number = int(port)
        if not 0 < number < 65536 or not port.isascii():
            raise ValueError(f"{port!r} is not a port")
        return check_host(host.removeprefix("[").removesuffix("]")), number
    except ValueError as error:
        raise RefusalError(400, f"{text!r} is not HOST:PORT: {error}") from error


def destination(request: h11.Request) -> tuple[str, int, bytes]:
    """Where a request goes, and for which path (empty for CONNECT). Raises RefusalError."""
    target = request.target.decode("ascii", "replace")
    if request.method == b"CONNECT":
        return *authority(target, None), b""
    scheme, separator, rest = target.partition("://")
    if not separator or target.startswith("/"):
        text = "this is Byway's proxy into the cluster, not a web site; see `byway env --help`"
        raise RefusalError(400, text)
    if scheme.lower() != "http":
        raise RefusalError(400, f"for {scheme}:// a client has to use CONNECT")
    cut = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    path = rest[cut:].partition("#")[0]
    # Names and passwords in URLs are the client's to turn into headers.
    host, port = authority(rest[:cut].rpartition("@")[2], 80)
    return host, port, (path if path.startswith("/") else f"/{path}").encode()


def check_password(request: h11.Request, password: str) -> None:
    """Raises RefusalError where a password is wanted and not given."""
    if not password:
        return
    given = dict(request.headers).get(b"proxy-authorization", b"")
    kind, _, value = given.partition(b" ")
    with contextlib.suppress(binascii.Error):
        found = base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        if kind.lower() == b"basic" and hmac.compare_digest(found, password.encode()):
            return
    raise RefusalError(407, "this proxy wants the password that `byway env` gives")


def request_for(request: h11.Request, host: bytes, path: bytes) -> h11.Request:
    """The request as the service gets it."""
    kept = [(name, value) for name, value in _end_to_end(request.headers.raw_items()) if name.lower() != b"host"]
    upgrade = dict(request.headers).get(b"upgrade")
    connection = [(b"Connection", b"Upgrade" if upgrade else b"close")]
    return h11.Request(method=request.method, target=path, headers=[(b"Host", host), *kept, *connection])


def _end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    found = list(headers)
    named = {
        word.strip().lower() for name, value in found if name.lower() == b"connection" for word in value.split(b",")
    }
    dropped = HOP_BY_HOP | (named - {b"upgrade"})
    return [(name, value) for name, value in found if name.lower() not in dropped]


class WebClient:
    """A client on a connection, until it hangs up."""

    def __init__(self, io: ByteStream, dial: Dial, password: str) -> None:
        self._io = io
        self._dial = dial
        self._password = password
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)

    async def serve(self) -> None:
        """Serve its requests. Raises OSError."""
        while True:
            try:
                again = await self._one()
            except RefusalError as error:
                await self._refuse(error)
                return
            except h11.RemoteProtocolError as error:
                await self._refuse(RefusalError(400, f"this is not valid HTTP: {error}"))
                return
            if not again:
                return
            self._http.start_next_cycle()

    async def _next(self) -> h11.Event | type[h11.PAUSED | h11.NEED_DATA]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._io.read())
        return event

    async def _one(self) -> bool:
        """Serve one request. Returns whether another may follow. Raises RefusalError, RemoteProtocolError, OSError."""
        request = await self._next()
        if not isinstance(request, h11.Request):
            return False
        host, port, path = destination(request)
        check_password(request, self._password)
        try:
            service = await self._dial(host, port)
        except NoWayError as error:
            raise RefusalError(STATUS[error.reason], str(error)) from error
        if request.method == b"CONNECT":
            self._http.next_event()
            self._io.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            service.write(self._http.trailing_data[0])
            await splice(self._io, service)
            return False
        try:
            return await _Exchange(self._io, self._http, service).run(request, path)
        finally:
            service.close()

    async def _refuse(self, error: RefusalError) -> None:
        body = f"{error}\n".encode()
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
        if error.status == 407:
            headers.append(("Proxy-Authenticate", 'Basic realm="byway"'))
        with contextlib.suppress(h11.LocalProtocolError):
            head = self._http.send(h11.Response(status_code=error.status, headers=[*headers, ("Connection", "close")]))
            self._io.write((head or b"") + body)
            await self._io.drain()


class _Exchange:
    """One request for an absolute URL, on a connection of its own to the service."""

    def __init__(self, io: ByteStream, client: h11.Connection, service: ByteStream) -> None:
        self._io = io
        self._client = client
        self._service = service
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)

    async def run(self, request: h11.Request, path: bytes) -> bool:
        """Carry both. Returns whether the client's connection may be used again. Raises RefusalError, OSError."""
        rest = request.target.partition(b"://")[2]
        host = rest.replace(b"?", b"/").replace(b"#", b"/").partition(b"/")[0].rpartition(b"@")[2]
        try:
            self._service.write(self._http.send(request_for(request, host, path)) or b"")
        except h11.LocalProtocolError as error:
            raise RefusalError(400, f"the request can't be passed on: {error}") from error
        upload = asyncio.create_task(self._upload())
        try:
            switched = await self._download()
        except (OSError, h11.RemoteProtocolError) as error:
            if self._client.our_state is h11.SEND_RESPONSE:
                raise RefusalError(502, f"the service gave no valid answer: {error}") from error
            # An answer that broke off must not look complete.
            self._io.abort()
            return False
        finally:
            upload.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError, h11.ProtocolError):
                await upload
        if switched:
            self._service.write(self._client.trailing_data[0])
            self._io.write(self._http.trailing_data[0])
            await splice(self._io, self._service)
            return False
        return self._client.our_state is h11.DONE and self._client.their_state is h11.DONE

    async def _upload(self) -> None:
        while True:
            while (event := self._client.next_event()) is h11.NEED_DATA:
                self._client.receive_data(await self._io.read())
            if not isinstance(event, h11.Data | h11.EndOfMessage):
                return
            self._service.write(self._http.send(event) or b"")
            await self._service.drain()
            if isinstance(event, h11.EndOfMessage):
                return

    async def _download(self) -> bool:
        """Pass the answer on. Returns whether the connection has changed its protocol."""
        while True:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._service.read())
            if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                self._send(event, event.headers.raw_items())
                return True
            if isinstance(event, h11.InformationalResponse | h11.Response):
                self._send(event, _end_to_end(event.headers.raw_items()))
            elif isinstance(event, h11.Data | h11.EndOfMessage):
                self._io.write(self._client.send(event) or b"")
                await self._io.drain()
            else:
                raise h11.RemoteProtocolError("it closed the connection")
            if isinstance(event, h11.EndOfMessage):
                return False

    def _send(self, event: h11.InformationalResponse | h11.Response, headers: Iterable[tuple[bytes, bytes]]) -> None:
        answer = type(event)(status_code=event.status_code, headers=list(headers), reason=event.reason)
        self._io.write(self._client.send(answer) or b"")
