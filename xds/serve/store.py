"""What is to be served: the newest resources of every group and node, and who wants to hear when they change.

A *group* is a set of clients that share resources (all instances of a workload); a *node* is one client. A client sees
the resources of its group and those of its node, and where both have a resource of one type and name, the node's.

Each change makes a new immutable `Snapshot` of each type that it touches and gives it the next
*revision*; readers hold whichever snapshot they read. Streams are told which types of theirs changed and nothing else,
so a change costs what the touched group costs, however many others there are.

Everything here belongs to one thread, the event loop's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from xds.serve.resource import SECRET, Resource

if TYPE_CHECKING:
    from xds.serve.push import Contents

Key = tuple[str, str]
"""Type URL and name of a resource."""
Changes = Mapping[str, Mapping[Key, Resource | None]]
"""Per group or node: what to set, or None to remove."""
Watcher = Callable[[frozenset[str], int, str], None]
"""Called with the type URLs that changed, the revision of the change, and why it was made."""


@dataclass(frozen=True, slots=True, order=True)
class View:
    """What a client may see: the resources of this group and those of this node."""

    group: str
    node: str

    def __str__(self) -> str:
        return f"{self.node} of {self.group}"


@dataclass(frozen=True, slots=True)
class Encoded:
    """A serialised response but for its nonce, and what is in it."""

    prefix: bytes
    contents: Contents


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """All resources of one type as a client sees them, in order of name, and the revision of their last change.

    `encoded` is where streams keep serialised responses made from this snapshot, for each other: it lives and dies
    with the snapshot, so it needs no invalidation.
    """

    resources: Mapping[str, Resource]
    revision: int
    encoded: dict[object, Encoded] = field(default_factory=dict, repr=False)
    _merged: dict[str, tuple[Snapshot, Snapshot]] = field(default_factory=dict, repr=False)

    def over(self, base: Snapshot) -> Snapshot:
        """This snapshot's resources, and those of `base` that it has not."""
        if not base.resources and base.revision <= self.revision:
            return self
        known = self._merged.get("base")
        if known is not None and known[0] is base:
            return known[1]
        both = {**base.resources, **self.resources}
        merged = Snapshot(dict(sorted(both.items())), max(base.revision, self.revision))
        self._merged["base"] = (base, merged)
        return merged


_LONGEST_REASON = 300
"""Characters of a reason that are kept."""

EMPTY = Snapshot(MappingProxyType({}), 0)


class Store:
    """The newest state. Streams are refused until `complete()` has been called once."""

    def __init__(self) -> None:
        self._past = Past()
        self._groups = _Shelf(self._past)
        self._nodes = _Shelf(self._past)
        self._revision = 0
        self._complete = False

    def __repr__(self) -> str:
        state = "complete" if self._complete else "incomplete"
        return f"<Store {state} revision={self._revision} groups={len(self._groups)} nodes={len(self._nodes)}>"

    @property
    def revision(self) -> int:
        """The number of changes applied so far; every change that changes anything adds one."""
        return self._revision

    @property
    def is_complete(self) -> bool:
        """Whether the first state is there."""
        return self._complete

    def complete(self) -> None:
        """Say that the first state is complete: before that a reconnecting client would lose what it has."""
        self._complete = True

    def update(
        self, *, group: Changes = MappingProxyType({}), nodes: Changes = MappingProxyType({}), reason: str = ""
    ) -> int:
        """Apply changes as one step and return the revision. `reason` is for people who look at what was pushed.

        None removes; content that is there already is no change, and if nothing changes the revision stays. Raises
        ValueError, and changes nothing, if a resource is filed under another key than its own.
        """
        for owner, changes in (*group.items(), *nodes.items()):
            for key, resource in changes.items():
                if resource is not None and key != (resource.type_url, resource.name):
                    raise ValueError(f"{owner}: {resource!r} is filed under {key}; the key must be its type and name")
        revision = self._revision + 1
        touched = self._groups.apply(group, revision) + self._nodes.apply(nodes, revision)
        if touched:
            self._revision = revision
            for watcher, types in _by_watcher(touched):
                watcher(types, revision, reason[:_LONGEST_REASON])
        return self._revision

    def replace(
        self,
        *,
        group: Mapping[str, Iterable[Resource]] = MappingProxyType({}),
        nodes: Mapping[str, Iterable[Resource]] = MappingProxyType({}),
        reason: str = "",
    ) -> int:
        """Like `update`, with the whole content of each group and node named: what is not listed is removed."""
        return self.update(group=self._groups.difference(group), nodes=self._nodes.difference(nodes), reason=reason)

    def contents(self, *, group: str | None = None, node: str | None = None) -> dict[Key, Resource]:
        """The own resources of a group or of a node."""
        shelf, name = (self._groups, group) if node is None else (self._nodes, node)
        return shelf.contents(name or "")

    def past(self, type_url: str, name: str, version: str) -> Resource | None:
        """A resource as it was before it was changed or removed, if that was not long ago."""
        return self._past.find(type_url, name, version)

    def snapshot(self, view: View, type_url: str) -> Snapshot:
        """What a client sees of one type."""
        group = self._groups.snapshot(view.group, type_url)
        node = self._nodes.snapshot(view.node, type_url)
        return node.over(group) if node is not EMPTY else group

    def types(self, view: View) -> set[str]:
        """The types of which a client sees at least one resource."""
        return self._groups.types(view.group) | self._nodes.types(view.node)

    def watch(self, view: View, watcher: Watcher) -> Callable[[], None]:
        """Call `watcher` at every change that this client sees, until the returned function is called."""
        self._groups.watch(view.group, watcher)
        self._nodes.watch(view.node, watcher)

        def stop() -> None:
            self._groups.unwatch(view.group, watcher)
            self._nodes.unwatch(view.node, watcher)

        return stop

    @property
    def watchers(self) -> int:
        """How many watches are open: as many as streams."""
        return self._groups.watchers


class Past:
    """Resources that were changed or removed, the last `most` bytes of them: a client that is behind has them still."""

    def __init__(self, most: int = 16 * 1024 * 1024) -> None:
        self._most = most
        self._size = 0
        self._kept: OrderedDict[tuple[str, str, str], Resource] = OrderedDict()

    def note(self, resource: Resource) -> None:
        """This one is in force no longer."""
        key = (resource.type_url, resource.name, resource.version)
        if key in self._kept:
            self._kept.move_to_end(key)
            return
        self._kept[key] = resource
        self._size += _OVERHEAD + len(resource.body)
        while self._size > self._most:
            _, oldest = self._kept.popitem(last=False)
            self._size -= _OVERHEAD + len(oldest.body)

    def find(self, type_url: str, name: str, version: str) -> Resource | None:
        """A resource in that version, if it is remembered."""
        return self._kept.get((type_url, name, version))


_OVERHEAD = 500
"""Bytes that a resource takes beside its body."""

_Touched = list[tuple[list[Watcher], frozenset[str]]]


def _by_watcher(touched: _Touched) -> list[tuple[Watcher, frozenset[str]]]:
    """Each watcher once, with all the types that changed for it."""
    merged: dict[Watcher, frozenset[str]] = {}
    for watchers, types in touched:
        for watcher in watchers:
            merged[watcher] = merged.get(watcher, frozenset()) | types
    return list(merged.items())


class _Shelf:
    """The snapshots of every owner of one kind (group or node), and the watchers of each."""

    def __init__(self, past: Past) -> None:
        self._past = past
        self._snapshots: dict[str, dict[str, Snapshot]] = {}
        self._watchers: dict[str, dict[Watcher, None]] = {}

    def __len__(self) -> int:
        return len(self._snapshots)

    @property
    def watchers(self) -> int:
        return sum(len(each) for each in self._watchers.values())

    def snapshot(self, owner: str, type_url: str) -> Snapshot:
        return self._snapshots.get(owner, {}).get(type_url, EMPTY)

    def types(self, owner: str) -> set[str]:
        return {type_url for type_url, snapshot in self._snapshots.get(owner, {}).items() if snapshot.resources}

    def contents(self, owner: str) -> dict[Key, Resource]:
        snapshots = self._snapshots.get(owner, {})
        return {(each.type_url, each.name): each for held in snapshots.values() for each in held.resources.values()}

    def difference(self, wanted: Mapping[str, Iterable[Resource]]) -> Changes:
        """The changes that make each owner's content equal to what is wanted."""
        changes: dict[str, dict[Key, Resource | None]] = {}
        for owner, resources in wanted.items():
            gone: dict[Key, Resource | None] = dict.fromkeys(self.contents(owner))
            changes[owner] = gone | {(each.type_url, each.name): each for each in resources}
        return changes

    def apply(self, changes: Changes, revision: int) -> _Touched:
        touched: _Touched = []
        for owner, wanted in changes.items():
            types = self._apply_to(owner, wanted, revision)
            if types:
                touched.append((list(self._watchers.get(owner, ())), types))
        return touched

    def _apply_to(self, owner: str, wanted: Mapping[Key, Resource | None], revision: int) -> frozenset[str]:
        fresh: dict[str, dict[str, Resource]] = {}
        for (type_url, name), resource in wanted.items():
            old = self.snapshot(owner, type_url).resources
            if (old[name].version if name in old else None) == (resource.version if resource else None):
                continue
            if name in old and type_url != SECRET:
                # A key that is done with is to be nowhere.
                self._past.note(old[name])
            content = fresh.setdefault(type_url, dict(old))
            if resource is None:
                del content[name]
            else:
                content[name] = resource
        if fresh:
            snapshots = self._snapshots.setdefault(owner, {})
            snapshots |= {type_url: Snapshot(dict(sorted(new.items())), revision) for type_url, new in fresh.items()}
            if not any(snapshot.resources for snapshot in snapshots.values()):
                del self._snapshots[owner]
        return frozenset(fresh)

    def watch(self, owner: str, watcher: Watcher) -> None:
        self._watchers.setdefault(owner, {})[watcher] = None

    def unwatch(self, owner: str, watcher: Watcher) -> None:
        held = self._watchers.get(owner, {})
        held.pop(watcher, None)
        if not held:
            self._watchers.pop(owner, None)
