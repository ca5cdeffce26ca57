"""What a client keeps per type: what it has asked for, what it has acknowledged, and which response came last.

No I/O: bytes of responses go in, bytes of requests come out. The rules are those of the xDS protocol page:

* The node goes with the first request of a stream only.
* A response is acknowledged, or refused with a text, by its nonce. What was refused changes nothing of what is held.
* In state of the world each request repeats all names, the version accepted last and the nonce answered last; in delta
  it says what is new and what is no longer wanted.
* Nothing named at all means everything, as long as nothing was ever named on this stream; else `*` does.
  ("How the client specifies what resources to return")
* Full sets (listeners and clusters in state of the world) remove what they leave out; other types remove nothing there.
* A nonce belongs to its stream. `restart` begins the next one: it asks for everything again, and in delta says which
  versions are held, so that only what differs comes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from sys import intern
from types import MappingProxyType
from typing import Final

from xds.serve.client.messages import (
    Received,
    Response,
    decode_delta_response,
    decode_sotw_response,
    encode_delta_request,
    encode_node,
    encode_sotw_request,
)
from xds.serve.resource import FULL_STATE
from xds.serve.status import Variant
from xds.serve.wire import Node

WILDCARD: Final = "*"
_NOTHING: Mapping[str, Received] = MappingProxyType({})


@dataclass(slots=True)
class _Type:
    """One type of a client. `named` is whether anything was ever named on this stream."""

    names: dict[str, None] = field(default_factory=dict)
    held: dict[str, Received] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    version: str = ""
    nonce: str = ""
    named: bool = False

    def asked(self, names: Iterable[str]) -> list[str]:
        """How names are written in a request: for everything, nothing is, unless something was before."""
        wanted = list(names)
        if wanted == [WILDCARD] and not self.named:
            return []
        self.named = self.named or bool(wanted)
        return wanted


class Client(ABC):
    """The bookkeeping of one client on one stream after the other. Every request comes as the bytes to send.

    With `keep_bodies` false the resources in `held` have no body: enough to resume by, and small.
    """

    variant: Variant

    def __init__(self, who: Node, *, keep_bodies: bool = True) -> None:
        self.node = who
        self._keep_bodies = keep_bodies
        self._types: dict[str, _Type] = {}
        self._greeted = False

    def __repr__(self) -> str:
        held = {type_url.rpartition(".")[2]: len(each.held) for type_url, each in self._types.items()}
        return f"<{type(self).__name__} {self.node.id} {held}>"

    def subscribe(self, type_url: str, names: Iterable[str] = (WILDCARD,)) -> bytes:
        """Ask for these as well; `*` is all that there is for this node."""
        one = self._types.setdefault(type_url, _Type())
        added = list(dict.fromkeys(names))
        one.names |= dict.fromkeys(added)
        return self._subscribe(type_url, one, added)

    def unsubscribe(self, type_url: str, names: Iterable[str]) -> bytes:
        """Want these no longer; they are dropped at once."""
        one = self._types.setdefault(type_url, _Type())
        gone = list(dict.fromkeys(names))
        for name in gone:
            one.names.pop(name, None)
            one.absent.discard(name)
            if WILDCARD not in one.names:
                one.held.pop(name, None)
        if WILDCARD in gone:
            one.held = {name: held for name, held in one.held.items() if name in one.names}
        return self._unsubscribe(type_url, one, gone)

    def receive(self, data: bytes) -> Response:
        """Read a response. Nothing of it is held before it is acknowledged. Raises ValueError for what is none."""
        response = self._decode(data)
        if not response.type_url:
            raise ValueError("a response has no type_url")
        return self._completed(response, self._types.setdefault(response.type_url, _Type()))

    def acknowledge(self, response: Response) -> bytes:
        """Hold what is in it, and say so."""
        one = self._types[response.type_url]
        one.version, one.nonce = response.version, response.nonce
        for each in response.resources:
            if each.is_heartbeat:
                continue
            name = intern(each.name)
            kept = each if self._keep_bodies else Received(name, intern(each.version), each.type_url, b"")
            one.held[name] = kept
            one.absent.discard(name)
        for name in response.removed:
            one.held.pop(name, None)
            if name in one.names:
                one.absent.add(name)
        return self._verdict(response, one, "")

    def refuse(self, response: Response, text: str) -> bytes:
        """Say why nothing of it is taken; `text` is not empty."""
        one = self._types[response.type_url]
        one.nonce = response.nonce
        return self._verdict(response, one, text)

    def answer(self, response: Response) -> bytes:
        """Acknowledge it, or refuse what no client may take."""
        problem = response.problem
        return self.refuse(response, problem) if problem else self.acknowledge(response)

    def restart(self) -> list[bytes]:
        """Begin a new stream: what to send on it first. Empty as long as nothing was asked for."""
        self._greeted = False
        requests = []
        for type_url, one in self._types.items():
            one.nonce, one.named = "", False
            if one.names:
                requests.append(self._resume(type_url, one))
        return requests

    def held(self, type_url: str) -> Mapping[str, Received]:
        """What was acknowledged and not removed since, by name."""
        one = self._types.get(type_url)
        return MappingProxyType(one.held) if one else _NOTHING

    def absent(self, type_url: str) -> frozenset[str]:
        """Names that were asked for and that the server says do not exist (in delta)."""
        one = self._types.get(type_url)
        return frozenset(one.absent) if one else frozenset()

    def names(self, type_url: str) -> frozenset[str]:
        """What is asked for."""
        one = self._types.get(type_url)
        return frozenset(one.names) if one else frozenset()

    def _who(self) -> bytes:
        """The node, for the first request of a stream."""
        if self._greeted:
            return b""
        self._greeted = True
        return encode_node(self.node)

    @abstractmethod
    def _decode(self, data: bytes) -> Response: ...

    def _completed(self, response: Response, one: _Type) -> Response:  # noqa: ARG002  for the variant that needs it
        return response

    @abstractmethod
    def _subscribe(self, type_url: str, one: _Type, added: list[str]) -> bytes: ...

    @abstractmethod
    def _unsubscribe(self, type_url: str, one: _Type, gone: list[str]) -> bytes: ...

    @abstractmethod
    def _verdict(self, response: Response, one: _Type, error: str) -> bytes: ...

    @abstractmethod
    def _resume(self, type_url: str, one: _Type) -> bytes: ...


class DeltaClient(Client):
    """A client that speaks delta."""

    variant = Variant.DELTA

    def _decode(self, data: bytes) -> Response:
        return decode_delta_response(data)

    def _subscribe(self, type_url: str, one: _Type, added: list[str]) -> bytes:
        return encode_delta_request(type_url, one.asked(added), who=self._who())

    def _unsubscribe(self, type_url: str, one: _Type, gone: list[str]) -> bytes:
        one.named = True
        return encode_delta_request(type_url, unsubscribe=gone, who=self._who())

    def _verdict(self, response: Response, one: _Type, error: str) -> bytes:  # noqa: ARG002  one shape for both
        return encode_delta_request(response.type_url, nonce=response.nonce, error=error, who=self._who())

    def _resume(self, type_url: str, one: _Type) -> bytes:
        versions = {name: each.version for name, each in one.held.items()}
        return encode_delta_request(type_url, one.asked(one.names), versions=versions, who=self._who())


class SotwClient(Client):
    """A client that speaks state of the world."""

    variant = Variant.SOTW

    def _decode(self, data: bytes) -> Response:
        return decode_sotw_response(data)

    def _completed(self, response: Response, one: _Type) -> Response:
        if response.type_url not in FULL_STATE:
            return response
        there = {each.name for each in response.resources}
        return replace(response, removed=tuple(name for name in one.held if name not in there))

    def _request(self, type_url: str, one: _Type, nonce: str, error: str = "") -> bytes:
        names = one.asked(one.names)
        return encode_sotw_request(type_url, names, version=one.version, nonce=nonce, error=error, who=self._who())

    def _subscribe(self, type_url: str, one: _Type, added: list[str]) -> bytes:  # noqa: ARG002  all are repeated
        return self._request(type_url, one, one.nonce)

    def _unsubscribe(self, type_url: str, one: _Type, gone: list[str]) -> bytes:  # noqa: ARG002  it says what is left
        one.named = True
        return self._request(type_url, one, one.nonce)

    def _verdict(self, response: Response, one: _Type, error: str) -> bytes:
        return self._request(response.type_url, one, response.nonce, error)

    def _resume(self, type_url: str, one: _Type) -> bytes:
        return self._request(type_url, one, "")


def client_of(variant: Variant, who: Node, *, keep_bodies: bool = True) -> Client:
    """A client of that variant."""
    kind = DeltaClient if variant is Variant.DELTA else SotwClient
    return kind(who, keep_bodies=keep_bodies)
