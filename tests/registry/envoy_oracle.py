"""A real Envoy that says which route a request takes: the oracle for the registry's matcher.

One static listener; every route answers by itself and names itself in the header `x-route`. Requests go over one raw
socket, so that any byte passes as it is; not pipelined, because Envoy ends a connection on which answers of its own
overtake requests.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xds.registry import baggage
from xds.registry.match import Condition, FieldKind, Match, Op
from xds.registry.regex import MAX_PROGRAM_SIZE, wrap
from xds.registry.request import Request

Json = dict[str, Any]
TYPES = "type.googleapis.com/envoy.extensions"
GUARD = "x-oracle-guard"


def string_match(condition: Condition) -> Json:
    """Envoy's StringMatcher for EXACT, PREFIX and REGEX."""
    match condition.op:
        case Op.EXACT:
            return {"exact": condition.value}
        case Op.PREFIX:
            return {"prefix": condition.value}
        case _:
            return {"safe_regex": {"regex": wrap(condition.value)}}


def valued(name: str, condition: Condition) -> Json:
    """A header or query matcher."""
    if condition.op is Op.PRESENT:
        return {"name": name, "present_match": True}
    return {"name": name, "string_match": string_match(condition)}


def member(condition: Condition) -> Json:
    regex = baggage.member_regex(condition.field.name, condition)
    return {"name": "baggage", "string_match": {"safe_regex": {"regex": regex}}}


def route_matches(match: Match) -> list[Json]:
    """The RouteMatches that together stand for a match: one, or two when it asks for the key field."""
    alternatives: list[Json] = [{"prefix": "/"}]
    for condition in match.conditions:
        name = condition.field.name
        match condition.field.kind:
            case FieldKind.PATH:
                path: Json = (
                    {"path": condition.value}
                    if condition.op is Op.EXACT
                    else {"prefix": condition.value}
                    if condition.op is Op.PREFIX
                    else {"safe_regex": {"regex": wrap(condition.value)}}
                )
                alternatives = [{k: v for k, v in one.items() if k != "prefix"} | path for one in alternatives]
            case FieldKind.QUERY:
                alternatives = [_with(one, "query_parameters", valued(name, condition)) for one in alternatives]
            case FieldKind.BAGGAGE:
                alternatives = [_with(one, "headers", member(condition)) for one in alternatives]
            case FieldKind.KEY:
                absent = {"name": name, "present_match": False}
                alternatives = [_with(one, "headers", valued(name, condition)) for one in alternatives] + [
                    _with(one, "headers", absent, member(condition)) for one in alternatives
                ]
            case kind:
                header = {FieldKind.METHOD: ":method", FieldKind.AUTHORITY: ":authority"}.get(kind, name)
                alternatives = [_with(one, "headers", valued(header, condition)) for one in alternatives]
    return alternatives


def _with(route: Json, key: str, *items: Json) -> Json:
    return route | {key: [*route.get(key, []), *items]}


def guarded(routes: list[Json], guard: str) -> list[Json]:
    """The same routes, for requests that carry this guard alone."""
    return [_with(route, "headers", {"name": GUARD, "string_match": {"exact": guard}}) for route in routes]


def answering(name: str, route: Json) -> Json:
    """A route that answers by itself and says its name."""
    header = {"header": {"key": "x-route", "value": name}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return {"name": name, "match": route, "direct_response": {"status": 200}, "response_headers_to_add": [header]}


def wire(request: Request, *, guard: str = "") -> bytes:
    """The request as bytes."""
    lines = [f"{request.method} {request.path} HTTP/1.1", f"Host: {request.authority}"]
    lines += [f"{name}: {value}" for name, value in request.headers]
    if guard:
        lines.append(f"{GUARD}: {guard}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


class Oracle:
    """A running Envoy."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, requests: Sequence[bytes]) -> list[str]:
        """For each request the name of its route, or its status where no route answered."""
        answers: list[str] = []
        while len(answers) < len(requests):
            answers += self._on_one_connection(requests[len(answers) :])
        return answers

    def _on_one_connection(self, requests: Sequence[bytes]) -> list[str]:
        answers: list[str] = []
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            reader = connection.makefile("rb")
            for request in requests:
                connection.sendall(request)
                answer, closes = _read(reader)
                answers.append(answer)
                if closes:
                    break
        return answers


def _read(reader: Any) -> tuple[str, bool]:
    status = reader.readline().split(b" ")[1].decode()
    headers = {}
    while (line := reader.readline()) not in {b"\r\n", b""}:
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip().decode()
    reader.read(int(headers.get(b"content-length", "0")))
    return headers.get(b"x-route", status), headers.get(b"connection") == "close"


def binary() -> str:
    """The Envoy of this environment."""
    beside = Path(sys.executable).parent / "envoy"
    return str(beside) if beside.exists() else shutil.which("envoy") or "envoy"


@contextmanager
def running(routes: list[Json], directory: Path) -> Iterator[Oracle]:
    """Envoy with these routes, in this order; stopped at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = directory / "envoy.json"
    config.write_text(bootstrap(routes, port=port))
    command = [binary(), "-c", str(config), "--concurrency", "1", "--use-dynamic-base-id", "-l", "error"]
    log = directory / "envoy.log"
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            _until_accepting(port, process, log)
            yield Oracle(port)
        finally:
            process.terminate()
            process.wait(10)


def _until_accepting(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    while process.poll() is None:
        with socket.socket() as connection:
            connection.settimeout(0.05)
            if connection.connect_ex(("127.0.0.1", port)) == 0:
                return
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(f"envoy ended: {log.read_text()}")


def bootstrap(routes: list[Json], *, port: int, max_program_size: int = MAX_PROGRAM_SIZE) -> str:
    """The configuration of one listener with these routes."""
    manager = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "oracle",
        "normalize_path": False,
        "merge_slashes": False,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "use_remote_address": False,
        "route_config": {"name": "oracle", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"},
            }
        ],
    }
    listener = {
        "name": "oracle",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    limits = {"re2.max_program_size.error_level": max_program_size}
    return json.dumps(
        {
            "static_resources": {"listeners": [listener]},
            "layered_runtime": {"layers": [{"name": "static", "static_layer": limits}]},
        }
    )
