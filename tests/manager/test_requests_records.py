"""What is read of access log records is what the library reads of them."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from envoy_data_plane.envoy.config.core.v3 import Address, RequestMethod, SocketAddress
from envoy_data_plane.envoy.data.accesslog.v3 import (
    AccessLogCommon,
    AccessLogType,
    HttpAccessLogEntry,
    HttpAccessLogEntryHttpVersion,
    HttpRequestProperties,
    HttpResponseProperties,
)
from envoy_data_plane.envoy.service.accesslog.v3 import (
    StreamAccessLogsMessage,
    StreamAccessLogsMessageHttpAccessLogEntries,
    StreamAccessLogsMessageIdentifier,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from xds.manager.requests.records import METHOD_LIMIT, PATH_LIMIT, read_entry, read_records

START = datetime(2026, 11, 20, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
METHODS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ-", min_size=1, max_size=2 * METHOD_LIMIT)
SERVERS = st.sampled_from(["laptop", "cluster", "none"])


@st.composite
def entries(draw: st.DrawFn) -> HttpAccessLogEntry:
    headers = {"x-byway-intercept": f"i-1; served-by={draw(SERVERS)}"} if draw(st.booleans()) else {}
    trailers = {"grpc-status": str(draw(st.integers(0, 16)))} if draw(st.booleans()) else {}
    common = AccessLogCommon(
        downstream_direct_remote_address=Address(
            socket_address=SocketAddress(address="10.0.0.1", port_value=draw(st.integers(1, 65535)))
        ),
        start_time=START + timedelta(microseconds=draw(st.integers(0, 10**12))),
        duration=timedelta(microseconds=draw(st.integers(0, 10**10))),
        route_name=draw(TEXT),
        access_log_type=draw(st.sampled_from(AccessLogType)),
        intermediate_log_entry=draw(st.booleans()),
        stream_id=draw(TEXT),
        upstream_request_attempt_count=draw(st.integers(0, 3)),
    )
    request = HttpRequestProperties(
        request_method=draw(st.sampled_from(RequestMethod)),
        request_headers=draw(st.dictionaries(st.sampled_from([":method", "x-other"]), METHODS)),
        path=draw(TEXT),
        authority=draw(TEXT),
        user_agent=draw(TEXT),
    )
    status = draw(st.one_of(st.none(), st.integers(100, 599)))
    response = HttpResponseProperties(
        response_code=status,
        response_headers=headers,
        response_trailers=trailers,
        response_code_details=draw(TEXT),
    )
    version = draw(st.sampled_from(HttpAccessLogEntryHttpVersion))
    return HttpAccessLogEntry(common_properties=common, protocol_version=version, request=request, response=response)


def message(those: list[HttpAccessLogEntry]) -> bytes:
    return bytes(
        StreamAccessLogsMessage(
            identifier=StreamAccessLogsMessageIdentifier(log_name="requests"),
            http_logs=StreamAccessLogsMessageHttpAccessLogEntries(log_entry=those),
        )
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(entries(), max_size=3))
def test_a_message_is_read_as_the_library_reads_it(those: list[HttpAccessLogEntry]) -> None:
    records = list(read_records(message(those)))
    assert len(records) == len(those)
    for record, entry in zip(records, those, strict=True):
        common, request, response = entry.common_properties, entry.request, entry.response
        assert common is not None
        assert request is not None
        assert response is not None
        assert common.start_time is not None
        assert common.duration is not None
        assert record.route == common.route_name
        assert record.started == pytest.approx(common.start_time.timestamp(), abs=1e-5)
        assert record.duration == pytest.approx(common.duration.total_seconds())
        kinds = {AccessLogType.NotSet, AccessLogType.DownstreamEnd}
        assert record.ended == (common.access_log_type in kinds and not common.intermediate_log_entry)
        unspecified = request.request_method is RequestMethod.METHOD_UNSPECIFIED
        from_header = request.request_headers.get(":method", "")[:METHOD_LIMIT]
        assert record.method == (from_header if unspecified else RequestMethod(request.request_method).name)
        assert record.path == request.path
        assert record.status == (response.response_code or 0)
        assert record.grpc_status == int(response.response_trailers.get("grpc-status", -1))
        assert record.served_by == response.response_headers.get("x-byway-intercept", "").rpartition("=")[2]


@given(st.binary(max_size=60))
def test_whatever_the_bytes_reading_raises_value_error_and_nothing_else(data: bytes) -> None:
    with suppress(ValueError):
        list(read_records(data))
    with suppress(ValueError):
        read_entry(data)


@settings(max_examples=30, deadline=None)
@given(entries(), st.integers(0, 200), st.integers(1, 255))
def test_a_damaged_entry_raises_value_error_and_nothing_else(entry: HttpAccessLogEntry, at: int, flip: int) -> None:
    data = bytearray(message([entry]))
    data[at % len(data)] ^= flip
    with suppress(ValueError):
        list(read_records(bytes(data)))


def test_a_long_path_is_cut() -> None:
    entry = HttpAccessLogEntry(request=HttpRequestProperties(path="/" + "a" * 5000))
    assert len(read_entry(bytes(entry)).path) == PATH_LIMIT


@pytest.mark.parametrize("header", ["i-1; served-by=\x1b[31m", "served-by=nobody", "laptop", ""])
def test_who_answered_is_one_of_three_or_unknown(header: str) -> None:
    response = HttpResponseProperties(response_headers={"x-byway-intercept": header})
    assert read_entry(bytes(HttpAccessLogEntry(response=response))).served_by == ""
