"""The registry as the API's messages."""

from __future__ import annotations

from collections.abc import Iterable

from xds.api.byway.manager import v1
from xds.compile import names
from xds.manager.core import Manager
from xds.manager.service.requests import traffic_message
from xds.registry import sessions
from xds.registry.conditions import to_flags
from xds.registry.example import curl_args
from xds.registry.intercept import Intercept, Kind, PortMapping
from xds.registry.session import Session, TargetHealth, TargetReport, Tunnel
from xds.registry.workload import AppProtocol, Workload
from xds.serve.status import SyncState

TARGET_STATES = {
    TargetHealth.UNKNOWN: v1.TargetStateState.UNKNOWN,
    TargetHealth.LISTENING: v1.TargetStateState.LISTENING,
    TargetHealth.NOT_LISTENING: v1.TargetStateState.NOT_LISTENING,
    TargetHealth.STOPPED: v1.TargetStateState.STOPPED,
}
TARGET_HEALTH = {state: health for health, state in TARGET_STATES.items()}


def _tunnel(tunnel: Tunnel) -> v1.TunnelState:
    return v1.TunnelState(kind=tunnel.kind, up=sorted(tunnel.up), detail=tunnel.detail)


class Renderer:
    """Makes messages of what the manager knows now."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    def session(self, session: Session) -> v1.Session:
        """A session with all of its intercepts."""
        idle = self._idle(session)
        settings = self._manager.settings
        return v1.Session(
            id=session.id,
            user=session.user,
            host=session.host,
            epoch=session.epoch,
            idle_seconds=idle,
            present=session.present,
            intercepts=[self.intercept(one, mine=True) for one in self._manager.state.of_session(session.id)],
            expires_in_seconds=max(0.0, settings.connection_ttl - idle),
            inactive=sessions.inactive(session, settings, self._manager.clock.now()),
            tunnel=_tunnel(session.tunnel) if session.tunnel else None,
        )

    def _idle(self, session: Session) -> float:
        return max(0.0, self._manager.clock.now() - session.last_activity)

    def intercept(self, intercept: Intercept, *, mine: bool, counted: bool = False) -> v1.Intercept:
        """An intercept; `session` has to exist still, or to be the one that it ended with.

        `counted` is with its traffic, where it is `mine`.
        """
        session = self._manager.state.sessions.get(intercept.session)
        displaced = intercept.displaced
        return v1.Intercept(
            id=intercept.id,
            session_id=intercept.session if mine else "",
            owner=intercept.owner,
            name=intercept.spec.name,
            workload=str(intercept.spec.workload),
            ports=[self._port(intercept, mapping, session) for mapping in intercept.spec.ports],
            match_flags=self.match_flags(intercept),
            kind=intercept.spec.kind,
            shared=intercept.spec.shared,
            when_down=intercept.spec.when_down,
            disposition=intercept.disposition,
            reason=intercept.reason,
            sequence=intercept.sequence,
            answered_by=self.answered_by(intercept),
            laptop_answers=session is not None and self._obstacle(intercept, session) is None,
            owner_idle_seconds=self._idle(session) if session else 0.0,
            displaced_by=displaced.owner if displaced else "",
            displaced_seconds=max(0.0, self._manager.clock.now() - displaced.since) if displaced else 0.0,
            sidecars=self._sidecars(intercept),
            curl_args=self._curl_args(intercept),
            mine=mine,
            base_url=self._base_url(intercept),
            traffic=traffic_message(self._manager.ledger.traffic(intercept.id)) if mine and counted else None,
        )

    def _curl_args(self, intercept: Intercept) -> list[str]:
        if not any(self._curls(intercept, mapping.port) for mapping in intercept.spec.ports):
            return []
        return (curl_args(intercept.spec.match, base="") or [])[1:]

    def match_flags(self, intercept: Intercept) -> list[str]:
        """The flags that ask for what an intercept takes; none where it takes everything."""
        if intercept.spec.kind is not Kind.PERSONAL:
            return []
        return to_flags(intercept.spec.match, key_name=self._manager.settings.default_header)

    def _base_url(self, intercept: Intercept) -> str:
        """Where the sidecar of an instance listens; empty without instances, and where curl can't send a request."""
        workload = self._manager.state.workloads.get(intercept.spec.workload)
        for instance in workload.instances.values() if workload else ():
            for mapping in intercept.spec.ports:
                if mapping.port in instance.listen and self._curls(intercept, mapping.port):
                    return f"http://{instance.listen[mapping.port]}"
        return ""

    def _curls(self, intercept: Intercept, number: int) -> bool:
        """Whether a request of curl's makes sense on a port: gRPC has no use for one, nor has what isn't HTTP."""
        workload = self._manager.state.workloads.get(intercept.spec.workload)
        port = workload.port(number) if workload else None
        return port is not None and port.protocol.may_be_http and port.protocol is not AppProtocol.GRPC

    def _port(self, intercept: Intercept, mapping: PortMapping, session: Session | None) -> v1.PortMapping:
        workload = self._manager.state.workloads.get(intercept.spec.workload)
        port = workload.port(mapping.port) if workload else None
        report = (session.targets.get(mapping.target) if session else None) or TargetReport()
        return v1.PortMapping(
            port=mapping.port,
            port_name=port.name if port else "",
            target=v1.Target(host=mapping.target.host, port=mapping.target.port),
            target_state=TARGET_STATES[report.health],
            target_detail=report.detail,
        )

    def _obstacle(self, intercept: Intercept, session: Session, port: int = 0) -> str | None:
        """Why the laptop doesn't answer on a port (0: on any of them); None where it does."""
        if not intercept.disposition.routed:
            return f"the intercept is {intercept.disposition}"
        if lost := self._manager.state.lost(intercept.spec, port):
            return f"{lost} is not there any more"
        if not session.present:
            return f"the laptop {session.host} is away"
        if not session.reachable:
            return f"the laptop {session.host} has no tunnel to any gateway"
        for mapping in intercept.spec.ports:
            report = session.targets.get(mapping.target) if port in {0, mapping.port} else None
            if report is not None and not report.health.usable:
                return report.detail or f"{mapping.target} is {report.health}"
        return None

    def answered_by(self, intercept: Intercept, port: int = 0) -> str:
        """Who answers requests that match, and why: on one port, or on all where 0 is given."""
        session = self._manager.state.sessions.get(intercept.session)
        obstacle = "the session has ended" if session is None else self._obstacle(intercept, session, port)
        if obstacle is None:
            return "laptop"
        fails = intercept.disposition.routed and intercept.spec.when_down == "fail"
        return f"{'nobody (503)' if fails else 'cluster'}: {obstacle}"

    def _sidecars(self, intercept: Intercept) -> list[v1.SidecarState]:
        workload = self._manager.state.workloads.get(intercept.spec.workload)
        return list(self.sidecars(workload)) if workload else []

    def sidecars(self, workload: Workload, revision: int | None = None) -> Iterable[v1.SidecarState]:
        """How far the sidecar of each instance is with the workload's newest state, or that of a revision."""
        connected = self._manager.sidecars.connected(workload.id)
        lagging = {lag.stream.view.node: lag for lag in self._manager.sidecars.lagging(workload.id, revision)}
        for instance in workload.instances:
            node = names.node(workload.id, instance)
            lag = lagging.get(node)
            if node not in connected:
                yield v1.SidecarState(
                    instance=instance, state=v1.SidecarStateState.ABSENT, detail="no sidecar is connected"
                )
            elif lag is None:
                yield v1.SidecarState(instance=instance, state=v1.SidecarStateState.ACKED)
            elif lag.state is SyncState.NACKED and lag.nack:
                newcomer = self._manager.delivery.blame.newcomer(lag.stream.number)
                detail = f"refuses what the others run: {lag.nack.text}" if newcomer else lag.nack.text
                yield v1.SidecarState(instance=instance, state=v1.SidecarStateState.NACKED, detail=detail)
            else:
                kind = lag.type_url.rpartition(".")[2]
                yield v1.SidecarState(
                    instance=instance,
                    state=v1.SidecarStateState.WAITING,
                    detail=f"{kind} sent, not acknowledged" if lag.state is SyncState.STALE else f"{kind}: {lag.state}",
                )

    def workload(self, workload: Workload, session: Session) -> v1.Workload:
        """A workload as a session sees it."""
        intercepts = self._manager.state.of_workload(workload.id)
        connected = self._manager.sidecars.connected(workload.id)
        return v1.Workload(
            id=str(workload.id),
            ports=[v1.Port(number=port.number, name=port.name, protocol=port.protocol) for port in workload.ports],
            instances=sorted(workload.instances),
            connected=sorted(one for one in workload.instances if names.node(workload.id, one) in connected),
            mine=[one.spec.name for one in intercepts if one.session == session.id],
            others=sum(1 for one in intercepts if one.session != session.id),
        )
