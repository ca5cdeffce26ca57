"""What the manager counts, for Prometheus, by names in the manner of Istio's pilot.

Labels are drawn from small fixed sets: resource types, dispositions, presence. No user, workload or id is one, so the
page is as long with five thousand intercepts as with none. What is known anyway (sessions, intercepts, the store's own
counters) is read when somebody asks; only what passes is counted as it passes.
"""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from xds import __version__
from xds.manager.core import Manager
from xds.manager.store import SqliteStore
from xds.registry.intercept import Disposition
from xds.serve.resource import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, RUNTIME, SCOPED_ROUTE, SECRET
from xds.serve.status import Ack, LastSent, Nack, Observer, StreamInfo

_TYPES: Final = {
    CLUSTER: "cds",
    ENDPOINT: "eds",
    LISTENER: "lds",
    ROUTE: "rds",
    SCOPED_ROUTE: "srds",
    SECRET: "sds",
    EXTENSION: "ecds",
    RUNTIME: "rtds",
}
_SERVED: Final = ("cds", "eds", "lds", "rds")
"""What every sidecar asks for: there from the start, so that a first refusal is a rise and not a new line."""
_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60)


class Metrics(Observer):
    """Counts for one manager, with a registry of its own. `lost` says how many lines the audit log has lost."""

    def __init__(self, manager: Manager, store: SqliteStore, *, lost: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self._pushes = Counter("byway_xds_pushes", "Responses sent to sidecars.", ["type"], registry=self.registry)
        self._bytes = Counter(
            "byway_xds_push_bytes", "Bytes of responses sent to sidecars.", ["type"], registry=self.registry
        )
        self._rejects = Counter(
            "byway_xds_rejects", "Responses that sidecars refused.", ["type"], registry=self.registry
        )
        self._push_seconds = Histogram(
            "byway_push_seconds",
            "From a response to its acknowledgement or refusal.",
            ["type"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        convergence = Histogram(
            "byway_convergence_seconds",
            "From a change until every live sidecar of its workload has acknowledged it.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        for name in _SERVED:
            for each in (self._pushes, self._bytes, self._rejects, self._push_seconds):
                each.labels(name)
        manager.delivery.convergence.observe = convergence.observe
        self.registry.register(_State(manager, store, lost))
        ProcessCollector(registry=self.registry)

    def page(self, accept: str) -> tuple[bytes, str]:
        """All of them in the format that a scraper accepts, and the name of that format."""
        encode, kind = choose_encoder(accept)
        return encode(self.registry), kind

    def on_response(self, _: StreamInfo, type_url: str, __: LastSent, size: int) -> None:
        """A response was sent."""
        name = _name(type_url)
        self._pushes.labels(name).inc()
        self._bytes.labels(name).inc(size)

    def on_verdict(self, _: StreamInfo, type_url: str, verdict: Ack | Nack) -> None:
        """A response was answered."""
        name = _name(type_url)
        self._push_seconds.labels(name).observe(verdict.took)
        if isinstance(verdict, Nack):
            self._rejects.labels(name).inc()


def _name(type_url: str) -> str:
    # A client may ask for types of any name.
    return _TYPES.get(type_url, "other")


class _State(Collector):
    """What is read off the manager when somebody asks."""

    def __init__(self, manager: Manager, store: SqliteStore, lost: Callable[[], int]) -> None:
        self._manager = manager
        self._store = store
        self._lost = lost

    def describe(self) -> Iterable[Metric]:
        """Nothing: a registry that asks would read the state to find out the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Everything."""
        yield _labelled("byway_build_info", "The version of this manager.", "version", {__version__: 1})
        yield from self._sidecars()
        yield from self._people()
        yield from self._kept()

    def _sidecars(self) -> Iterator[Metric]:
        server = self._manager.sidecars.server
        streams = server.statistics()["streams"] if server else 0
        gateways = len(self._manager.gateways.connected)
        clients = {"sidecar": max(0, streams - gateways), "gateway": gateways}
        yield _labelled("byway_xds_clients", "Envoys that are connected.", "kind", clients)
        there = Count(connected=0, missing=0)
        for workload in self._manager.state.workloads.values():
            connected = len(self._manager.sidecars.connected(workload.id))
            there["connected"] += connected
            there["missing"] += max(0, len(workload.instances) - connected)
        yield _labelled("byway_instances", "Instances of workloads by their sidecars.", "sidecar", there)

    def _people(self) -> Iterator[Metric]:
        state = self._manager.state
        present = Count(present=0, away=0)
        present.update("present" if one.present else "away" for one in state.sessions.values())
        yield _labelled("byway_sessions", "Sessions by whether their laptop is there.", "presence", present)
        routed = Count({one.value: 0 for one in Disposition})
        routed.update(one.disposition.value for one in state.intercepts.values())
        yield _labelled("byway_intercepts", "Intercepts by what became of them.", "disposition", routed)

    def _kept(self) -> Iterator[Metric]:
        store = self._store.statistics()
        writes = CounterMetricFamily("byway_store_writes", "Transactions of the store.", labels=["grade"])
        writes.add_metric(["lasting"], store.lasting)
        writes.add_metric(["passing"], store.passing)
        yield writes
        yield CounterMetricFamily("byway_store_errors", "Transactions of the store that failed.", store.failed)
        yield CounterMetricFamily("byway_store_seconds", "Time spent in the store.", store.spent)
        yield CounterMetricFamily("byway_audit_lines_lost", "Lines that the audit log could not take.", self._lost())


def _labelled(name: str, text: str, label: str, values: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family
