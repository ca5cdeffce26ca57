"""What a node is meant to have against what it has, resource by resource.

Both sides are decoded JSON. Envoy's config dump has some values that nobody sent, because it fills in defaults; they
count as not said on either side. A map has no order, so keys are sorted.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from xds.terminal.output import styled, table
from xds.terminal.words import plain

if TYPE_CHECKING:
    from xds.api.byway.manager.v1 import ComparedResource, ComparedType
    from xdsctl.resources import Resource

MOST_LINES = 20_000
"""Lines that are compared one by one, which takes quadratic time at worst; beyond, all of them are shown."""
CONTEXT = 3


class State(StrEnum):
    """Of one resource."""

    SAME = "same"
    DIFFERS = "differs"
    MISSING = "missing"
    """It should be there and is not."""
    EXTRA = "extra"
    """It is there and should not be."""


COLOURS = {State.SAME: "green", State.DIFFERS: "red", State.MISSING: "red", State.EXTRA: "yellow"}


@dataclass(frozen=True, slots=True)
class Compared:
    """One resource on both sides. Versions are empty where it isn't there, or where a side has none."""

    type: str
    name: str
    state: State
    version: str = ""
    actual_version: str = ""
    difference: tuple[str, ...] = ()
    """Lines of a unified diff, without its head."""
    unknown: bool = False
    """They differ, and what the node has isn't remembered."""

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "type": self.type,
            "name": self.name,
            "state": self.state,
            "version": self.version,
            "actual_version": self.actual_version,
            "diff": None if self.unknown else "".join(f"{line}\n" for line in self.difference),
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """A node. `against` is `acknowledged` or `envoy`; `remarks` are sentences for people."""

    node: str
    against: str
    resources: list[Compared]
    remarks: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return all(one.state is State.SAME for one in self.resources)

    def as_dict(self) -> dict[str, Any]:
        """What `-o json` and `-o yaml` print."""
        return {
            "node": self.node,
            "against": self.against,
            "same": self.same,
            "remarks": self.remarks,
            "resources": [one.as_dict() for one in self.resources],
        }


def with_acknowledged(compared: ComparedType) -> Iterator[Compared]:
    """Each resource of a type against what the node acknowledged."""
    for one in compared.resources:
        yield _acknowledged(compared.type, one)


def _acknowledged(kind: str, one: ComparedResource) -> Compared:
    from xdsctl.decode import decode

    if one.version == one.acked_version:
        return Compared(kind, one.name, State.SAME, one.version, one.acked_version)
    unknown = bool(one.acked_version) and not one.acked_body
    meant = decode(one.type_url, one.body) if one.version else None
    actual = decode(one.type_url, one.acked_body) if one.acked_version and not unknown else None
    state = State.MISSING if not one.acked_version else State.DIFFERS if one.version else State.EXTRA
    lines = () if unknown else tuple(unified(meant, actual))
    return Compared(kind, one.name, state, one.version, one.acked_version, lines, unknown=unknown)


def with_envoy(compared: ComparedType, actual: Iterable[Resource]) -> Iterator[Compared]:
    """Each resource of a type against what Envoy has."""
    from xdsctl.decode import decode

    here = {one.name: one for one in actual}
    meant = {one.name: one for one in compared.resources if one.version}
    for name in sorted(meant.keys() | here.keys()):
        wanted = said(decode(meant[name].type_url, meant[name].body)) if name in meant else None
        found = said(here[name].body) if name in here else None
        state = State.MISSING if found is None else State.EXTRA if wanted is None else State.DIFFERS
        versions = (meant[name].version if name in meant else "", here[name].version if name in here else "")
        if wanted == found:
            yield Compared(compared.type, name, State.SAME, *versions)
        else:
            yield Compared(compared.type, name, state, *versions, tuple(unified(wanted, found)))


FILLED_IN: Mapping[str, tuple[Any, ...]] = {
    "health_status": ("UNKNOWN", "HEALTHY"),
    "locality": ({},),
    "health_check_config": ({},),
    "load_balancing_weight": (0, 1),
    "policy": ({"overprovisioning_factor": 140}, {}),
}
"""What Envoy writes into endpoints by itself, see config.endpoint.v3.ClusterLoadAssignment. To Envoy an endpoint of
unknown health is a healthy one (config.core.v3.HealthStatus), and so it says.
"""


def said(body: dict[str, Any]) -> dict[str, Any]:
    """A resource without what Envoy fills in."""
    if not str(body.get("@type", "")).endswith(".ClusterLoadAssignment"):
        return body
    cleaned: dict[str, Any] = _without_defaults(body)
    return cleaned


def _without_defaults(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_defaults(each) for key, each in value.items() if each not in FILLED_IN.get(key, ())}
    return [_without_defaults(each) for each in value] if isinstance(value, list) else value


def unified(meant: object | None, actual: object | None) -> list[str]:
    """The lines of a unified diff of two JSON values, without its head; None for a side that isn't there."""
    before, after = _lines(meant), _lines(actual)
    # Most of a large resource is the same, and looking for what is not is dear.
    start = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False)))
    rest = list(zip(reversed(before[start:]), reversed(after[start:]), strict=False))
    end = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], rest))
    lead, tail = max(0, start - CONTEXT), max(0, end - CONTEXT)
    left, right = before[lead : len(before) - tail], after[lead : len(after) - tail]
    if len(left) + len(right) > MOST_LINES:
        return [*(f"-{line}" for line in left), *(f"+{line}" for line in right)]
    found = list(difflib.unified_diff(left, right, lineterm="", n=CONTEXT))[2:]
    return [_moved(line, lead) if line.startswith("@@") else line for line in found]


def _moved(head: str, lead: int) -> str:
    """The head of a hunk, with the lines counted that were left out before it."""
    if not lead:
        return head

    def moved(part: str) -> str:
        first, comma, count = part[1:].partition(",")
        return f"{part[0]}{int(first) + lead}{comma}{count}"

    _, left, right, _ = head.split(" ", 3)
    return f"@@ {moved(left)} {moved(right)} @@"


def _lines(value: object | None) -> list[str]:
    return [] if value is None else json.dumps(value, indent=2, sort_keys=True).splitlines()


SIDES = {"acknowledged": "acknowledged", "envoy": "Envoy has"}


def comparison_text(comparison: Comparison, *, wide: bool) -> str:
    """A comparison for people: what differs; wide, also what doesn't."""
    shown = [one for one in comparison.resources if wide or one.state is not State.SAME]
    text = table(["TYPE", "NAME", "STATE", "VERSION", "ACTUAL VERSION"], map(_row, shown)) if shown else ""
    for one in shown:
        if one.unknown:
            text += f"\n{one.type} {plain(one.name)}: version {one.actual_version} is not remembered; "
            text += "`xdsctl diff --live` asks Envoy\n"
        elif one.difference:
            text += f"\n{_head(one, SIDES[comparison.against])}" + "".join(map(_coloured, one.difference))
    return text + ("\n" if text else "") + _summary(comparison)


def _row(one: Compared) -> list[str]:
    return [one.type, plain(one.name), styled(one.state, fg=COLOURS[one.state]), one.version, one.actual_version]


def _head(one: Compared, side: str) -> str:
    name = f"{one.type} {plain(one.name)}"
    meant = "" if one.state is State.EXTRA else f"  {name} {one.version}"
    actual = "" if one.state is State.MISSING else f"  {name} {one.actual_version}"
    return f"--- intended{meant or ': nothing'}".rstrip() + f"\n+++ {side}{actual or ': nothing'}".rstrip(" ") + "\n"


def _coloured(line: str) -> str:
    colour = {"-": "red", "+": "green", "@": "cyan"}.get(line[:1])
    return (styled(line, fg=colour) if colour else line) + "\n"


def _summary(comparison: Comparison) -> str:
    counts = [(state, sum(one.state is state for one in comparison.resources)) for state in State]
    if comparison.same:
        count = len(comparison.resources)
        against = "it has acknowledged" if comparison.against == "acknowledged" else "Envoy has"
        return f"{comparison.node}: {against} all of {count} resources as they are meant to be\n"
    return f"{comparison.node}: {', '.join(f'{count} {state}' for state, count in counts if count)}\n"


def remarks_of(types: Sequence[ComparedType]) -> list[str]:
    """What the manager knows of each type beside its resources."""
    found = [f"{one.type}: it has never asked for any" for one in types if not one.requested and one.resources]
    return found + [f"{one.type}: it refused the newest: {plain(one.nack)}" for one in types if one.nack]
