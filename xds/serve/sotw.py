"""State of the world: a request lists all that the client wants; a response of some types lists all that there is.

Clusters and listeners come as a full set, and what is missing from it is deleted; so a push that both adds and removes
goes out as two sets, first with the old ones still in it. Other types come one by one and are never deleted.
(xDS protocol, "Grouping Resources into Responses", "Deleting Resources")

A client repeats names, version and nonce with every acknowledgement, and does so again when it has thrown a resource
away and waits for it (a warming cluster): what tells the two apart is that the response is acknowledged already.
"""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b

from xds.serve.push import ASKED_AGAIN, CONNECTED, RECONNECTED, SUBSCRIPTION
from xds.serve.resource import FULL_STATE, Resource
from xds.serve.status import Ack, LastSent, Nack
from xds.serve.store import Snapshot
from xds.serve.subscription import WILDCARD
from xds.serve.watch import Push, Watch
from xds.serve.wire import SotwRequest, sotw_prefix


class SotwWatch(Watch[SotwRequest]):
    """One type on one state-of-the-world stream."""

    def __init__(self, type_url: str, identifier: str) -> None:
        super().__init__(type_url, identifier)
        self._known: dict[str, Resource] = {}
        self._full = type_url in FULL_STATE

    def on_request(self, request: SotwRequest, at: float) -> Ack | Nack | None:
        """Take in a request. One with a stale nonce says nothing of what the client wants: the same names come again
        with the acknowledgement of what it has not seen yet. An empty nonce is never stale: such requests come in
        bursts before the first response arrives, and the latest names win."""
        first, last = not self.started, self.last_sent
        self.started = True
        verdict = self._verdict(request.nonce, request.error, at)
        if isinstance(verdict, Nack) and self._full and not self.make_due:
            # The set that removes would hold what was just refused.
            self.unmake_due = False
        if not first and request.nonce and last is not None and request.nonce != last.nonce:
            return verdict
        before = (self.subscription.names, self.subscription.wildcard)
        added = self.subscription.replace(request.names)
        if before != (self.subscription.names, self.subscription.wildcard):
            self._drop(self._unwanted(self._known))
        if added or first:
            self._asked |= added - {WILDCARD}
            self._greet = self._greet or self._full
            self.make_due = True
            self.unmake_due = self.unmake_due or first
            if not first:
                self.reasons.add(SUBSCRIPTION)
            elif request.version_info:
                self.reasons.add(RECONNECTED)
            else:
                self.reasons.add(CONNECTED if self.subscription.wildcard else SUBSCRIPTION)
        elif (
            last is not None
            and self._is_repeated(request, verdict)
            and before == (self.subscription.names, self.subscription.wildcard)
        ):
            self._asked |= (self.subscription.names | self._known.keys()) - self._rejected.keys()
            self.make_due = True
            self.reasons.add(ASKED_AGAIN)
        return verdict

    def _is_repeated(self, request: SotwRequest, verdict: Ack | Nack | None) -> bool:
        """Whether the client asks again for what it has acknowledged: it waits for it. Full sets are exempt: for a
        client nothing depends on having one of them twice."""
        return bool(request.nonce) and verdict is None and request.error is None and not self._full

    def _drop(self, names: Collection[str]) -> None:
        for name in names:
            self._known.pop(name, None)
        self._asked = {name for name in self._asked if self.subscription.covers(name)}
        self._forget(names)

    def _additions(self, snapshot: Snapshot, urgent: list[Resource]) -> Push | None:
        existing, known = snapshot.resources, self._known
        wanted = [existing[name] for name in self.subscription.interest(existing)]
        fresh = [each for each in wanted if each.name not in known or known[each.name].version != each.version]
        if self._full:
            if not fresh and not self._greet:
                return None
            names = {each.name for each in wanted}
            old = (each for name, each in known.items() if name not in names)
            # What was refused and never accepted is in use nowhere.
            used = (each for each in old if each.name not in self._rejected or each.name in self.acked)
            return Push([*wanted, *used], fresh=fresh)
        names = {each.name for each in fresh}
        asked = (existing[name] for name in sorted(self._asked) if name in existing)
        for each in (*asked, *urgent):
            if each.name not in names:
                names.add(each.name)
                fresh.append(each)
        fresh = self._with_suspects(fresh, snapshot)
        return Push(fresh, fresh=fresh) if fresh else None

    def _removals(self, snapshot: Snapshot) -> Push | None:
        gone = [name for name in self._known if name not in snapshot.resources]
        if not gone:
            return None
        if self._full:
            return Push([snapshot.resources[name] for name in self.subscription.interest(snapshot.resources)])
        self._drop(gone)
        return None

    def _encode(self, push: Push) -> tuple[bytes, str]:
        digest = blake2b(digest_size=8)
        for each in sorted(push.resources, key=lambda resource: resource.name):
            digest.update(f"{len(each.name)}:{each.name}{each.version}".encode())
        version = digest.hexdigest()
        return sotw_prefix(self.type_url, version, push.resources, self._identifier), version

    def _on_sent(self, push: Push) -> None:
        if self._full:
            self._known.clear()
        for each in push.resources:
            # What goes out unasked ahead of its subscription is not noted, so that the subscription is answered.
            if self.subscription.covers(each.name):
                self._known[each.name] = each

    def _misses(self, name: str) -> bool:
        # What is gone meanwhile was dropped in silence: no later response would mention it.
        return super()._misses(name) and name in self._known

    def _note_acked(self, sent: LastSent) -> None:
        if self._full:
            self.acked.clear()
            self._rejected.clear()
        super()._note_acked(sent)
