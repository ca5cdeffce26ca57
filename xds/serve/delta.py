"""Delta: requests and responses tell differences (xDS protocol, "Incremental xDS").

The watch knows, per name, which version the client has: from what was sent, and on a reconnect from what the client
says it kept. What differs from the snapshot is sent. A refused version stays noted as sent, which is why it never goes
out again by itself.
"""

from __future__ import annotations

from xds.serve.push import CONNECTED, RECONNECTED, SUBSCRIPTION
from xds.serve.resource import Resource
from xds.serve.status import Ack, Nack
from xds.serve.store import Snapshot
from xds.serve.subscription import WILDCARD
from xds.serve.watch import Push, Watch
from xds.serve.wire import DeltaRequest, delta_prefix

_ABSENT = ""
"""The version of a resource that the client was told does not exist."""


class DeltaWatch(Watch[DeltaRequest]):
    """One type on one delta stream."""

    def __init__(self, type_url: str, identifier: str) -> None:
        super().__init__(type_url, identifier)
        self._known: dict[str, str] = {}

    def on_request(self, request: DeltaRequest, at: float) -> Ack | Nack | None:
        """Take in a request. Subscription changes count whatever the nonce is: a stale nonce is no reason to lose
        them."""
        first = not self.started
        self.started = True
        verdict = self._verdict(request.nonce, request.error, at)
        asked, dropped = self.subscription.change(request.subscribe, request.unsubscribe, first=first)
        if first:
            self._resume(request, asked)
        elif asked:
            self._asked_all = self._asked_all or WILDCARD in asked
            self._greet = self._greet or WILDCARD in asked
            self._asked |= asked - {WILDCARD}
            self.make_due = True
            self.reasons.add(SUBSCRIPTION)
        if WILDCARD in dropped:
            dropped |= self._unwanted(self._known)
        for name in dropped:
            self._known.pop(name, None)
        self._forget(dropped)
        return verdict

    def _resume(self, request: DeltaRequest, asked: set[str]) -> None:
        """The first request. A client that reconnects says what it kept, and is sent only what differs; one that comes
        with nothing is answered even if there is nothing for it, because it waits for that answer to go on."""
        kept = {name: version for name, version in request.initial_versions.items() if self.subscription.covers(name)}
        self._known |= kept
        self.acked |= kept
        self._asked |= asked - {WILDCARD} - kept.keys()
        self._greet = self.subscription.wildcard and not request.initial_versions
        self.make_due = self.unmake_due = True
        kept_any = RECONNECTED if request.initial_versions else CONNECTED
        self.reasons.add(kept_any if self.subscription.wildcard or request.initial_versions else SUBSCRIPTION)

    def _additions(self, snapshot: Snapshot, urgent: list[Resource]) -> Push | None:
        existing, known = snapshot.resources, self._known
        wanted = (existing[name] for name in self.subscription.interest(existing))
        if self._asked_all:
            fresh = list(wanted)
        else:
            fresh = [each for each in wanted if known.get(each.name) != each.version or each.name in self._asked]
        names = {each.name for each in fresh}
        fresh += [each for each in urgent if each.name not in names]
        fresh = self._with_suspects(fresh, snapshot)
        absent = sorted(name for name in self._asked if name not in existing)
        if fresh or absent or self._greet:
            return Push(fresh, absent, fresh)
        return None

    def _removals(self, snapshot: Snapshot) -> Push | None:
        gone = sorted(name for name, version in self._known.items() if version and name not in snapshot.resources)
        return Push([], gone) if gone else None

    def _encode(self, push: Push) -> tuple[bytes, str]:
        return delta_prefix(self.type_url, push.resources, push.removed, self._identifier), ""

    def _on_sent(self, push: Push) -> None:
        for each in push.resources:
            # What goes out unasked ahead of its subscription is not noted, so that the subscription is answered.
            if self.subscription.covers(each.name):
                self._known[each.name] = each.version
        for name in push.removed:
            if name in self.subscription.names:
                self._known[name] = _ABSENT
            else:
                self._known.pop(name, None)
