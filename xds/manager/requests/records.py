"""The access log's messages: what is read of them. (envoy.service.accesslog.v3, envoy.data.accesslog.v3)

Each record has some thirty fields in a dozen messages, for which a general parser builds objects. Here only what is
used is read, which takes a hundredth of the time. Whatever the input, reading raises ValueError and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from xds.serve.protobuf import BYTES, fields

METHODS: Final = ("", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
"""RequestMethod, by number; one that Envoy has no number for is empty there, and read from its header."""
METHOD: Final = b":method"
METHOD_LIMIT: Final = 32
"""Bytes of such a method that are kept."""
REQUEST_HEADERS: Final = frozenset({13})
RESPONSE_HEADERS: Final = frozenset({4, 5})
"""request_headers = 13; response_headers = 4, response_trailers = 5."""
PROTOCOLS: Final = ("", "HTTP/1.0", "HTTP/1.1", "HTTP/2", "HTTP/3")
ENDED: Final = frozenset({0, 6})
"""AccessLogType: NotSet and DownstreamEnd. All others are told while the request goes on."""
PATH_LIMIT: Final = 512
"""Characters of a path that are kept: Envoy takes paths of megabytes."""
SERVERS: Final = ("laptop", "cluster", "none")
SERVED_BY: Final = b"x-byway-intercept"
GRPC_STATUS: Final = b"grpc-status"


@dataclass(frozen=True, slots=True)
class Record:
    """What a sidecar says of one request.

    `stream` tells the sidecar's requests apart: the client's address and the nanosecond at which the request began.
    `started` is that time in seconds since the epoch, `duration` in seconds so far, or in all where it has `ended`.
    `status` is 0 while there is no answer, and where the client went away before; `grpc_status` is -1 for none.
    `served_by`: laptop, cluster, none (Envoy itself answered), or empty while nobody has.
    """

    route: str
    stream: tuple[bytes, int]
    started: float
    duration: float
    ended: bool
    method: str = ""
    path: str = ""
    protocol: str = ""
    status: int = 0
    grpc_status: int = -1
    served_by: str = ""


def read_records(message: bytes) -> Iterator[Record]:
    """The records of a StreamAccessLogsMessage: http_logs = 2 {log_entry = 1}. Raises ValueError."""
    for number, kind, logs in fields(message, skip=1):
        if number == 2 and kind == BYTES and isinstance(logs, bytes):
            for inner, inner_kind, entry in fields(logs):
                if inner == 1 and inner_kind == BYTES and isinstance(entry, bytes):
                    yield read_entry(entry)


def read_entry(entry: bytes) -> Record:
    """An HTTPAccessLogEntry: common_properties = 1, protocol_version = 2, request = 3, response = 4."""
    found = _values(entry)
    common = _values(_message(found, 1))
    request = _values(_message(found, 3))
    response = _message(found, 4)
    headers = _headers(response, RESPONSE_HEADERS)
    seconds, nanos = _time(_message(common, 5))
    whole, part = _time(_message(common, 23))
    return Record(
        route=_text(common, 19),
        stream=(_message(common, 20) or _message(common, 2), seconds * 1_000_000_000 + nanos),
        started=seconds + nanos / 1e9,
        duration=whole + part / 1e9,
        ended=_number(common, 33) in ENDED and not _number(common, 27),
        method=_of(METHODS, _number(request, 1)) or _method(_message(found, 3)),
        path=_text(request, 5)[:PATH_LIMIT],
        protocol=_of(PROTOCOLS, _number(found, 2)),
        status=_number(_values(_message(_values(response), 1)), 1),
        grpc_status=_status_of(headers.get(GRPC_STATUS, b"")),
        served_by=_server_of(headers.get(SERVED_BY, b"")),
    )


def _method(request: bytes) -> str:
    """The method of a request as its header has it."""
    found = _headers(request, REQUEST_HEADERS).get(METHOD, b"")
    return found[:METHOD_LIMIT].decode("utf-8", "replace")


def _headers(message: bytes, numbers: frozenset[int]) -> dict[bytes, bytes]:
    """Headers and trailers that are told, in the fields of these numbers: maps of key = 1, value = 2."""
    found: dict[bytes, bytes] = {}
    for number, kind, entry in fields(message):
        if number in numbers and kind == BYTES and isinstance(entry, bytes):
            values = _values(entry)
            found[_message(values, 1)] = _message(values, 2)
    return found


def _status_of(text: bytes) -> int:
    """A gRPC status; -1 for what is none."""
    return int(text) if len(text) <= 3 and text.isdigit() else -1


def _server_of(text: bytes) -> str:
    """Who answered, of `ID; served-by=laptop`."""
    found = text.rpartition(b"; served-by=")[2].decode("ascii", "replace") if b"; " in text else ""
    return found if found in SERVERS else ""


Values = dict[int, int | bytes]


def _values(message: bytes) -> Values:
    """The fields of a message; of a repeated one the last."""
    return {number: value for number, _, value in fields(message)}


def _message(values: Values, number: int) -> bytes:
    found = values.get(number, b"")
    if not isinstance(found, bytes):
        raise ValueError(f"field {number} is a number, not a message")
    return found


def _text(values: Values, number: int) -> str:
    return _message(values, number).decode("utf-8", "replace")


def _number(values: Values, number: int) -> int:
    found = values.get(number, 0)
    if not isinstance(found, int):
        raise ValueError(f"field {number} is no number")
    return found


def _of(names: tuple[str, ...], number: int) -> str:
    return names[number] if number < len(names) else ""


def _time(message: bytes) -> tuple[int, int]:
    """Seconds and nanoseconds of a Timestamp or a Duration. Raises ValueError where no clock would say that."""
    values = _values(message)
    seconds, nanos = _number(values, 1), _number(values, 2)
    if seconds >= 1 << 40 or nanos >= 1_000_000_000:
        raise ValueError("a time that is none")
    return seconds, nanos
