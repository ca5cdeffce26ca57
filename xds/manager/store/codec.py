"""Sessions and intercepts to JSON objects and back.

Written out field by field, so that a renamed attribute can't silently change what is on disk. Reading is strict: a
field that is missing, unknown or of another type makes the whole object unreadable, since an intercept of which one
condition was skipped would take requests that nobody asked it to take.

What the laptop said of its targets is kept too: a manager that starts again must give the sidecars what they have, or
it would cut what is in flight for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from xds.manager.store.errors import UnreadableError
from xds.registry.intercept import (
    Displacement,
    Disposition,
    Intercept,
    InterceptSpec,
    Kind,
    PortMapping,
    Target,
    WhenDown,
)
from xds.registry.match import Condition, Field, FieldKind, Match, Op
from xds.registry.session import Session, TargetHealth, TargetReport, Tunnel
from xds.registry.workload import WorkloadId

Json = dict[str, object]
T = TypeVar("T")


def session_to_dict(session: Session) -> Json:
    """A session; times as they are, in seconds."""
    return {
        "id": session.id,
        "user": session.user,
        "host": session.host,
        "token_hash": session.token_hash,
        "address": session.address,
        "epoch": session.epoch,
        "last_activity": session.last_activity,
        "present": session.present,
        "present_since": session.present_since,
        "returns": session.returns,
        "targets": [
            {
                "target": {"host": target.host, "port": target.port},
                "health": report.health.value,
                "detail": report.detail,
                "returns": report.returns,
                "since": report.since,
            }
            for target, report in session.targets.items()
        ],
        "daemon": session.daemon,
        "tunnel": _tunnel_to_dict(session.tunnel) if session.tunnel else None,
    }


def _tunnel_to_dict(tunnel: Tunnel) -> Json:
    return {"kind": tunnel.kind, "up": sorted(tunnel.up), "detail": tunnel.detail}


def session_from_dict(data: object) -> Session:
    """The inverse of `session_to_dict`. Raises UnreadableError."""
    take = _Fields(data, "the session")
    session = Session(
        id=take("id", _text),
        user=take("user", _text),
        host=take("host", _text),
        token_hash=take("token_hash", _text),
        address=take("address", _text),
        epoch=take("epoch", _integer),
        last_activity=take("last_activity", _number),
        present=take("present", _flag),
        present_since=take("present_since", _number),
        returns=take("returns", _integer),
        targets=take("targets", lambda value: dict(_report(item) for item in _list(value))),
        daemon=take("daemon", _text),
        tunnel=take("tunnel", _tunnel),
    )
    take.nothing_left()
    return session


def _tunnel(data: object) -> Tunnel | None:
    if data is None:
        return None
    take = _Fields(data, "the tunnel")
    up = take("up", lambda value: frozenset(_text(one) for one in _list(value)))
    tunnel = Tunnel(kind=take("kind", _text), up=up, detail=take("detail", _text))
    take.nothing_left()
    return tunnel


def intercept_to_dict(intercept: Intercept) -> Json:
    """An intercept with everything in it; times as they are, in seconds."""
    return {
        "id": intercept.id,
        "session": intercept.session,
        "owner": intercept.owner,
        "spec": _spec_to_dict(intercept.spec),
        "sequence": intercept.sequence,
        "disposition": intercept.disposition.value,
        "reason": intercept.reason,
        "displaced": None if intercept.displaced is None else _displacement_to_dict(intercept.displaced),
    }


def intercept_from_dict(data: object) -> Intercept:
    """The inverse of `intercept_to_dict`. Raises UnreadableError."""
    take = _Fields(data, "the intercept")
    intercept = Intercept(
        id=take("id", _text),
        session=take("session", _text),
        owner=take("owner", _text),
        spec=take("spec", _spec),
        sequence=take("sequence", _integer),
        disposition=take("disposition", lambda value: Disposition(_text(value))),
        reason=take("reason", _text),
        displaced=take("displaced", lambda value: None if value is None else _displacement(value)),
    )
    take.nothing_left()
    return intercept


def _spec_to_dict(spec: InterceptSpec) -> Json:
    return {
        "name": spec.name,
        "workload": {
            "namespace": spec.workload.namespace,
            "kind": spec.workload.kind,
            "name": spec.workload.name,
        },
        "ports": [
            {"port": mapping.port, "target": {"host": mapping.target.host, "port": mapping.target.port}}
            for mapping in spec.ports
        ],
        "match": [
            {
                "field": {"kind": condition.field.kind.value, "name": condition.field.name},
                "op": condition.op.value,
                "value": condition.value,
            }
            for condition in spec.match.conditions
        ],
        "kind": spec.kind.value,
        "shared": spec.shared,
        "when_down": spec.when_down.value,
    }


def _spec(data: object) -> InterceptSpec:
    take = _Fields(data, "the spec")
    spec = InterceptSpec(
        name=take("name", _text),
        workload=take("workload", _workload),
        ports=take("ports", lambda value: tuple(_mapping(item) for item in _list(value))),
        match=take("match", lambda value: Match.of(_condition(item) for item in _list(value))),
        kind=take("kind", lambda value: Kind(_text(value))),
        shared=take("shared", _flag),
        when_down=take("when_down", lambda value: WhenDown(_text(value))),
    )
    take.nothing_left()
    return spec


def _workload(data: object) -> WorkloadId:
    take = _Fields(data, "the workload")
    workload = WorkloadId(take("namespace", _text), take("kind", _text), take("name", _text))
    take.nothing_left()
    return workload


def _mapping(data: object) -> PortMapping:
    take = _Fields(data, "a port")
    mapping = PortMapping(take("port", _integer), take("target", _target))
    take.nothing_left()
    return mapping


def _target(data: object) -> Target:
    take = _Fields(data, "a target")
    target = Target(take("host", _text), take("port", _integer))
    take.nothing_left()
    return target


def _report(data: object) -> tuple[Target, TargetReport]:
    take = _Fields(data, "what is known of a target")
    target = take("target", _target)
    report = TargetReport(
        health=take("health", lambda value: TargetHealth(_text(value))),
        detail=take("detail", _text),
        returns=take("returns", _integer),
        since=take("since", _number),
    )
    take.nothing_left()
    return target, report


def _condition(data: object) -> Condition:
    take = _Fields(data, "a condition")
    condition = Condition(
        field=take("field", _field), op=take("op", lambda value: Op(_text(value))), value=take("value", _text)
    )
    take.nothing_left()
    return condition


def _field(data: object) -> Field:
    take = _Fields(data, "a condition's field")
    field = Field(take("kind", lambda value: FieldKind(_text(value))), take("name", _text))
    take.nothing_left()
    return field


def _displacement_to_dict(displaced: Displacement) -> Json:
    return {"intercept": displaced.intercept, "owner": displaced.owner, "since": displaced.since}


def _displacement(data: object) -> Displacement:
    take = _Fields(data, "the displacement")
    displaced = Displacement(take("intercept", _text), take("owner", _text), take("since", _number))
    take.nothing_left()
    return displaced


class _Fields:
    """The fields of one JSON object; each is taken once, and what is left over is unknown."""

    def __init__(self, data: object, what: str) -> None:
        if not isinstance(data, dict):
            raise UnreadableError(f"{what} is no object")
        self._left = dict(data)
        self._what = what

    def __call__(self, name: str, read: Callable[[object], T]) -> T:
        try:
            value = self._left.pop(name)
        except KeyError:
            raise UnreadableError(f"{self._what} has no {name!r}") from None
        try:
            return read(value)
        except UnreadableError:
            raise
        except ValueError as error:
            raise UnreadableError(f"{name!r} of {self._what}: {error}") from error

    def nothing_left(self) -> None:
        if self._left:
            unknown = ", ".join(sorted(map(repr, self._left)))
            raise UnreadableError(f"{self._what} has {unknown}, which this version does not know")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("is no text")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false")
    return value


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("is no whole number")
    return value


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError("is no finite number")
    return float(value)


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError("is no list")
    return value
