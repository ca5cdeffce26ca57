"""Which of several intercepts gets a request that matches more than one: a total order.

The same order stands in the routes, in `explain` and in the documentation: personal intercepts before whole-port ones;
then conditions on headers, baggage or the key field before none; then the path (exact, prefix, regex, none); then the
longer prefix; then more conditions; then the older one by sequence number; then the id.
"""

from __future__ import annotations

from typing import Final

from xds.registry.intercept import Intercept, InterceptSpec, Kind
from xds.registry.match import FieldKind, Match, Op

_PATH_ORDER: Final = {Op.EXACT: 0, Op.PREFIX: 1, Op.REGEX: 2, Op.PRESENT: 3}

MatchKey = tuple[int, int, int, int]
SortKey = tuple[int, int, int, int, int, int, str]


def match_key(match: Match) -> MatchKey:
    """The part of the order that the conditions decide; smaller is asked first."""
    path = match.get(FieldKind.PATH)
    prefix = len(path.value.encode()) if path is not None and path.op is Op.PREFIX else 0
    kind = 3 if path is None else _PATH_ORDER[path.op]
    return (0 if match.gated else 1, kind, -prefix, -len(match.conditions))


def sort_key(spec: InterceptSpec, sequence: int, id: str) -> SortKey:  # noqa: A002
    """The place of an intercept among those of a port; smaller is asked first.

    `sequence` orders creation. Total as long as ids are unique.
    """
    whole_port = 0 if spec.kind in {Kind.PERSONAL, Kind.MIRROR} else 1
    return (whole_port, *match_key(spec.match), sequence, id)


def in_order(intercepts: list[Intercept]) -> list[Intercept]:
    """The intercepts as they are asked."""
    return sorted(intercepts, key=lambda intercept: sort_key(intercept.spec, intercept.sequence, intercept.id))
