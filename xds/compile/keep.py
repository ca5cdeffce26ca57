"""Keys for keeping what was serialised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from xds.compile.same import Same
from xds.compile.state import Routed
from xds.registry.intercept import Intercept, InterceptSpec

T = TypeVar("T")


Key = tuple[str, str, Same[InterceptSpec]]
"""Id and owner of an intercept, and what was asked for, which stays the same object while the intercept lives."""


@dataclass(frozen=True, slots=True)
class Kept(Generic[T]):
    """A value that is compared by a key; the key must hold all of it that shows in what is made from it."""

    key: object
    value: T

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kept) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)


def key(intercept: Intercept) -> Key:
    """What of an intercept shows in resources: everything but what has become of it."""
    return (intercept.id, intercept.owner, Same(intercept.spec))


def intercept_key(intercept: Intercept) -> Kept[Intercept]:
    """An intercept, whatever has become of it."""
    return Kept(key(intercept), intercept)


def routed_key(routed: Routed) -> Kept[Routed]:
    """A routed intercept, however its laptop is reached."""
    return Kept((key(routed.intercept), routed.away_since), routed)
