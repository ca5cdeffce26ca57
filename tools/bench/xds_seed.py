"""What the servers are given: resources that Byway's own registry and compiler make, and what changes in them.

    seed = the resources of a workload with so many intercepts, and for each intercept that comes, what it changes

Byway itself starts from the same intercepts, and makes these resources while it is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import process_time

from bench.xds_file import Seed
from xds.compile import names
from xds.manager.clock import Clock
from xds.manager.core import Manager
from xds.registry import intercepts
from xds.registry.change import Change
from xds.registry.intercept import Disposition, Intercept, InterceptSpec, PortMapping, Target
from xds.registry.match import Condition, Field, FieldKind, Match, Op
from xds.registry.session import Session
from xds.registry.settings import Settings
from xds.registry.workload import Address, AppProtocol, Instance, Port, Workload, WorkloadId
from xds.serve.store import Key

SESSION = "s-1"
PORT = 8080
CHANGES = 24
"""Changes in a seed; servers that only replay them start again from the first."""


class Forgetful:
    """Keeps nothing: what a disk takes is measured elsewhere."""

    def save(self, change: Change, *, now: float) -> None:
        """Nothing is done."""


@dataclass(slots=True)
class Spent:
    """Seconds of CPU in the registry, and in all that followed from it before the event loop went on."""

    registry: float
    commit: float


def workload_id(group: int) -> WorkloadId:
    """The workload of a group."""
    return WorkloadId("bench", "deployment", f"w{group}")


def manager(*, workloads: int, instances: int, existing: int) -> Manager:
    """A manager whose workloads have so many instances, and so many intercepts each."""
    made = Manager(settings=Settings(), clock=Clock(), keeper=Forgetful(), audit=lambda *_: None)
    now = made.clock.now()
    session = Session(SESSION, "ann", "laptop", "", "127.0.0.1", last_activity=now, present=True, present_since=now)
    all_workloads = {one.id: one for one in (_workload(number, instances) for number in range(workloads))}
    all_intercepts = {
        one.id: one for one in (_intercept(group, k, existing) for group in range(workloads) for k in range(existing))
    }
    made.load(
        Change(
            workloads=all_workloads,
            sessions={SESSION: session},
            intercepts=all_intercepts,
            sequence=workloads * existing,
            dirty=frozenset(all_workloads),
        )
    )
    return made


def add(to: Manager, *, group: int, number: int) -> Spent:
    """One intercept more, from the check to the streams that are woken."""
    began = process_time()
    spec = _spec(group, number)
    change, _ = intercepts.create(
        to.state, to.settings, SESSION, spec, new_id=f"i-{group}-{number}", now=to.clock.now()
    )
    checked = process_time()
    to.commit(change)
    return Spent(checked - began, process_time() - checked)


def seed(*, groups: int, existing: int) -> Seed:
    """The resources of a workload with so many intercepts, for each of so many groups."""
    made = manager(workloads=1, instances=1, existing=existing)
    out = Seed(groups, _content(made))
    before = out.state
    for number in range(CHANGES):
        add(made, group=0, number=existing + number)
        after = _content(made)
        out.changes.append({key: body for key, body in after.items() if before.get(key) != body})
        before = after
    return out


def _content(made: Manager) -> dict[Key, bytes]:
    key = workload_id(0)
    shared, own = made.store.contents(group=str(key)), made.store.contents(node=names.node(key, "i0"))
    return {one: resource.body for one, resource in (shared | own).items()}


def _workload(number: int, instances: int) -> Workload:
    here = {f"i{k}": _instance(k) for k in range(instances)}
    return Workload(workload_id(number), (Port(PORT, "http", AppProtocol.HTTP),), {}, here)


def _instance(number: int) -> Instance:
    host = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    return Instance(f"i{number}", {PORT: Address(host, 15006)}, {PORT: Address(host, PORT)})


def _intercept(group: int, number: int, existing: int) -> Intercept:
    return Intercept(
        f"i-{group}-{number}",
        SESSION,
        "ann@laptop",
        _spec(group, number),
        sequence=group * existing + number + 1,
        disposition=Disposition.ACTIVE,
    )


def _spec(group: int, number: int) -> InterceptSpec:
    who = Condition(Field(FieldKind.KEY, "x-telepresence-id"), Op.EXACT, f"user-{number}")
    mapping = PortMapping(PORT, Target("localhost", 20000 + number % 40000))
    return InterceptSpec(f"{group}-{number}", workload_id(group), (mapping,), Match.of([who]))
