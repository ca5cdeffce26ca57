"""The sidecars that are connected, and how far each is with what its workload was given."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import chain, islice

import grpc

from xds.compile import names
from xds.manager.pulse import Pulse
from xds.registry.workload import Workload, WorkloadId
from xds.serve.limits import Refused
from xds.serve.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE
from xds.serve.server import XdsServer
from xds.serve.status import Lag, StreamInfo, SyncState

AWAITED = (CLUSTER, ENDPOINT, ROUTE)
"""What makes an intercept live, or ends it: routes, clusters that are warm, and the endpoints of whole TCP ports."""
HEEDED = (*AWAITED, LISTENER)
"""A hop has to be there as well. But a listener that a sidecar refuses, its port being taken, is no intercept's fault,
and doesn't hold one up.
"""


class Sidecars:
    """Live streams by workload, the revision that each workload requires, and the pulse of its progress."""

    def __init__(self) -> None:
        self.server: XdsServer | None = None
        self.progress: defaultdict[WorkloadId, Pulse] = defaultdict(Pulse)
        self._live: defaultdict[WorkloadId, dict[int, StreamInfo]] = defaultdict(dict)
        self._required: dict[WorkloadId, int] = {}
        self._suspects: dict[WorkloadId, int] = {}
        """By workload, the stream that was the last to be found behind."""

    def came(self, stream: StreamInfo) -> WorkloadId:
        """A sidecar connected; says of which workload."""
        key = WorkloadId.parse(stream.view.group)
        self._live[key][stream.number] = stream
        return key

    def went(self, stream: StreamInfo) -> WorkloadId:
        """A sidecar is gone; says of which workload."""
        key = WorkloadId.parse(stream.view.group)
        self._live[key].pop(stream.number, None)
        if not self._live[key]:
            del self._live[key]
        return key

    def require(self, key: WorkloadId, revision: int) -> None:
        """The newest state of a workload is that of this revision."""
        self._required[key] = revision

    def required(self, key: WorkloadId) -> int:
        """The revision of a workload's newest state."""
        return self._required.get(key, 0)

    def forget(self, key: WorkloadId) -> None:
        """A workload is gone."""
        self._required.pop(key, None)
        self._suspects.pop(key, None)

    def expel(self, nodes: Iterable[str]) -> None:
        """These nodes are none any more: end their streams."""
        if self.server is not None:
            for node in nodes:
                text = f"{node} is not among the manager's instances any more"
                self.server.expel(node, Refused(grpc.StatusCode.PERMISSION_DENIED, text))

    def lagging(self, key: WorkloadId, revision: int | None = None) -> list[Lag]:
        """Live sidecars of a workload that have not acknowledged its newest state, or that of a revision."""
        if self.server is None:
            return []
        lags = self.server.lagging(str(key), self.required(key) if revision is None else revision, HEEDED)
        return list(filter(_counts, lags))

    def unbound(self, workload: Workload, ports: Iterable[int]) -> Mapping[str, str]:
        """By node, the words of live sidecars that refuse the listener of one of these ports: it may be taken."""
        if self.server is None:
            return {}
        listeners = [names.port(workload.id, port) for port in ports]
        lags = self.server.lagging(str(workload.id), self.required(workload.id), (LISTENER,))
        return {
            lag.stream.view.node: lag.nack.text
            for lag in lags
            if lag.state is SyncState.NACKED and lag.nack and any(f"{one}: " in lag.nack.text for one in listeners)
        }

    def behind(self, key: WorkloadId, revision: int | None = None, *, excused: Callable[[Lag], bool]) -> bool:
        """Whether some live sidecar runs less than that of a workload, or than its newest state.

        Who was found to be behind is looked at first the next time, and then those after it: with a thousand sidecars
        that acknowledge one after the other, looking at all of them each time would be a million looks.
        """
        if self.server is None:
            return False
        group, due = str(key), self.required(key) if revision is None else revision
        numbers = list(self._live.get(key, ()))
        start = bisect_left(numbers, self._suspects.get(key, 0))
        for number in chain(islice(numbers, start, None), islice(numbers, start)):
            lags = self.server.lag(group, number, due, HEEDED)
            if any(_counts(lag) and not excused(lag) for lag in lags):
                self._suspects[key] = number
                return True
        return False

    async def in_force(self, keys: Iterable[WorkloadId], *, seconds: float) -> bool:
        """Wait until every live sidecar of these workloads has acknowledged what is published now.

        What a sidecar refuses is not waited for. False when the time is over before.
        """
        due = {key: self.required(key) for key in keys}
        try:
            async with asyncio.timeout(seconds):
                for key, revision in due.items():
                    await self._acknowledged(key, revision)
        except TimeoutError:
            return False
        return True

    async def _acknowledged(self, key: WorkloadId, revision: int) -> None:
        pulse = self.progress[key]
        while True:
            seen = pulse.count
            lags = self.server.lagging(str(key), revision, AWAITED) if self.server else []
            if all(lag.state is SyncState.NACKED for lag in lags):
                return
            await pulse.wait(seen)

    def streams(self, key: WorkloadId) -> frozenset[int]:
        """The numbers of a workload's live streams."""
        return frozenset(self._live.get(key, ()))

    def connected(self, key: WorkloadId) -> Mapping[str, StreamInfo]:
        """The live sidecars of a workload by node id."""
        return {stream.view.node: stream for stream in self._live.get(key, {}).values()}


def _counts(lag: Lag) -> bool:
    return lag.type_url in AWAITED or lag.state is not SyncState.NACKED
