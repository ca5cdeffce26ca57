"""People at their laptops, for tests that tell a story: a registry, a clock, and a word for each command."""

from __future__ import annotations

from xds.registry import intercepts, sessions
from xds.registry.change import Change, Event, EventKind
from xds.registry.comparison import Comparison
from xds.registry.intercept import Disposition, Intercept, InterceptSpec, Kind, PortMapping, Target
from xds.registry.match import Condition, Field, FieldKind, Match, Op
from xds.registry.session import Session
from xds.registry.settings import Settings
from xds.registry.state import State
from xds.registry.workload import AppProtocol, Port, Workload, WorkloadId

ORDERS = WorkloadId("dev", "deployment", "orders")
CARTS = WorkloadId("dev", "deployment", "carts")
PORTS = (
    Port(80, "http", AppProtocol.HTTP),
    Port(81, "admin", AppProtocol.HTTP),
    Port(82, "", AppProtocol.UNKNOWN),
    Port(53, "dns", AppProtocol.UDP),
    Port(443, "https", AppProtocol.TLS),
    Port(5432, "sql", AppProtocol.TCP),
)


def header(name: str, value: str, op: Op = Op.EXACT) -> Condition:
    return Condition(Field(FieldKind.HEADER, name), op, value)


def path(value: str, op: Op = Op.PREFIX) -> Condition:
    return Condition(Field(FieldKind.PATH), op, value)


def _ports(numbers: tuple[int, ...]) -> tuple[PortMapping, ...]:
    return tuple(PortMapping(number, Target("localhost", 3000 + number)) for number in numbers)


def personal(
    *conditions: Condition, name: str = "orders", ports: tuple[int, ...] = (80,), workload: WorkloadId = ORDERS
) -> InterceptSpec:
    return InterceptSpec(name, workload, _ports(ports), Match(conditions))


def whole(
    *, name: str = "orders", ports: tuple[int, ...] = (80,), shared: bool = False, kind: Kind = Kind.GLOBAL
) -> InterceptSpec:
    return InterceptSpec(name, ORDERS, _ports(ports), Match(), kind, shared)


class Office:
    """Commands take effect at once. Sessions are called `s-USER`."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.state = State()
        self.state.apply(Change(workloads={key: Workload(key, PORTS) for key in (ORDERS, CARTS)}))
        self.now = 1000.0
        self.events: list[Event] = []
        self._number = 0

    def do(self, change: Change) -> Change:
        self.state.apply(change)
        self.events += change.events
        return change

    def connect(self, user: str, *, host: str = "lap", key: str = "", present: bool = True) -> str:
        name = key or f"s-{user}"
        session = Session(name, user, host, f"hash-{user}", "10.0.0.1", last_activity=self.now, present=present)
        self.do(sessions.connect(self.state, session))
        return session.id

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.do(sessions.expire(self.state, self.settings, self.now))

    def active(self, *users: str) -> None:
        for user in users:
            self.do(sessions.activity(self.state, f"s-{user}", self.now))

    def create(self, user: str, spec: InterceptSpec, *, session: str = "", comparison: Comparison | None = None) -> str:
        """As the service does: the call is something that its user does."""
        key = session or f"s-{user}"
        self.do(sessions.activity(self.state, key, self.now))
        self._number += 1
        change, _ = intercepts.create(
            self.state,
            self.settings,
            key,
            spec,
            new_id=f"i-{user}-{self._number}",
            now=self.now,
            comparison=comparison,
        )
        self.do(change)
        return f"i-{user}-{self._number}"

    def leave(self, key: str) -> None:
        self.do(intercepts.end(self.state, key, by="x", text="left"))

    def quit(self, user: str) -> None:
        self.do(sessions.end(self.state, f"s-{user}", by=user, text="quit"))

    def cancel(self, key: str, former: Intercept | None = None) -> None:
        self.do(intercepts.roll_back(self.state, key, former=former, by="x", text="cancelled"))

    def routed(self) -> list[str]:
        return sorted(key for key, one in self.state.intercepts.items() if one.disposition.routed)

    def displaced(self) -> list[str]:
        return sorted(key for key, one in self.state.intercepts.items() if one.disposition is Disposition.DISPLACED)

    def told(self, *kinds: EventKind) -> list[tuple[EventKind, str]]:
        return [(one.kind, one.session.user) for one in self.events if one.kind in kinds]
