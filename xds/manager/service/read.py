"""What a client asks for, as the registry takes it. Every message names the flag that is wrong."""

from __future__ import annotations

import difflib
import ipaddress
from contextlib import suppress

from xds.api.byway.manager import v1
from xds.manager.compare import Turns
from xds.registry.conditions import ALL, AUTO, HttpFlags, parse_match
from xds.registry.errors import InvalidError, NotFoundError
from xds.registry.intercept import InterceptSpec, Kind, PortMapping, Target, WhenDown
from xds.registry.match import Match
from xds.registry.regex import ConditionError
from xds.registry.settings import Settings
from xds.registry.state import State
from xds.registry.workload import AppProtocol, Port, Workload, WorkloadId

NAME_LIMIT = 100
CONDITION_LIMIT = 32


def intercept_spec(
    request: v1.CreateInterceptRequest, state: State, settings: Settings, *, key_value: str
) -> InterceptSpec:
    """The intercept that is asked for. Raises NotFoundError, InvalidError, ConditionError."""
    workload = find_workload(state, request.workload, request.namespace)
    match = _match(request.match, settings, key_value)
    if request.replace:
        raise InvalidError("--replace: not yet")
    if request.shared and match is not None:
        raise InvalidError("--shared is for global intercepts; leave out the --http-* and --baggage flags")
    return InterceptSpec(
        name=_name(request.name or workload.id.name),
        workload=workload.id,
        ports=tuple(_port(flag, workload) for flag in request.ports or [v1.CreateInterceptRequestPortFlag()]),
        match=match or Match(),
        kind=Kind.GLOBAL if match is None else Kind.PERSONAL,
        shared=request.shared,
        when_down=_when_down(request.when_down),
    )


async def read_ahead(flags: v1.MatchFlags | None) -> None:
    """Look at each expression alone, so that the event loop goes on between them; what is wrong is said later.

    Raises InvalidError when there are too many.
    """
    if flags is None:
        return
    if len(flags.http_header) + len(flags.baggage) + len(flags.http_query) > CONDITION_LIMIT:
        raise InvalidError(f"--http-header, --http-query, --baggage: more than {CONDITION_LIMIT} conditions")
    turns = Turns()
    alone = [HttpFlags(headers=(text,)) for text in flags.http_header if text not in {AUTO, ALL}]
    alone += [HttpFlags(headers=(ALL,), queries=(text,)) for text in flags.http_query]
    alone.append(HttpFlags(headers=(ALL,), path_regex=flags.http_path_regex))
    for one in alone:
        with suppress(ConditionError):
            parse_match(one, key_name="", key_value="")
        await turns.offer()


def http_port(text: str, workload: Workload) -> Port:
    """The port of a workload at which requests can be told apart. Raises InvalidError, which says why others can't."""
    known = ", ".join(map(str, workload.ports))
    if not text:
        fit = [port for port in workload.ports if port.protocol.may_be_http]
        if len(fit) != 1:
            which = "say which" if fit else "none of them carries HTTP"
            raise InvalidError(f"--port: {which}; the ports of {workload.id} are {known}")
        return fit[0]
    port = workload.port(int(text) if text.isascii() and text.isdigit() else text)
    if port is None:
        raise InvalidError(f"--port: {workload.id} has no port {text!r}; its ports are {known}")
    if port.protocol is AppProtocol.TLS:
        raise InvalidError(
            f"--port: port {port} of {workload.id} ends TLS in the app, so the sidecar sees no requests there, only "
            "connections; nothing but the whole port can be intercepted"
        )
    if not port.protocol.may_be_http:
        raise InvalidError(
            f"--port: port {port} of {workload.id} is declared {port.protocol}, not HTTP, so there are no requests to "
            "explain"
        )
    return port


def find_workload(state: State, text: str, namespace: str) -> Workload:
    """A workload by NAME, KIND/NAME or NAMESPACE/KIND/NAME; raises NotFoundError, InvalidError when it is ambiguous."""
    parts = text.lower().split("/")
    if not text or not all(parts) or len(parts) > 3:
        raise InvalidError(f"WORKLOAD: {text!r} is none of NAME, KIND/NAME, NAMESPACE/KIND/NAME")
    kind = parts[-2] if len(parts) > 1 else ""
    if len(parts) == 3:
        if namespace and namespace != parts[0]:
            raise InvalidError(f"--namespace: {namespace!r} contradicts WORKLOAD {text!r}")
        namespace = parts[0]
    found = [
        workload
        for key, workload in sorted(state.workloads.items())
        if key.name == parts[-1] and (not kind or key.kind == kind) and (not namespace or key.namespace == namespace)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(str(one.id) for one in found)
        raise InvalidError(f"WORKLOAD: {text!r} may be any of {names}; name one in full")
    where = f" in namespace {namespace!r}" if namespace else ""
    close = _close(state, parts[-1])
    hint = f"; did you mean {close}?" if close else "; `byway list` shows what can be intercepted"
    raise NotFoundError(f"there is no workload {text!r}{where}{hint}")


def _close(state: State, name: str) -> WorkloadId | None:
    names = {key.name: key for key in state.workloads}
    near = difflib.get_close_matches(name, names, n=1)
    return names[near[0]] if near else None


def _name(name: str) -> str:
    if len(name) > NAME_LIMIT or not name.isprintable() or any(char in name for char in " /"):
        raise InvalidError(f"--name: {name!r} must be printable, without blanks and slashes, at most {NAME_LIMIT} long")
    return name


def _match(flags: v1.MatchFlags | None, settings: Settings, key_value: str) -> Match | None:
    if flags is None:
        return None
    typed = HttpFlags(
        headers=tuple(flags.http_header),
        baggage=tuple(flags.baggage),
        path_equal=flags.http_path_equal,
        path_prefix=flags.http_path_prefix,
        path_regex=flags.http_path_regex,
        method=flags.http_method,
        queries=tuple(flags.http_query),
    )
    return parse_match(typed, key_name=settings.default_header, key_value=key_value)


def _port(flag: v1.CreateInterceptRequestPortFlag, workload: Workload) -> PortMapping:
    port = _remote(flag.remote, workload)
    target = flag.target or v1.Target()
    number = target.port or port.number
    if not 1 <= number <= 65535:
        raise InvalidError(f"--port: {number} is no port; ports are numbers from 1 to 65535")
    return PortMapping(port.number, Target(_host(target.host), number))


def _host(host: str) -> str:
    if host in {"", "localhost"}:
        return "localhost"
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        raise InvalidError(f"--address: {host!r} is no IP address; Envoy needs an address, not a name") from None


def _remote(text: str, workload: Workload) -> Port:
    known = ", ".join(map(str, workload.ports))
    if text:
        port = workload.port(int(text) if text.isascii() and text.isdigit() else text)
        if port is None:
            raise InvalidError(f"--port: {workload.id} has no port {text!r}; its ports are {known}")
        return port
    fit = [port for port in workload.ports if port.protocol is not AppProtocol.UDP]
    if len(fit) != 1:
        raise InvalidError(f"--port: say which port of {workload.id}, as LOCAL:REMOTE; its ports are {known}")
    return fit[0]


def _when_down(text: str) -> WhenDown:
    try:
        return WhenDown(text or "cluster")
    except ValueError:
        raise InvalidError(f"--when-down: {text!r} is neither “cluster” nor “fail”") from None
