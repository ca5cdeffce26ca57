"""Which resources to ask a server for, and when all that was asked for is there.

No I/O. Routes and endpoints can't be asked for without naming them, so where the user names none they are those that
the listeners and clusters of the same node name. What a server does not have it may not say: state of the world has no
word for it. So there is a difference between *answered* and *touched*: after a while of silence what was touched has to
do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from xds.serve.client import Client, Response
from xds.serve.client.follow import NAMED, References
from xds.serve.resource import ENDPOINT, FULL_STATE, ROUTE
from xds.serve.status import Variant

WILDCARD = ("*",)
NAMED_BY = {named: type_url for type_url, (named, _) in NAMED.items()}
"""By which type's resources routes and endpoints are named."""
Ask = tuple[str, tuple[str, ...]]
"""A type URL, and names to ask for."""


@dataclass(slots=True)
class Progress:
    """How far one type is. `names` are None while it isn't known which to ask for."""

    names: tuple[str, ...] | None
    shown: bool
    responses: int = 0
    version: str = ""
    control_plane: str = ""
    problems: list[str] = field(default_factory=list)


class Collector:
    """Collects types from one server. `shown` types are those the user wants; others are needed to find names."""

    def __init__(self, variant: Variant, type_urls: Sequence[str], names: Sequence[str] = ()) -> None:
        self._variant = variant
        self.types: dict[str, Progress] = {}
        for type_url in type_urls:
            follows = type_url in {ENDPOINT, ROUTE} and not names
            self.types[type_url] = Progress(None if follows else tuple(names) or WILDCARD, shown=True)
            if follows and NAMED_BY[type_url] not in type_urls:
                self.types.setdefault(NAMED_BY[type_url], Progress(WILDCARD, shown=False))
        self._references = {
            type_url: References(find) for type_url, (named, find) in NAMED.items() if self._waits(named)
        }

    def _waits(self, type_url: str) -> bool:
        return type_url in self.types and self.types[type_url].names is None

    def first(self) -> list[Ask]:
        """What to ask for at first."""
        return [(type_url, one.names) for type_url, one in self.types.items() if one.names is not None]

    def take(self, client: Client, response: Response) -> tuple[bytes, list[Ask], list[Ask]]:
        """Take in a response: the acknowledgement or refusal to send, what else to ask for, and what no longer."""
        # A server may send endpoints behind a cluster without being asked.
        one = self.types.setdefault(response.type_url, Progress((), shown=False))
        one.responses += 1
        one.version, one.control_plane = response.version, response.control_plane
        problem = response.problem
        asks: list[Ask] = []
        drops: list[Ask] = []
        if not problem and response.type_url in self._references:
            try:
                asks, drops = self._follow(response)
            except ValueError as error:
                problem = str(error)
        if problem:
            one.problems.append(problem)
            return client.refuse(response, problem), [], []
        return client.acknowledge(response), asks, drops

    def _follow(self, response: Response) -> tuple[list[Ask], list[Ask]]:
        references = self._references[response.type_url]
        new, gone = references.take(response)
        named, _ = NAMED[response.type_url]
        self.types[named].names = tuple(references.names)
        return [(named, tuple(new))] if new else [], [(named, tuple(gone))] if gone else []

    def answered(self, type_url: str, client: Client) -> bool:
        """Whether all that was asked for of a type has come, or is known not to exist."""
        one = self.types[type_url]
        if one.names is None:
            return False
        if not one.names:
            return True
        if one.names == WILDCARD or (self._variant is Variant.SOTW and type_url in FULL_STATE):
            return one.responses > 0
        return set(one.names) <= {*client.held(type_url), *client.absent(type_url)}

    def touched(self, type_url: str) -> bool:
        """Whether the server has said anything of a type, or nothing need be said."""
        one = self.types[type_url]
        return one.responses > 0 or one.names == ()

    def missing(self, type_url: str, client: Client) -> list[str]:
        """The names that were asked for and are not there."""
        names = self.types[type_url].names or ()
        return [name for name in names if name != "*" and name not in client.held(type_url)]

    @property
    def shown(self) -> Iterator[tuple[str, Progress]]:
        """The types that the user wants."""
        return ((type_url, one) for type_url, one in self.types.items() if one.shown)
