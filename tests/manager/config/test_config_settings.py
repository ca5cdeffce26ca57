"""Settings from a mapping, as a ConfigMap has them, and durations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds.config import ConfigError, DurationError, format_duration, parse_duration, parse_settings
from xds.registry.settings import Settings

CHANGED = Settings(
    connection_ttl=3600.0, inactive_block_timeout=90.0, allow_global_intercepts=False, default_header="x-user"
)


def refusal(mapping: dict[str, object]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_settings(mapping, source="ConfigMap traffic-manager")
    return str(caught.value).splitlines()


def test_nothing_set_means_the_defaults() -> None:
    assert parse_settings({}) == Settings()


def test_texts_with_dotted_names_as_a_configmap_has_them() -> None:
    data = {
        "grpc.connectionTTL": "1h",
        "intercept.inactiveBlockTimeout": "90s",
        "intercept.allowGlobalIntercepts": "false",
        "intercept.defaultHeader": "X-User",
    }
    assert parse_settings(data) == CHANGED


def test_nested_names_with_values_of_their_own_types() -> None:
    intercept = {"inactiveBlockTimeout": "1m30s", "allowGlobalIntercepts": False, "defaultHeader": "x-user"}
    assert parse_settings({"grpc": {"connectionTTL": "1h"}, "intercept": intercept}) == CHANGED


def test_a_timeout_of_zero_means_that_pausing_never_blocks() -> None:
    assert parse_settings({"intercept.inactiveBlockTimeout": "0s"}).inactive_block_timeout == 0


def test_all_problems_are_told_with_the_source_and_the_key() -> None:
    got = refusal({"grpc.connectionTTL": 5, "intercept": {"allowGlobalIntercepts": "perhaps", "deafultHeader": "x"}})
    duration, boolean, header = sorted(got)
    assert duration.startswith("ConfigMap traffic-manager: grpc.connectionTTL: expected a duration")
    assert boolean.startswith("ConfigMap traffic-manager: intercept.allowGlobalIntercepts: expected true or false")
    assert header.endswith('did you mean "intercept.defaultHeader"?')


@pytest.mark.parametrize("value", [None, [], ["10m"], {}, {"a": {"b": {"c": {}}}}, "", "10", 10, 1.5, True])
def test_values_that_are_no_durations(value: object) -> None:
    assert "expected a duration" in refusal({"grpc.connectionTTL": value})[0]


def test_the_same_setting_nested_and_dotted_is_refused() -> None:
    (got,) = refusal({"grpc": {"connectionTTL": "1h"}, "grpc.connectionTTL": "1h"})
    assert "expected each setting once, found grpc.connectionTTL again; leave one out" in got


def test_a_mapping_that_holds_itself_is_no_setting() -> None:
    loop: dict[str, object] = {}
    loop["grpc"] = loop
    assert "expected one of grpc.connectionTTL" in refusal(loop)[0]


@pytest.mark.parametrize("name", ["Connection", "TE", "X-Request-ID", "x-byway-user", ":authority", "Host", "baggage"])
def test_headers_that_can_not_tell_users_apart(name: str) -> None:
    assert "expected the name of a header that only Byway's users send" in refusal({"intercept.defaultHeader": name})[0]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10m", 600),
        ("24h", 86400),
        ("1h30m", 5400),
        ("90s", 90),
        ("500ms", 0.5),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("1.s", 1),
        ("1h0.25s", 3600.25),
        ("3µs", 3e-6),
        ("3μs", 3e-6),
        ("3us", 3e-6),
        ("7ns", 7e-9),
        ("0", 0),
        ("0s", 0),
        ("2562047h47m16.854775807s", 2562047 * 3600 + 47 * 60 + 16.854775807),
    ],
)
def test_durations_as_go_writes_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "a number comes first"),
        ("10", "the unit is missing; write 10s, 10m or 10h"),
        ("1h30", "the unit is missing; write 30s"),
        ("-5m", "it can't be negative"),
        ("+5m", "a number comes first"),
        ("2d", "'d' is no unit; write 48h"),
        ("1w", "'w' is no unit; write ms, s, m or h"),
        ("10M", "'M' is no unit"),
        ("10 m", "' m' is no unit"),
        (" 10m", "a number comes first"),
        ("1..5h", "the unit is missing"),
        (".h", "a number comes first"),
        ("١٠m", "a number comes first"),
        ("2562047h47m16.854775808s", "longer than 292 years"),
        ("9" * 60 + "h", "longer than 292 years"),
        ("9" * 100 + "h", "too long"),
    ],
)
def test_what_is_no_duration(text: str, reason: str) -> None:
    with pytest.raises(DurationError) as caught:
        parse_duration(text)
    assert reason in caught.value.reason


@given(st.integers(min_value=0, max_value=10**10))
def test_a_duration_printed_and_read_is_the_same(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.text(max_size=20) | st.text("0123456789.hmsuµn-", max_size=20))
def test_any_text_is_a_duration_or_refused_with_the_reason(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except DurationError:
        return
    assert 0 <= seconds <= 2**63 / 1e9
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-9)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (600, "10m"), (86400, "24h"), (5400, "1h30m"), (0.5, "500ms"), (1.5, "1.5s"), (3601, "1h1s")],
)
def test_durations_print_in_their_shortest_form(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
