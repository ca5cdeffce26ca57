"""The requests of every intercept that there is, for as long as it is there. Nothing of them is stored."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from xds.manager.pulse import Pulse
from xds.manager.requests.records import Record
from xds.manager.requests.traffic import Traffic
from xds.registry.intercept import Intercept
from xds.registry.state import State
from xds.registry.workload import WorkloadId

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Page:
    """One intercept's. The pulse fires when requests were heard of, and when the intercept has ended."""

    traffic: Traffic = field(default_factory=Traffic)
    pulse: Pulse = field(default_factory=Pulse)
    ended: bool = False


class Ledger:
    """Pages by the ids of intercepts."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._pages: dict[str, Page] = {}
        self._refused: set[tuple[str, str]] = set()

    def page(self, intercept: str) -> Page:
        """The page of an intercept that is there."""
        return self._pages.setdefault(intercept, Page())

    def traffic(self, intercept: str) -> Traffic:
        """What was heard of an intercept's requests so far; of one that is not there, nothing."""
        found = self._pages.get(intercept)
        return found.traffic if found else Traffic()

    def note(self, workload: WorkloadId, node: str, records: Iterable[Record], now: float) -> None:
        """Take in what a sidecar of that workload says. It may speak of its own workload's intercepts only."""
        pages: set[str] = set()
        for record in records:
            intercept = self._state.intercepts.get(record.route)
            if intercept is None:
                continue  # It has ended while the record was on its way.
            if intercept.spec.workload != workload:
                self._refuse(node, intercept)
                continue
            self.page(intercept.id).traffic.note(node, record, now)
            pages.add(intercept.id)
        for one in pages:
            self._pages[one].pulse.fire()

    def _refuse(self, node: str, intercept: Intercept) -> None:
        key = intercept.id
        if (node, key) not in self._refused:
            self._refused.add((node, key))
            fields = {"intercept": key, "session": intercept.session}
            log.warning("sidecar %s told of a request of intercept %s, another workload's", node, key, extra=fields)

    def forget(self, intercept: str) -> None:
        """An intercept has ended."""
        self._refused = {one for one in self._refused if one[1] != intercept}
        page = self._pages.pop(intercept, None)
        if page is not None:
            page.ended = True
            page.pulse.fire()
