"""A small xDS server that keeps the rules, and breaks one when it is told to: what `xdsctl conformance` has to find.

It shares nothing with `xds.serve` but the reading and writing of messages. `fault` is the name of the rule that it
breaks; each is broken in a way that servers have been broken in.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import grpc.aio

from tests.xdsctl.changing_server import Steps, at_first
from xds.serve import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource, Variant
from xds.serve.client import endpoint_names
from xds.serve.resource import FULL_STATE
from xds.serve.services import PREFIXES, SERVICES
from xds.serve.wire import (
    DeltaRequest,
    SotwRequest,
    decode_delta_request,
    decode_node,
    decode_sotw_request,
    delta_prefix,
    sotw_prefix,
    with_nonce,
)

ORDER = (CLUSTER, ENDPOINT, LISTENER, ROUTE)


@dataclass
class Type:
    """What one client has of one type."""

    names: set[str] = field(default_factory=set)
    wildcard: bool = False
    named: bool = False
    scope: set[str] | None = None
    sent: dict[str, Resource] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    queued: set[str] = field(default_factory=set)
    nonce: str = ""
    version: str = ""
    waits: bool = False
    greet: bool = False
    dead: bool = False
    by_request: bool = False
    resent: bool = False

    def covers(self, name: str) -> bool:
        in_scope = self.scope is None or name in self.scope
        return name in self.names or (self.wildcard and in_scope)


class Conversation:
    """One stream, without I/O."""

    def __init__(self, server: Simple, variant: Variant, service: str | None) -> None:
        self.server, self.variant, self.service = server, variant, service
        self.types: dict[str, Type] = {}
        self.begun = False
        self.number = next(server.streams)
        self.nonces = itertools.count(1)
        self.last_nonce = ""
        self.any_named = False
        self.awake = asyncio.Event()

    def broken(self, rule: str) -> bool:
        return self.server.fault == rule

    @property
    def is_sotw(self) -> bool:
        return self.variant is Variant.SOTW

    # Requests

    def receive(self, data: bytes) -> None:
        request = decode_sotw_request(data) if self.is_sotw else decode_delta_request(data)
        if not decode_node(request.node).id and (
            self.broken("node-once") or (not self.begun and not self.broken("node-needed"))
        ):
            raise ValueError("no node")
        self.begun = True
        url = request.type_url or self.service or (CLUSTER if self.broken("type-needed") else "")
        if not url:
            raise ValueError("no type")
        first = url not in self.types
        state = self.types.setdefault(url, Type())
        repeated = bool(request.nonce) and request.nonce == state.nonce and not state.waits
        if request.nonce and request.nonce == state.nonce:
            state.waits = False
            self.acked(state)
        if request.error is not None:
            self.refused(state)
        if isinstance(request, SotwRequest):
            self.sotw(url, state, request, first=first, repeated=repeated)
        else:
            self.delta(url, state, request, first=first)

    def acked(self, state: Type) -> None:
        if self.broken("nothing-unasked") and not state.resent:
            state.resent = True
            state.sent.clear()

    def refused(self, state: Type) -> None:
        if self.broken("nack-not-resent"):
            state.sent.clear()
        if self.broken("nack-then-change"):
            state.dead = True

    def sotw(self, url: str, state: Type, request: SotwRequest, *, first: bool, repeated: bool) -> None:
        last = self.last_nonce if self.broken("types-apart") else state.nonce
        stale = bool(request.nonce) and request.nonce != last
        if stale and (self.broken("nonces-die") if first else not self.broken("stale-nonce-ignored")):
            return
        if self.broken("nack-by-error-detail") and request.nonce and request.version_info != state.version:
            return
        if self.broken("error-detail-is-nack") and request.error and request.version_info == state.version:
            state.sent.clear()
        is_ack = bool(request.nonce) and request.version_info == state.version
        if not first and self.broken("other-names-no-ack") and is_ack and request.names:
            return
        if not first and self.broken("burst") and not request.nonce:
            state.names |= set(request.names)
            state.sent |= {name: each for name, each in self.server.of(url).items() if name in state.names}
            return
        before = (set(state.names), state.wildcard)
        wanted = set(request.names)
        state.named = state.named or bool(wanted)
        wildcard = self.wildcard(state, wanted)
        state.names = wanted - {"*"}
        self.set_wildcard(url, state, wildcard=wildcard)
        if not self.broken("asked-again"):
            state.sent = {name: each for name, each in state.sent.items() if state.covers(name)}
        if self.broken("empties") and not wanted and before[0]:
            state.names = before[0]
            state.sent.clear()
        if first and request.version_info and self.broken("version-of-before"):
            state.sent = {name: each for name, each in self.server.of(url).items() if state.covers(name)}
        added = state.names - before[0]
        if self.broken("asked-again") or self.broken("version-of-before"):
            added -= state.sent.keys()
        state.by_request = added != set() or (first and not state.sent)
        state.greet = (state.by_request or (wildcard and not before[1])) and url in FULL_STATE
        if (
            repeated
            and before == (state.names, wildcard)
            and request.error is None
            and url == ENDPOINT
            and not self.broken("endpoints-follow")
        ):
            state.sent.clear()
        self.forget_absent(url, state)

    def delta(self, url: str, state: Type, request: DeltaRequest, *, first: bool) -> None:  # noqa: PLR0912
        if self.broken("stale-nonce-counts") and request.nonce not in {"", state.nonce}:
            return
        if self.broken("nonces-die") and first and request.nonce:
            return
        asked, dropped = set(request.subscribe), set(request.unsubscribe)
        if self.broken("ack-with-names") and request.nonce:
            asked = set()
        if self.broken("phantom-unsubscribe") and dropped - state.names - {"*"}:
            state.absent |= dropped
        silent = first and not asked and not dropped
        if self.broken("types-apart"):
            silent = silent and not self.any_named
        self.any_named = self.any_named or bool(asked)
        wildcard = state.wildcard
        if (silent and not self.broken("wildcard-by-silence")) or ("*" in asked and not self.broken("wildcard")):
            wildcard = True
            state.greet = not request.initial_versions
        if "*" in dropped:
            wildcard = False
        self.resume(url, state, request, first=first)
        gone = dropped & state.names
        for name in asked - {"*"} if "*" in asked and wildcard else asked:
            known = name in state.names and self.broken("subscribed-again")
            if not known and not self.broken("asked-again") and name not in request.initial_versions:
                state.sent.pop(name, None)
            unsaid = self.broken("resume-removes") and name in request.initial_versions
            if name not in self.server.of(url) and not self.broken("absent-reported") and not unsaid:
                state.absent.add(name)
        state.names = (state.names | asked) - gone - {"*"}
        if self.broken("wildcard-ends") and dropped and not state.names:
            wildcard = True
        self.set_wildcard(url, state, wildcard=wildcard)
        for name in gone:
            if wildcard and self.broken("wildcard-unsubscribe"):
                continue
            if not self.broken("asked-again"):
                state.sent.pop(name, None)
            if wildcard and name not in self.server.of(url):
                state.absent.add(name)
        if not self.broken("asked-again"):
            state.sent = {name: each for name, each in state.sent.items() if state.covers(name)}
        self.forget_absent(url, state)

    def resume(self, url: str, state: Type, request: DeltaRequest, *, first: bool) -> None:
        if not first or self.broken("resume-skips"):
            return
        existing = self.server.of(url)
        for name, version in request.initial_versions.items():
            if name not in existing:
                if not self.broken("resume-removes"):
                    state.sent[name] = Resource(name, version, url, b"")
                    state.absent.add(name)
            elif self.broken("resume-sends"):
                state.sent[name] = existing[name]
            else:
                state.sent[name] = replace(existing[name], version=version)

    def wildcard(self, state: Type, wanted: set[str]) -> bool:
        if self.broken("wildcard-by-silence"):
            return "*" in wanted
        if self.broken("wildcard"):
            return not state.named
        if self.broken("wildcard-ends"):
            return "*" in wanted or not wanted
        return "*" in wanted or not state.named

    def set_wildcard(self, url: str, state: Type, *, wildcard: bool) -> None:
        if wildcard and not state.wildcard and self.broken("wildcard-follows"):
            state.scope = set(self.server.of(url))
        state.wildcard = wildcard

    def forget_absent(self, url: str, state: Type) -> None:
        if self.broken("absent-appears"):
            state.names &= self.server.of(url).keys()

    # Changes

    def changed(self, url: str, name: str) -> None:
        state = self.types.get(url)
        if state is None or self.broken("change-pushed"):
            return
        if self.broken("unsubscribed-is-quiet"):
            state.names.add(name)
        if self.broken("queued-is-dropped") and state.waits and state.covers(name):
            state.queued.add(name)
        self.awake.set()

    # Responses

    def responses(self) -> Iterator[bytes]:
        order = sorted(self.types, key=ORDER.index, reverse=self.broken("make-before-break"))
        for url in order:
            state = self.types[url]
            fresh, all_of_it = self.additions(url, state)
            if not (fresh or state.greet or state.absent or state.queued):
                continue
            if (state.waits and not self.broken("one-in-flight")) or state.dead:
                return
            yield self.response(url, state, fresh, all_of_it, gone=sorted(state.absent))
            self.touch(url, fresh)
        for url in reversed(order):
            state = self.types[url]
            gone = [name for name in state.sent if name not in self.server.of(url)]
            if not gone or (self.is_sotw and url not in FULL_STATE):
                continue
            if state.waits or self.broken("removal-told") or self.broken("removal-by-omission"):
                continue
            for name in gone:
                del state.sent[name]
            kept = [each for name, each in self.server.of(url).items() if state.covers(name)]
            yield self.response(url, state, [], kept if self.is_sotw else [], gone=gone)

    def additions(self, url: str, state: Type) -> tuple[list[Resource], list[Resource]]:
        """What is new, and what to send because of it."""
        existing = self.server.of(url)
        covered = [each for name, each in existing.items() if state.covers(name) or name in state.queued]
        if self.broken("versions-keep"):
            covered = [replace(each, version=f"{each.version}-{self.number}") for each in covered]
        sent = state.sent
        fresh = [one for one in covered if one.name not in sent or sent[one.name].version != one.version]
        everything = fresh
        if self.is_sotw and url in FULL_STATE:
            everything = [*covered, *(each for name, each in sent.items() if name not in existing)]
            if self.broken("full-set" if state.by_request else "full-set-at-change"):
                everything = fresh
        if fresh and self.broken("only-what-changed"):
            everything = covered
        if self.broken("named"):
            everything = [each for each in everything if state.wildcard]
        if self.broken("empty-answered"):
            state.absent.clear()
            state.greet = False
        return fresh, everything

    def touch(self, url: str, fresh: list[Resource]) -> None:
        """Endpoints of clusters that were sent go out again."""
        if url != CLUSTER or ENDPOINT not in self.types or self.broken("endpoints-follow"):
            return
        for each in fresh:
            for name in endpoint_names(each.body):
                self.types[ENDPOINT].sent.pop(name, None)

    def response(self, url: str, state: Type, fresh: list[Resource], out: list[Resource], gone: list[str]) -> bytes:
        state.sent |= {each.name: each for each in (*fresh, *out)}
        for name in gone:
            state.sent.pop(name, None)
        state.greet, state.by_request = False, False
        state.absent.clear()
        state.queued.clear()
        state.waits = True
        state.nonce = self.last_nonce = f"{self.number}.{next(self.nonces)}"
        if self.broken("nonce-always"):
            state.nonce = ""
        if self.broken("no-name-twice"):
            out = [*out, *out]
        if self.broken("type-as-asked"):
            out = [replace(each, type_url=ROUTE if url != ROUTE else LISTENER) for each in out]
        if self.broken("names-every-resource"):
            out = [replace(each, version="") for each in out]
        who = "" if self.broken("says-who") else "simple"
        if not self.is_sotw:
            return with_nonce(delta_prefix(url, out, gone, who), state.nonce)
        state.version = "" if self.broken("version-always") else ",".join(sorted(one.version for one in out)) or "0"
        return with_nonce(sotw_prefix(url, state.version, out, who), state.nonce)


class Simple:
    """The server's state, and its streams."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.streams = itertools.count(1)
        self._resources: dict[str, dict[str, Resource]] = {url: {} for url in ORDER}
        self._steps = Steps()
        self._open: set[Conversation] = set()
        for each in at_first():
            self._resources[each.type_url][each.name] = each

    def of(self, url: str) -> dict[str, Resource]:
        return self._resources[url]

    async def __call__(self, verb: str, kind: str, name: str) -> None:
        """The change command."""
        changes = self._steps(verb, kind, name)
        for (where, what), resource in changes.items():
            if resource is None:
                self._resources[where].pop(what, None)
            else:
                self._resources[where][what] = resource
        for each in self._open:
            for where, what in changes:
                each.changed(where, what)

    async def converse(self, conversation: Conversation, context: Any) -> None:
        async def read() -> None:
            try:
                while isinstance(data := await context.read(), bytes):
                    conversation.receive(data)
                    conversation.awake.set()
            finally:
                conversation.awake.set()

        reader = asyncio.create_task(read())
        self._open.add(conversation)
        try:
            while not reader.done():
                for data in conversation.responses():
                    await context.write(data)
                await conversation.awake.wait()
                conversation.awake.clear()
            reader.result()
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        finally:
            self._open.discard(conversation)
            reader.cancel()

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        def method(variant: Variant, url: str | None) -> Any:
            async def handle(_: Any, context: Any) -> None:
                await self.converse(Conversation(self, variant, url), context)

            return grpc.stream_stream_rpc_method_handler(handle)

        return [
            grpc.method_handlers_generic_handler(
                service, {f"{prefix}{name}": method(variant, url) for variant, prefix in PREFIXES.items()}
            )
            for service, name, url in SERVICES
        ]


@asynccontextmanager
async def simple(fault: str = "") -> AsyncIterator[tuple[Simple, str]]:
    """A running server and its address."""
    one = Simple(fault)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(tuple(one.handlers()))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield one, f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
