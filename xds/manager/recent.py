"""What the manager remembers for whoever asks “why”: who asks the sidecars at the moment, and which intercepts ended.

Neither is stored: after a restart nobody asks any more, so no twin is left behind.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from xds.registry.change import Event, EventKind
from xds.registry.intercept import Intercept
from xds.registry.workload import WorkloadId

AT_ONCE: Final = 8
"""How many may ask the sidecars of one workload at a time: each has a twin of every route."""
KEPT: Final = 500


class TooManyError(Exception):
    """Others ask the same sidecars already."""


@dataclass(slots=True)
class Askers:
    """The tokens of those who ask which route a request takes, by workload and port."""

    _tokens: defaultdict[WorkloadId, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, workload: WorkloadId, port: int) -> str:
        """A new token. Raises TooManyError."""
        if len(self._tokens.get(workload, ())) >= AT_ONCE:
            raise TooManyError(f"{AT_ONCE} others ask the sidecars of {workload} already; try again in a moment")
        token = secrets.token_hex(16)
        self._tokens[workload][token] = port
        return token

    def drop(self, workload: WorkloadId, token: str) -> bool:
        """Forget a token; whether it was there."""
        tokens = self._tokens.get(workload, {})
        known = tokens.pop(token, None) is not None
        if not tokens:
            self._tokens.pop(workload, None)
        return known

    def drop_all(self, workload: WorkloadId) -> bool:
        """Forget every token of a workload; whether there was one."""
        return bool(self._tokens.pop(workload, None))

    def knows(self, workload: WorkloadId, token: str) -> bool:
        """Whether a token still counts."""
        return token in self._tokens.get(workload, {})

    def of(self, workload: WorkloadId) -> Mapping[int, frozenset[str]]:
        """The tokens of a workload by port."""
        tokens = self._tokens.get(workload, {})
        return {port: frozenset(one for one, at in tokens.items() if at == port) for port in set(tokens.values())}


@dataclass(frozen=True, slots=True)
class Ended:
    """An intercept that is no more: by whom, why, and when (registry clock, seconds)."""

    intercept: Intercept
    by: str
    text: str
    at: float


@dataclass(slots=True)
class Obituaries:
    """The intercepts that ended last, by id."""

    _ended: OrderedDict[str, Ended] = field(default_factory=OrderedDict)

    def note(self, events: Iterable[Event], now: float) -> None:
        """Take in what happened."""
        for event in events:
            if event.kind is EventKind.INTERCEPT_ENDED and event.intercept is not None:
                self._ended[event.intercept.id] = Ended(event.intercept, event.by, event.text, now)
        while len(self._ended) > KEPT:
            self._ended.popitem(last=False)

    def find(self, text: str, owner: str) -> Ended | None:
        """The intercept of that id or, the newest, of that name and owner."""
        mine = (one for one in reversed(self._ended.values()) if one.intercept.spec.name == text)
        return self._ended.get(text) or next((one for one in mine if one.intercept.owner == owner), None)

    def taken_from(self, owner: str, workload: WorkloadId) -> list[Ended]:
        """What others ended of an owner's intercepts of a workload, the newest first."""
        return [
            one
            for one in reversed(self._ended.values())
            if one.intercept.owner == owner and one.by != owner and one.intercept.spec.workload == workload
        ]
