"""A standalone file with intercepts in it: a whole state, to be looked at without running anything.

    workloads: ...                # and the other keys of a standalone file
    intercepts:                   # created in this order, by the manager's own rules
      - owner: alice@laptop       # USER@HOST
        workload: orders          # or NAMESPACE/KIND/NAME
        ports: {http: localhost:9101}     # the workload's port (its name or number), and what takes its requests
        match:                    # as the flags of `byway intercept`; without it all of the port is taken
          header: [auto, x-debug] # --http-header; one, or a list
          baggage: team=blue      # --baggage
          path-prefix: /api       # or path-equal, or path-regex
          method: POST
          query: q=1
        name: mine                # default: the workload's name
        id: i-7                   # default: i-1, i-2, ... in the order of the list
        shared: false             # --shared
        when-down: cluster        # or fail
        laptop: 192.0.2.7         # where sidecars reach the laptop; default: 127.0.0.1
        away: false               # whether the laptop does not answer

What the manager would refuse, a conflict too, is a problem of the file, at the line of the intercept.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from xds.config.problems import did_you_mean
from xds.config.reader import Value, listed
from xds.config.standalone import FILE, StandaloneConfig, config_of, read_file
from xds.config.workloads import Once
from xds.registry import intercepts, sessions
from xds.registry.change import Change
from xds.registry.conditions import ConditionError, HttpFlags, describe_request, parse_match
from xds.registry.errors import RegistryError
from xds.registry.intercept import Intercept, InterceptSpec, Kind, PortMapping, Target, WhenDown
from xds.registry.match import Match
from xds.registry.overlap import Warn
from xds.registry.precedence import in_order
from xds.registry.session import Session
from xds.registry.settings import Settings
from xds.registry.state import State
from xds.registry.user_key import key_value
from xds.registry.workload import Port, Workload

INTERCEPT: Final = {
    "owner": "whose it is, as USER@HOST",
    "workload": "a workload's NAMESPACE/KIND/NAME, or a name that only one has",
    "ports": "a mapping from the workload's ports to what takes their requests, such as {http: localhost:8080}",
    "match": "a mapping of conditions",
    "name": "a name",
    "id": "an id",
    "shared": "true or false",
    "when-down": "cluster or fail",
    "laptop": "an IP address",
    "away": "true or false",
}
MATCH: Final = {
    "header": "as --http-header: NAME=VALUE, auto or all; one, or a list",
    "baggage": "as --baggage: KEY=VALUE; one, or a list",
    "path-equal": "a path",
    "path-prefix": "how a path begins",
    "path-regex": "a regular expression",
    "method": "a method",
    "query": "as --http-query: KEY=VALUE; one, or a list",
}
_TARGET: Final = re.compile(r"(?:(?P<host>[^\s:]+|\[[0-9a-fA-F:.]+\]):)?(?P<port>[1-9][0-9]{0,4})")
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class StateFile:
    """A state that a file describes. `warnings` are overlaps that are allowed."""

    config: StandaloneConfig
    state: State
    warnings: tuple[str, ...] = ()


def load_state(path: Path) -> StateFile:
    """Read and check a standalone file that may have intercepts. Raises ConfigError, and nothing else."""
    return read_file(path, _read)


def _read(file: Value) -> StateFile:
    known = {**FILE, "intercepts": "a list of intercepts"}
    fields = file.fields(known, required=("workloads",))
    config = config_of(file, fields)
    builder = _Builder(config)
    if "intercepts" in fields and not file.context.problems:
        for number, item in enumerate(fields["intercepts"].items(known["intercepts"]), 1):
            builder.add(item, number)
    return StateFile(config, builder.state, tuple(builder.warnings))


@dataclass(slots=True)
class _Planned:
    """An intercept as the file has it."""

    spec: InterceptSpec
    owner: str
    laptop: str
    present: bool


@dataclass(slots=True)
class _Builder:
    """Creates one intercept after the other in a state, as a manager would at one moment."""

    config: StandaloneConfig
    state: State = field(default_factory=State)
    warnings: list[str] = field(default_factory=list)
    _ids: Once = field(default_factory=lambda: Once("an id"))

    def __post_init__(self) -> None:
        self.state.apply(Change(workloads={one.id: one for one in self.config.workloads}))

    def add(self, value: Value, number: int) -> None:
        fields = value.fields(INTERCEPT, required=("owner", "workload", "ports"))
        before = len(value.context.problems)
        new_id = _text_like(fields["id"], INTERCEPT["id"], _ID) if "id" in fields else f"i-{number}"
        planned = _intercept(fields, self.config)
        if new_id is None or planned is None or len(value.context.problems) > before:
            return
        if self._ids.add(new_id, fields.get("id", value)):
            self._create(value, new_id, planned)

    def _create(self, value: Value, new_id: str, planned: _Planned) -> None:
        session = self._session(planned)
        try:
            change, warnings = intercepts.create(
                self.state, self.config.settings, session, planned.spec, new_id=new_id, now=0.0
            )
        except RegistryError as error:
            value.fail("an intercept that the manager would take", found="one that it refuses", hint=str(error))
            return
        self.state.apply(change)
        self.warnings += [_warning(self.state.intercept(new_id), other, warn) for other, warn in warnings]

    def _session(self, planned: _Planned) -> str:
        """The session of an owner on a laptop, made where there is none."""
        key = f"s-{planned.owner}-{planned.laptop}" + ("" if planned.present else "-away")
        if key not in self.state.sessions:
            user, _, host = planned.owner.partition("@")
            session = Session(key, user, host, "", planned.laptop, present=planned.present)
            self.state.apply(sessions.connect(self.state, session))
        return key


def _warning(one: Intercept, other: Intercept, warn: Warn) -> str:
    both = describe_request(warn.witness) if warn.witness else "some request, which could not be ruled out"
    first, _ = in_order([one, other])
    return f"{one.id} and {other.id} would both take {both}; it goes to {first.id}"


def _intercept(fields: Mapping[str, Value], config: StandaloneConfig) -> _Planned | None:
    owner = _text_like(fields["owner"], INTERCEPT["owner"], re.compile(r"[^@\s]+@\S+")) if "owner" in fields else None
    workload = _workload(fields["workload"], config.workloads) if "workload" in fields else None
    ports = _ports(fields["ports"], workload) if "ports" in fields and workload else ()
    match = _match(fields["match"], owner, config.settings) if "match" in fields and owner else None
    shared = bool(fields["shared"].boolean()) if "shared" in fields else False
    if shared and match is not None:
        fields["shared"].fail("false, or no “match”", hint="only an intercept of all of a port can be shared")
    when_down = _when_down(fields["when-down"]) if "when-down" in fields else WhenDown.CLUSTER
    laptop = _ip(fields["laptop"]) if "laptop" in fields else "127.0.0.1"
    away = bool(fields["away"].boolean()) if "away" in fields else False
    name = fields["name"].text(INTERCEPT["name"]) if "name" in fields else workload and workload.id.name
    if not (owner and workload and name and laptop and when_down):
        return None
    kind = Kind.PERSONAL if match is not None else Kind.GLOBAL
    spec = InterceptSpec(name, workload.id, ports, match or Match(), kind, shared, when_down)
    return _Planned(spec, owner, laptop, not away)


def _text_like(value: Value, expected: str, form: re.Pattern[str]) -> str | None:
    text = value.text(expected)
    if text is not None and not form.fullmatch(text):
        value.fail(expected)
        return None
    return text


def _workload(value: Value, workloads: tuple[Workload, ...]) -> Workload | None:
    text = value.text(INTERCEPT["workload"])
    if text is None:
        return None
    found = [one for one in workloads if text in {str(one.id), one.id.name}]
    if len(found) != 1:
        several = f"it may be any of {listed(str(one.id) for one in found)}" if found else ""
        names = [name for one in workloads for name in (one.id.name, str(one.id))]
        value.fail(INTERCEPT["workload"], hint=several or did_you_mean(text, names))
        return None
    return found[0]


def _ports(value: Value, workload: Workload) -> tuple[PortMapping, ...]:
    found: dict[int, PortMapping] = {}
    items = value.entries(INTERCEPT["ports"])
    if value.is_mapping and not items:
        value.fail("at least one port", found="none")
    for item in items.values():
        port: Port | None = workload.port(int(item.word) if item.word.isascii() and item.word.isdigit() else item.word)
        if port is None:
            item.fail_unknown(
                [one.name or str(one.number) for one in workload.ports], expected="a port of the workload"
            )
        elif port.number in found:
            item.fail_key("each port once", found=f"port {port} again")
        elif target := _target(item):
            found[port.number] = PortMapping(port.number, target)
    return tuple(found.values())


def _target(value: Value) -> Target | None:
    expected = "localhost or an IP address, and a port, such as localhost:8080"
    text = value.text(expected)
    form = _TARGET.fullmatch(text) if text is not None else None
    if form is None or int(form["port"]) > 65535 or not _is_host(form["host"] or ""):
        if text is not None:
            value.fail(expected)
        return None
    return Target((form["host"] or "localhost").strip("[]"), int(form["port"]))


def _is_host(host: str) -> bool:
    """Whether Envoy can be given it: endpoints take no names."""
    if host in {"", "localhost"}:
        return True
    try:
        return bool(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return False


def _match(value: Value, owner: str, settings: Settings) -> Match | None:
    fields = value.fields(MATCH)
    lists = {key: _texts(fields[key], MATCH[key]) if key in fields else () for key in ("header", "baggage", "query")}
    ones = {key: fields[key].text(MATCH[key]) if key in fields else None for key in MATCH if key not in lists}
    flags = HttpFlags(
        headers=lists["header"],
        baggage=lists["baggage"],
        path_equal=ones["path-equal"],
        path_prefix=ones["path-prefix"],
        path_regex=ones["path-regex"],
        method=ones["method"],
        queries=lists["query"],
    )
    try:
        found = parse_match(flags, key_name=settings.default_header, key_value=key_value(owner.partition("@")[0]))
    except ConditionError as error:
        value.fail("conditions that a request can satisfy", found="others", hint=str(error))
        return None
    if found is None and value.is_mapping and not fields:
        value.fail("conditions", found="none", hint="leave out “match” to take all of the port")
    return found


def _texts(value: Value, expected: str) -> tuple[str, ...]:
    values = value.items(expected) if value.is_list else [value]
    return tuple(text for each in values if (text := each.text(expected)) is not None)


def _when_down(value: Value) -> WhenDown | None:
    text = value.text(INTERCEPT["when-down"])
    if text is not None and text not in set(WhenDown):
        value.fail(INTERCEPT["when-down"], hint=did_you_mean(text, list(WhenDown)))
        return None
    return WhenDown(text) if text is not None else None


def _ip(value: Value) -> str | None:
    text = value.text(INTERCEPT["laptop"])
    try:
        return None if text is None else str(ipaddress.ip_address(text))
    except ValueError:
        value.fail(INTERCEPT["laptop"])
        return None
