"""What a rule is: a name, the section of the protocol that it rests on, and a function that tries it.

A rule is tried by one transport (delta or state of the world, aggregated or per type) and for each type of resource
that it is about. The function returns what it saw, or raises `Broken` where the server breaks the rule, or `Unjudged`
where nothing can be said.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Final

from xds.serve.status import Variant

if TYPE_CHECKING:
    from xdsctl.conform.bench import Bench

PAGE: Final = "https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol"
"""The page that the sections are of."""


class Verdict(StrEnum):
    """What came of a rule."""

    PASS = "pass"  # noqa: S105  no secret
    FAIL = "fail"
    WARN = "warn"
    """Broken, but the protocol only advises it, or leaves it to the server."""
    UNJUDGED = "not judged"


class BrokenError(Exception):
    """The server breaks the rule; says how."""


class UnjudgedError(Exception):
    """Nothing can be said of the rule; says why."""


class On(Enum):
    """For which types of resource a rule is tried."""

    EACH = "a resource"
    """Each that there is something of."""
    PAIR = "two resources of one type"
    FULL = "a cluster or a listener"
    """Those that have a wildcard, and in state of the world full sets."""
    FULL_PAIR = "two clusters or two listeners"
    SERVER = "nothing"
    """None in particular; the function is given an empty type."""


@dataclass(frozen=True, slots=True)
class Transport:
    """How to speak to the server."""

    variant: Variant
    per_type: bool

    def __str__(self) -> str:
        return f"{self.variant.value}{' per type' if self.per_type else ''}"


TRANSPORTS: Final = tuple(Transport(variant, per_type) for per_type in (False, True) for variant in Variant)

Try = Callable[["Bench", str], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Rule:
    """`advised`: the protocol allows otherwise. `changes`: the server's state has to change for it."""

    name: str
    says: str
    section: str
    on: On
    transports: tuple[Transport, ...]
    advised: bool
    changes: bool
    attempt: Try


RULES: Final[dict[str, Rule]] = {}
"""All of them by name, in order."""


def rule(
    name: str,
    says: str,
    *,
    section: str,
    on: On,
    variant: Variant | None = None,
    aggregated: bool = False,
    advised: bool = False,
    changes: bool = False,
) -> Callable[[Try], Try]:
    """Make a function a rule; `variant` and `aggregated` say by which transports alone it can be tried."""
    transports = tuple(
        each for each in TRANSPORTS if variant in {None, each.variant} and not (aggregated and each.per_type)
    )

    def register(attempt: Try) -> Try:
        RULES[name] = Rule(name, says, section, on, transports, advised, changes, attempt)
        return attempt

    return register
