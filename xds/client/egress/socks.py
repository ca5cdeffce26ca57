"""SOCKS5 from the server's side, without I/O: RFC 1928, its CONNECT command, and RFC 1929 where a password is wanted.

client   05 n methods…            ▸  05 method
client   01 user password         ▸  01 status             (only with a password)
client   05 01 00 address port    ▸  05 reply 00 address port
"""

from __future__ import annotations

import hmac
import ipaddress
from enum import IntEnum

VERSION = 5
AUTH_VERSION = 1
NO_AUTH, PASSWORD, NONE_ACCEPTABLE = 0, 2, 0xFF
CONNECT = 1
IPV4, NAME, IPV6 = 1, 3, 4
UNKNOWN_BOUND = bytes((IPV4, 0, 0, 0, 0, 0, 0))
"""The address that we connect from is the gateway's, which nobody needs."""


class Reply(IntEnum):
    """RFC 1928, section 6."""

    SUCCEEDED = 0
    FAILED = 1
    NOT_ALLOWED = 2
    HOST_UNREACHABLE = 4
    REFUSED = 5
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_NOT_SUPPORTED = 8


class SocksError(Exception):
    """The client asks for something that isn't served. `answer` is to be sent before hanging up."""

    def __init__(self, text: str, answer: bytes = b"") -> None:
        super().__init__(text)
        self.answer = answer


def reply(code: Reply) -> bytes:
    """The answer to a request."""
    return bytes((VERSION, code, 0)) + UNKNOWN_BOUND


class Socks:
    """A client's greeting and request. Feed it; what follows the request is `rest`."""

    def __init__(self, password: str = "") -> None:
        self._password = password
        self._data = bytearray()
        self._greeted = False
        self._proved = not password
        self.destination: tuple[str, int] | None = None

    @property
    def rest(self) -> bytes:
        """What the client has sent behind its request."""
        return bytes(self._data)

    def received(self, data: bytes) -> bytes:
        """Take bytes; returns what to answer. `destination` is set once it is known. Raises SocksError."""
        self._data += data
        answer = b""
        while self.destination is None and (step := self._step()) is not None:
            answer += step
        return answer

    def _step(self) -> bytes | None:
        """One message of the client's; None where it isn't complete."""
        if not self._greeted:
            return self._greeting()
        return self._request() if self._proved else self._credentials()

    def _take(self, size: int) -> bytes:
        taken = bytes(self._data[:size])
        del self._data[:size]
        return taken

    def _greeting(self) -> bytes | None:
        if self._data and self._data[0] != VERSION:
            raise SocksError("this is not SOCKS5")
        if len(self._data) < 2 or len(self._data) < 2 + self._data[1]:
            return None
        methods = self._take(2 + self._data[1])[2:]
        wanted = NO_AUTH if self._proved else PASSWORD
        if wanted not in methods:
            raise SocksError("the client doesn't offer the way to authenticate", bytes((VERSION, NONE_ACCEPTABLE)))
        self._greeted = True
        return bytes((VERSION, wanted))

    def _credentials(self) -> bytes | None:
        if len(self._data) < 2:
            return None
        if self._data[0] != AUTH_VERSION:
            raise SocksError("this is not RFC 1929", bytes((AUTH_VERSION, 1)))
        name = self._data[1]
        if len(self._data) < 3 + name or len(self._data) < 3 + name + self._data[2 + name]:
            return None
        given = self._take(3 + name + self._data[2 + name])[3 + name :]
        if not hmac.compare_digest(given, self._password.encode()):
            raise SocksError("the password is wrong", bytes((AUTH_VERSION, 1)))
        self._proved = True
        return bytes((AUTH_VERSION, 0))

    def _request(self) -> bytes | None:
        if len(self._data) < 5:
            return None
        version, command, _, kind, first = self._data[:5]
        if version != VERSION:
            raise SocksError("this is not SOCKS5")
        if kind not in {IPV4, NAME, IPV6}:
            raise SocksError(f"unknown kind of address {kind}", reply(Reply.ADDRESS_NOT_SUPPORTED))
        size = {IPV4: 4, IPV6: 16, NAME: 1 + first}[kind]
        if len(self._data) < 4 + size + 2:
            return None
        body = self._take(4 + size + 2)[4:]
        if command != CONNECT:
            raise SocksError("only CONNECT is served, neither BIND nor UDP", reply(Reply.COMMAND_NOT_SUPPORTED))
        host = self._host(kind, body[:size])
        self.destination = host, int.from_bytes(body[size:], "big")
        return b""

    def _host(self, kind: int, address: bytes) -> str:
        if kind != NAME:
            return str(ipaddress.ip_address(address))
        try:
            return check_host(address[1:].decode("ascii"))
        except ValueError as error:
            raise SocksError(str(error), reply(Reply.ADDRESS_NOT_SUPPORTED)) from error


def check_host(host: str) -> str:
    """A host's name, or an address, that may stand in a request. Raises ValueError."""
    if not host or len(host) > 255 or not all(each.isalnum() or each in "-._:" for each in host):
        raise ValueError(f"{host!r} is not the name of a host")
    return host
