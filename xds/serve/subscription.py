"""What a client has asked for, of one type on one stream: names, the wildcard, or both.

Rules (xDS protocol, "How the client specifies what resources to return"): `*` subscribes to everything. A client that
has never named anything on this stream for this type means `*` by its silence; once it has named something that legacy
is over for good, and an empty list means nothing. So the wildcard is a flag of its own: an empty set of names tells
nothing about it (https://github.com/cilium/cilium/pull/45288 tripped over that).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

WILDCARD = "*"


@dataclass(slots=True)
class Subscription:
    """Names that were asked for one by one, and whether everything was. Changed in place, by requests only."""

    names: set[str] = field(default_factory=set)
    wildcard: bool = False
    has_named: bool = False
    """Whether the client ever named anything: then silence no longer means `*`."""

    def covers(self, name: str) -> bool:
        """Whether the client wants this resource."""
        return self.wildcard or name in self.names

    def interest(self, existing: Mapping[str, object]) -> Iterable[str]:
        """Those of the existing names that the client wants, in an order that depends on nothing else."""
        return existing if self.wildcard else sorted(name for name in self.names if name in existing)

    def replace(self, wanted: Iterable[str]) -> set[str]:
        """State of the world: the request lists all that is wanted. Returns what is newly asked for, `*` included."""
        names = set(wanted)
        self.has_named = self.has_named or bool(names)
        wildcard = WILDCARD in names or not self.has_named
        names.discard(WILDCARD)
        added = names - self.names
        if wildcard and not self.wildcard:
            added.add(WILDCARD)
        self.names, self.wildcard = names, wildcard
        return added

    def change(self, subscribe: Iterable[str], unsubscribe: Iterable[str], *, first: bool) -> tuple[set[str], set[str]]:
        """Delta: the request lists changes; `first` says that it is the first of this type on the stream.

        Returns two sets of names: those to be answered whatever the client may have, with the resource or with its
        absence, `*` included; and those that the client has dropped. Unsubscribing from what was never subscribed to
        is ignored ("Unsubscribing from Resources").
        """
        asked, dropped = set(subscribe), set(unsubscribe)
        if asked:
            self.has_named = True
        elif first and not dropped:
            self.wildcard = True
        wildcard_dropped = WILDCARD in dropped and WILDCARD not in asked and self.wildcard
        if WILDCARD in asked:
            self.wildcard = True
        elif wildcard_dropped:
            self.wildcard = False
        gone = (dropped - asked - {WILDCARD}) & self.names
        self.names |= asked - {WILDCARD}
        self.names -= gone
        if self.wildcard:
            # Such a client can't know whether the wildcard still covers the name, so it has to be told.
            return asked | gone, set()
        return asked, gone | ({WILDCARD} if wildcard_dropped else set())
