"""What the registry should do, said as plainly as possible: lists, loops and no cleverness."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from itertools import product

from xds.registry.intercept import InterceptSpec, Kind
from xds.registry.match import Condition, Field, FieldKind, Match, Op
from xds.registry.matcher import matches
from xds.registry.request import Request
from xds.registry.workload import AppProtocol, Port, Workload, WorkloadId

KEY = "x-id"
PORTS = (Port(80, "http", AppProtocol.HTTP), Port(81, "", AppProtocol.UNKNOWN))
WORKLOADS = {
    key: Workload(key, PORTS)
    for key in (WorkloadId("dev", "deployment", "orders"), WorkloadId("dev", "deployment", "carts"))
}


def _one(kind: FieldKind, op: Op, value: str, name: str = "") -> Condition:
    return Condition(Field(kind, name), op, value)


_ANN, _BOB = (_one(FieldKind.KEY, Op.EXACT, value, KEY) for value in ("ann", "bob"))
_RED = _one(FieldKind.HEADER, Op.EXACT, "red", "x-team")
_UNDER_A = _one(FieldKind.PATH, Op.PREFIX, "/a")
_AT_B = _one(FieldKind.PATH, Op.EXACT, "/a/b")

MATCHES = [
    Match(conditions)
    for conditions in (
        (_ANN,),
        (_BOB,),
        (_ANN, _UNDER_A),
        (_one(FieldKind.HEADER, Op.EXACT, "ann", "x-user"),),
        (_one(FieldKind.HEADER, Op.EXACT, "bob", "x-user"),),
        (_one(FieldKind.HEADER, Op.REGEX, "^(ann|cat)$", "x-user"),),
        (_one(FieldKind.HEADER, Op.PREFIX, "a", "x-user"),),
        (_one(FieldKind.HEADER, Op.EXACT, "ann", "x-user"), _RED),
        (_RED,),
        (_one(FieldKind.HEADER, Op.PRESENT, "", "x-team"), _AT_B),
        (_one(FieldKind.BAGGAGE, Op.EXACT, "ann", KEY),),
        (_UNDER_A,),
        (_AT_B,),
        (_one(FieldKind.PATH, Op.REGEX, "^/c"),),
        (),
    )
]


def _requests() -> list[Request]:
    """Enough of them that any two of `MATCHES` that share a request share one of these."""
    found = []
    values = (("/", "/a", "/a/b", "/c"), (None, "ann", "bob", "cat"), (None, "red"), (None, "ann", "bob"))
    for path, user, team, key, member in product(*values, values[-1]):
        said = {"x-user": user, "x-team": team, KEY: key, "baggage": member and f"{KEY}={member}"}
        headers = tuple((name, value) for name, value in said.items() if value is not None)
        found.append(Request(path, headers=headers))
    return found


REQUESTS = _requests()


@cache
def _taken(match: Match) -> frozenset[int]:
    return frozenset(number for number, request in enumerate(REQUESTS) if matches(match, request))


@cache
def _fields(match: Match) -> frozenset[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for one in match.fields:
        # The key field is looked for in two places.
        kinds = (FieldKind.HEADER, FieldKind.BAGGAGE) if one.kind is FieldKind.KEY else (one.kind,)
        found |= {(kind.value, one.name) for kind in kinds}
    return frozenset(found)


def conflict(one: InterceptSpec, two: InterceptSpec) -> bool:
    """The table of verdicts, row by row."""
    if one.workload != two.workload or not one.numbers & two.numbers:
        return False
    if one.kind is Kind.GLOBAL and two.kind is Kind.GLOBAL:
        return True
    if Kind.GLOBAL in {one.kind, two.kind}:
        return not (one.shared or two.shared)
    if one.match.gated != two.match.gated or not _taken(one.match) & _taken(two.match):
        return False
    if not one.match.gated:
        return True
    return _fields(one.match) <= _fields(two.match) or _fields(two.match) <= _fields(one.match)


@dataclass
class Person:
    """A session."""

    user: str
    host: str
    address: str
    active: float
    epoch: int = 1
    token: str = ""
    present: bool = False


@dataclass
class Item:
    """An intercept: `state` is its disposition in one word, `by` who displaced it and when."""

    session: str
    spec: InterceptSpec
    sequence: int
    state: str = "pending"
    by: tuple[str, float] | None = None

    @property
    def routed(self) -> bool:
        return self.state in {"pending", "active"}


@dataclass
class Model:
    """Everything there is."""

    timeout: float = 600.0
    ttl: float = 24 * 3600.0
    allow_global: bool = True
    people: dict[str, Person] = field(default_factory=dict)
    items: dict[str, Item] = field(default_factory=dict)
    sequence: int = 0

    def idle(self, session: str, now: float) -> float:
        return now - self.people[session].active

    def named(self, session: str, name: str) -> str | None:
        found = [key for key, one in self.items.items() if (one.session, one.spec.name) == (session, name)]
        return found[0] if found else None

    def ghost(self, owner: str, session: str) -> bool:
        """Whether it is of the same user, on a laptop that is not there."""
        return self.people[owner].user == self.people[session].user and not self.people[owner].present

    def blocks(self, owner: str, session: str, now: float) -> bool:
        return owner == session or (self.idle(owner, now) <= self.timeout and not self.ghost(owner, session))

    def oldest_first(self) -> list[str]:
        return sorted(self.items, key=lambda key: self.items[key].sequence)

    def in_the_way(self, spec: InterceptSpec) -> list[str]:
        return [key for key in self.oldest_first() if self.items[key].routed and conflict(spec, self.items[key].spec)]

    def create(self, key: str, session: str, spec: InterceptSpec, now: float) -> str:
        """Returns "" or why not."""
        everybodys = spec.kind is Kind.GLOBAL or not spec.match.conditions
        if everybodys and not self.allow_global:
            return "not allowed"
        same = self.named(session, spec.name)
        if same and self.items[same].routed:
            return "exists"
        blockers = [other for other in self.in_the_way(spec) if self.blocks(self.items[other].session, session, now)]
        if blockers:
            return f"conflict with {blockers[0]}"
        if same:
            del self.items[same]
        for other in self.in_the_way(spec):
            self.items[other].state = "displaced"
            self.items[other].by = (key, now)
        self.sequence += 1
        self.items[key] = Item(session, spec, self.sequence)
        self.restore()
        return ""

    def restore(self) -> None:
        for key in self.oldest_first():
            one = self.items[key]
            if one.state == "displaced" and not self.in_the_way(one.spec):
                one.state, one.by = "pending", None

    def end(self, *keys: str) -> None:
        for key in keys:
            del self.items[key]
        self.restore()

    def roll_back(self, key: str, former: tuple[str, Item] | None) -> None:
        self.end(key)
        if former is not None and former[1].state == "displaced":
            self.items[former[0]] = former[1]
            self.restore()

    def of(self, session: str) -> list[str]:
        return [key for key, one in self.items.items() if one.session == session]

    def quit(self, *sessions: str) -> None:
        gone = [key for session in sessions for key in self.of(session)]
        for session in sessions:
            del self.people[session]
        self.end(*gone)

    def expired(self, now: float) -> list[str]:
        return [key for key in self.people if self.idle(key, now) > self.ttl]
