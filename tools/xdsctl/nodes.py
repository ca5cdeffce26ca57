"""Which node a user means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from xds.terminal.failure import FailureError, usage

if TYPE_CHECKING:
    from xds.api.byway.manager.v1 import ListSidecarsReply

SHOWN = 8
"""Names in one message."""


def split(node: str) -> tuple[str, str]:
    """Workload and instance of NAMESPACE/KIND/NAME/INSTANCE."""
    workload, _, instance = node.rpartition("/")
    return workload, instance


def all_nodes(reply: ListSidecarsReply) -> list[str]:
    """Every node that the manager knows, connected or not, sorted."""
    return sorted({*(one.node for one in reply.sidecars), *reply.absent})


def matching(nodes: Iterable[str], text: str) -> list[str]:
    """The nodes that a text may stand for, sorted: its whole id; else an instance's id; else a part of an id."""
    known = sorted(set(nodes))
    for fits in (
        lambda node: node == text,
        lambda node: split(node)[1] == text,
        lambda node: f"/{text}/" in f"/{node}/",
        lambda node: text in node,
    ):
        if found := [node for node in known if fits(node)]:
            return found
    return []


def resolve(nodes: Sequence[str], text: str) -> str:
    """The one node that a text stands for. Raises FailureError."""
    found = matching(nodes, text)
    if not found:
        raise unknown(nodes, text)
    if len(found) > 1:
        raise usage(f"NODE: {text!r} may be any of {listed(found)}", hint="name one of them")
    return found[0]


def unknown(nodes: Sequence[str], text: str) -> FailureError:
    """No node is meant by that."""
    known = f"there are {listed(sorted(nodes))}" if nodes else "the manager knows no instances"
    return FailureError(f"there is no node {text!r}", hint=known, code="not_found")


def listed(names: Sequence[str]) -> str:
    """Names for a message."""
    shown = ", ".join(names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
