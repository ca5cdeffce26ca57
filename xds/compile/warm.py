"""The first message of each class costs a hundred times what the next ones do: that is better behind us."""

from __future__ import annotations

from xds.compile.state import Reach, Routed, WorkloadState
from xds.compile.workload import compile_workload
from xds.registry.intercept import Intercept, InterceptSpec, PortMapping, Target
from xds.registry.match import Condition, Field, FieldKind, Match, Op
from xds.registry.workload import Address, AppProtocol, Instance, Port, Workload, WorkloadId


def warm_up() -> None:
    """Compile a workload that has everything, and forget it."""
    here = Address("127.0.0.1", 1)
    ports = tuple(Port(number, "", protocol) for number, protocol in enumerate(AppProtocol, 1))
    numbers = {port.number: here for port in ports}
    workload = Workload(WorkloadId("-", "-", "-"), ports, {}, {"-": Instance("-", numbers, numbers)})
    match = Match.of(
        [
            Condition(Field(FieldKind.PATH), Op.PREFIX, "/"),
            Condition(Field(FieldKind.KEY, "key"), Op.EXACT, "value"),
            Condition(Field(FieldKind.HEADER, "header"), Op.REGEX, "value"),
            Condition(Field(FieldKind.QUERY, "query"), Op.EXACT, "value"),
        ]
    )
    spec = InterceptSpec("-", workload.id, (PortMapping(1, Target("localhost", 1)),), match)
    routed = Routed(Intercept("-", "-", "-", spec, 1), {1: Reach(here, up=True)})
    compile_workload(WorkloadState(workload, (routed,)))
