"""Certificates as xDS resources of the sidecars and gateways that they are for, renewed at half of their life.

Each instance has its own key, which only ever is in the manager's memory, on the stream to that instance, and there.
Every start of the manager makes new ones. Envoy uses a new certificate for new connections and leaves the others be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    Secret,
    TlsCertificate,
)

from xds.compile import names
from xds.compile.encode import encode
from xds.manager import reasons as because
from xds.manager.clock import Clock
from xds.manager.identity.authority import BACKDATED, Authority, Certificate, Subject
from xds.registry.workload import Workload
from xds.serve.resource import SECRET, Resource
from xds.serve.store import Key, Store

IDENTITY = "byway/identity"
"""The secret that an Envoy proves itself with."""
CA = "byway/ca"
"""The secret that it checks others with."""


def subjects(gateways: Iterable[str], workloads: Iterable[Workload]) -> dict[str, Subject]:
    """By node, whom its certificate is to name. Without gateways nobody needs one."""
    found = {names.gateway_node(name): Subject.of_gateway(name) for name in gateways}
    if found:
        for workload in workloads:
            subject = Subject.of_workload(workload.id)
            found |= {names.node(workload.id, instance): subject for instance in workload.instances}
    return found


class Secrets:
    """The certificates of all nodes, kept fresh in the store."""

    def __init__(self, store: Store, authority: Authority, clock: Clock) -> None:
        self._store = store
        self._authority = authority
        self._clock = clock
        self._held: dict[str, _Held] = {}
        context = CertificateValidationContext(trusted_ca=DataSource(inline_bytes=authority.pem))
        self._ca = Resource.of(SECRET, CA, encode(Secret(name=CA, validation_context=context)))

    def want(self, wanted: Mapping[str, Subject]) -> None:
        """Have a certificate in the store for each of these nodes, and for no other."""
        changes: dict[str, dict[Key, Resource | None]] = {
            node: {(SECRET, IDENTITY): None, (SECRET, CA): None} for node in self._held.keys() - wanted.keys()
        }
        held = self._held
        self._held = {
            node: held[node] if node in held and held[node].subject == subject else self._issue(subject)
            for node, subject in wanted.items()
        }
        # All of them and not just the new ones: a node's resources go with it, and it may have come back since.
        changes |= {node: self._resources(one) for node, one in self._held.items()}
        self._store.update(nodes=changes, reason=because.CERTIFIED)

    def renew(self) -> None:
        """Replace every certificate of which half of its life is over."""
        due = {node: self._issue(one.subject) for node, one in self._held.items() if self._due(one)}
        self._held |= due
        if due:
            self._store.update(nodes={node: self._resources(one) for node, one in due.items()}, reason=because.RENEWED)

    def _due(self, held: _Held) -> bool:
        """By either clock: certificates are checked by the wall clock, and that may be set."""
        half = self._authority.life / 2
        age = self._clock.wall() - held.certificate.issued
        return self._clock.now() - held.since >= half.total_seconds() or age >= half or age < -BACKDATED

    def _issue(self, subject: Subject) -> _Held:
        wall: datetime = self._clock.wall()
        return _Held(subject, self._authority.issue(subject, wall=wall), self._clock.now())

    def _resources(self, held: _Held) -> dict[Key, Resource | None]:
        return {(SECRET, IDENTITY): held.resource, (SECRET, CA): self._ca}


class _Held:
    """A certificate, whom it names, when it was issued by the manager's clock, and the resource that holds it."""

    __slots__ = ("certificate", "resource", "since", "subject")

    def __init__(self, subject: Subject, certificate: Certificate, since: float) -> None:
        self.subject = subject
        self.certificate = certificate
        self.since = since
        pair = TlsCertificate(
            certificate_chain=DataSource(inline_bytes=certificate.chain),
            private_key=DataSource(inline_bytes=certificate.key),
        )
        self.resource = Resource.of(SECRET, IDENTITY, encode(Secret(name=IDENTITY, tls_certificate=pair)))
