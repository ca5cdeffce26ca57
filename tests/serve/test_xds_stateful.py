"""Any requests in any order: nothing raises, nothing refused comes back by itself, and in the end the client has what
it wants, as it is in the store.

The client is modelled apart from the server: it applies responses one by one as a real client does, forgets what it
unsubscribes from, and reconnects with what it kept.
"""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.serve.configs import opaque
from tests.serve.peer import VIEW, Answer, DeltaPeer, Peer, SotwPeer
from xds.serve import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource, SyncState
from xds.serve.resource import FULL_STATE

types = st.sampled_from([CLUSTER, ENDPOINT, LISTENER, ROUTE])
names = st.sampled_from("abc")
some_names = st.lists(st.sampled_from("abc*"), max_size=3, unique=True)
contents = st.sampled_from("123")


class Machine(RuleBasedStateMachine):
    peer: Peer

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, dict[str, str]] = {}
        self.wanted: dict[str, set[str]] = {}
        self.received: deque[Answer] = deque()
        self.processed: set[str] = set()
        self.refused: dict[str, dict[str, str]] = {}
        self.unapplied: dict[str, set[str]] = {}
        self.asked: set[str] = set()
        """Types that the client has asked for anew since it received a response of them."""

    def covers(self, type_url: str, name: str) -> bool:
        return bool({"*", name} & self.wanted.get(type_url, set()))

    def make(self, type_url: str, name: str, content: str) -> Resource:
        # Clusters ask for the endpoints of the same name, except `c`.
        return opaque(type_url, name, content, eds=name if type_url == CLUSTER and name != "c" else None)

    # The store changes

    def changed(self, type_url: str, *changed: str) -> None:
        """What was refused may go out again if it, or what was refused with it, is changed."""
        refused = self.refused.get(type_url, {})
        if refused.keys() & changed or type_url in FULL_STATE:
            refused.clear()

    @rule(type_url=types, name=names, content=contents, own=st.booleans())
    def put(self, type_url: str, name: str, content: str, own: bool) -> None:
        before = self.peer.store.revision
        resource = self.make(type_url, name, content)
        owner = {VIEW.node if own else VIEW.group: {(type_url, name): resource}}
        after = self.peer.store.update(nodes=owner) if own else self.peer.store.update(group=owner)
        if after != before:
            self.changed(type_url, name)

    @rule(type_url=types, name=names, own=st.booleans())
    def drop(self, type_url: str, name: str, own: bool) -> None:
        owner = {VIEW.node if own else VIEW.group: {(type_url, name): None}}
        self.peer.store.update(nodes=owner) if own else self.peer.store.update(group=owner)
        self.changed(type_url, name)

    @rule(type_url=types, renamed=st.permutations("abc"))
    def switch(self, type_url: str, renamed: list[str]) -> None:
        """Replace one resource by another and change a third, in one step."""
        out, into, other = renamed
        changes = {(type_url, into): self.make(type_url, into, "s"), (type_url, other): self.make(type_url, other, "t")}
        self.peer.store.update(group={VIEW.group: {**changes, (type_url, out): None}})
        self.changed(type_url, *renamed)

    # The client takes responses and answers them

    @rule()
    def take(self) -> None:
        answer = self.peer.answer()
        if answer is None:
            return
        refused = self.refused.get(answer.type_url, {})
        again = {name for name, content in answer.resources.items() if refused.get(name) == content}
        assert not again, f"{again} were refused and come again unchanged"
        self.asked.discard(answer.type_url)
        self.received.append(answer)

    @precondition(lambda self: self.received)
    @rule()
    def accept(self) -> None:
        answer = self.received.popleft()
        kept = self.kept.setdefault(answer.type_url, {})
        if answer.type_url in FULL_STATE and isinstance(self.peer, SotwPeer):
            kept.clear()
        applied = {name: each for name, each in answer.resources.items() if self.covers(answer.type_url, name)}
        kept |= applied
        self.unapplied.get(answer.type_url, set()).difference_update(applied)
        self.settled(answer)
        self.peer.ack(answer)

    @precondition(lambda self: self.received and self.received[0].resources)
    @rule()
    def refuse(self) -> None:
        answer = self.received.popleft()
        self.unapplied.setdefault(answer.type_url, set()).update(answer.resources)
        if answer.type_url not in self.asked and all(
            self.is_newest(answer.type_url, name, content) for name, content in answer.resources.items()
        ):
            self.refused.setdefault(answer.type_url, {}).update(answer.resources)
        self.settled(answer)
        self.peer.nack(answer)

    def is_newest(self, type_url: str, name: str, content: str) -> bool:
        # Full sets, and what has changed since it was sent, may come again with what has changed.
        resource = self.peer.store.snapshot(VIEW, type_url).resources.get(name)
        newest = resource is not None and resource.version == self.make(type_url, name, content).version
        return newest and type_url not in FULL_STATE and type_url != ENDPOINT

    def settled(self, answer: Answer) -> None:
        for name in answer.removed:
            self.kept.get(answer.type_url, {}).pop(name, None)
            self.unapplied.get(answer.type_url, set()).discard(name)
        self.processed.add(answer.type_url)

    # The client asks

    @rule(type_url=types, asked=some_names)
    def subscribe(self, type_url: str, asked: list[str]) -> None:
        wanted = self.wanted.setdefault(type_url, set())
        if not asked and (wanted or type_url in self.peer.stream.status().types):
            return
        if isinstance(self.peer, SotwPeer) and not self.peer.names.get(type_url):
            wanted.clear()  # Silence meant everything; a name ends that.
        wanted |= set(asked) or {"*"}
        self.refused.pop(type_url, None)
        self.asked.add(type_url)
        self.peer.subscribe(type_url, *asked)

    @rule(type_url=types, dropped=some_names)
    def unsubscribe(self, type_url: str, dropped: list[str]) -> None:
        if type_url not in self.wanted or not dropped:
            return
        if self.wanted[type_url] == {"*"} and isinstance(self.peer, SotwPeer):
            return  # By a list of what remains, silence cannot be told from it.
        self.wanted[type_url] -= set(dropped)
        self.refused.pop(type_url, None)
        self.asked.add(type_url)
        # What a client unsubscribes from it drops by itself, in both variants; nobody tells it.
        kept = self.kept.get(type_url, {})
        self.kept[type_url] = {name: each for name, each in kept.items() if self.covers(type_url, name)}
        self.peer.unsubscribe(type_url, *dropped)

    @rule(type_url=types)
    def say_something_stale(self, type_url: str) -> None:
        if type_url not in self.processed:
            return
        if isinstance(self.peer, DeltaPeer):
            assert self.peer.ask(type_url, nonce="long-gone", error="no") is None
        else:
            assert isinstance(self.peer, SotwPeer)
            assert self.peer.ask(type_url, ["z"], nonce="long-gone") is None

    @rule(paced=st.booleans())
    def release(self, paced: bool) -> None:
        self.peer.paced = paced
        self.peer.stream.release()

    @rule()
    def settle(self) -> None:
        self.peer.stream.settle()

    @rule()
    def reconnect(self) -> None:
        self.received.clear()
        self.processed.clear()
        self.refused.clear()
        self.peer.reconnect()
        for type_url, wanted in list(self.wanted.items()):
            kept = self.kept.get(type_url, {})
            if not wanted:
                del self.wanted[type_url]
                self.kept.pop(type_url, None)
            elif isinstance(self.peer, DeltaPeer):
                versions = {name: self.make(type_url, name, each).version for name, each in kept.items()}
                self.peer.ask(type_url, sorted(wanted), initial=versions)
            else:
                self.peer.subscribe(type_url, *sorted(wanted))

    # And in the end

    def teardown(self) -> None:
        self.peer.stream.settle()
        self.release(paced=False)
        self.drain()
        for type_url, missing in self.unapplied.items():
            existing = self.peer.store.snapshot(VIEW, type_url).resources
            for name in missing & existing.keys():
                self.put(type_url, name, "repaired", own=True)
        self.drain()
        self.check()
        self.peer.stop()
        assert self.peer.store.watchers == 0

    def drain(self) -> None:
        for _ in range(200):
            while self.received:
                self.accept()
            self.take()
            if not self.received:
                return
        raise AssertionError("it never ends")

    def check(self) -> None:
        for type_url, status in self.peer.stream.status().types.items():
            existing = self.peer.store.snapshot(VIEW, type_url).resources
            wanted = {name: each.version for name, each in existing.items() if self.covers(type_url, name)}
            kept = self.kept.get(type_url, {})
            has = {name: self.make(type_url, name, each).version for name, each in kept.items()}
            if isinstance(self.peer, SotwPeer) and type_url not in FULL_STATE:
                has = {name: version for name, version in has.items() if name in wanted}
            if isinstance(self.peer, SotwPeer) and not self.wanted.get(type_url):
                continue  # What a client keeps of a type that it is done with is its own affair.
            assert has == wanted, f"{type_url}: the client has {has}, the store {wanted}"
            assert status.state in {SyncState.SYNCED, SyncState.NOT_SENT}
            assert not self.peer.stream.lag(self.peer.store.revision, [type_url])


class DeltaMachine(Machine):
    @initialize()
    def connect(self) -> None:
        self.peer = DeltaPeer()


class SotwMachine(Machine):
    @initialize()
    def connect(self) -> None:
        self.peer = SotwPeer()


EXAMPLES = settings(max_examples=150, stateful_step_count=40, deadline=None)
DeltaMachine.TestCase.settings = EXAMPLES
SotwMachine.TestCase.settings = EXAMPLES
TestDelta = pytest.mark.timeout(300)(DeltaMachine.TestCase)
TestSotw = pytest.mark.timeout(300)(SotwMachine.TestCase)
