"""The JSON of resources is the one that betterproto2 makes, the slow way."""

from __future__ import annotations

from typing import Any

import pytest
from betterproto2 import Casing, Message
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import (
    Metadata,
    RuntimeDouble,
    RuntimeFractionalPercent,
    SocketAddress,
    SocketAddressProtocol,
    TcpKeepalive,
)
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, ClusterLoadAssignmentPolicy
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import Route, RouteConfiguration
from envoy_data_plane.envoy.type.v3 import DoubleRange, FractionalPercent, FractionalPercentDenominatorType, Int64Range
from envoy_data_plane.google.protobuf import Any as AnyMessage
from envoy_data_plane.google.protobuf import ListValue, Struct, UInt64Value, Value
from hypothesis import given
from hypothesis import strategies as st

from tests.xdsctl.recorded import URLS, bodies, mixed, orders
from xds.compile.workload import compile_workload
from xdsctl.decode import UnreadableError, decode, to_json

KINDS: dict[str, type[Message]] = {
    "listeners": Listener,
    "routes": RouteConfiguration,
    "clusters": Cluster,
    "endpoints": ClusterLoadAssignment,
}


@pytest.fixture(autouse=True)
def wrapped_numbers_of_64_bits_are_strings(monkeypatch: pytest.MonkeyPatch) -> None:
    """https://protobuf.dev/programming-guides/json/: the one thing that the library does otherwise."""
    monkeypatch.setattr(UInt64Value, "to_dict", lambda self, **_: str(self.value))


def as_library(message: Message) -> dict[str, Any]:
    return message.to_dict(casing=Casing.SNAKE)


def test_a_wrapped_number_of_64_bits_is_a_string(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert to_json(UInt64Value, bytes(UInt64Value(1 << 40))) == "1099511627776"
    assert to_json(Route, bytes(Route(request_body_buffer_limit=16)))["request_body_buffer_limit"] == "16"


@pytest.mark.parametrize("kind", URLS)
@pytest.mark.parametrize("state", [orders(), mixed()], ids=["orders", "mixed"])
def test_everything_compiled_reads_as_the_library_reads_it(state: Any, kind: str) -> None:
    for body in bodies(compile_workload(state), kind, f"{state.workload.id.name}-1").values():
        found = decode(URLS[kind], body)
        assert found.pop("@type") == URLS[kind]
        # Decoding has imported what the Anys in it hold, without which the library can't read them.
        expected = as_library(KINDS[kind].parse(body))
        assert found == expected
        assert list(found) == list(expected)


STRUCT = Struct(
    fields={
        "list": Value(list_value=ListValue(values=[Value(number_value=1.5), Value(bool_value=False)])),
        "none": Value(string_value=""),
    }
)


@pytest.mark.parametrize(
    "message",
    [
        Int64Range(start=-5, end=1 << 40),
        DoubleRange(start=-0.25, end=float("inf")),
        RuntimeDouble(default_value=0.5, runtime_key="k"),
        RuntimeFractionalPercent(
            default_value=FractionalPercent(numerator=3, denominator=FractionalPercentDenominatorType.MILLION)
        ),
        SocketAddress(protocol=SocketAddressProtocol.UDP, address="::1", named_port="http"),
        SocketAddress(address="", port_value=0),
        TcpKeepalive(keepalive_time=0),
        Metadata(filter_metadata={"b": STRUCT, "a": Struct()}),
        ClusterLoadAssignment(cluster_name="ü", policy=ClusterLoadAssignmentPolicy(overprovisioning_factor=0)),
    ],
    ids=lambda message: type(message).__name__,
)
def test_each_kind_of_field_reads_as_the_library_reads_it(message: Message) -> None:
    assert to_json(type(message), bytes(message)) == as_library(message)


def test_an_any_in_an_any_is_expanded() -> None:
    inner = AnyMessage.pack(TcpKeepalive(keepalive_time=3))
    assert decode("type.googleapis.com/google.protobuf.Any", bytes(inner)) == {
        "@type": "type.googleapis.com/google.protobuf.Any",
        "value": {"@type": "type.googleapis.com/envoy.config.core.v3.TcpKeepalive", "keepalive_time": 3},
    }


@pytest.mark.parametrize("url", ["type.googleapis.com/no.such.Type", "", "x/..", "type.googleapis.com/Type"])
def test_an_unknown_type_is_shown_as_its_bytes(url: str) -> None:
    found = decode(url, b"\x01\x02")
    assert found == {"@type": url, "unreadable": f"the type {url} is not known", "value": "AQI="}


@given(st.binary(max_size=200), st.sampled_from(sorted(URLS)))
def test_no_bytes_make_it_fail(body: bytes, kind: str) -> None:
    assert decode(URLS[kind], body)["@type"] == URLS[kind]


@pytest.mark.parametrize("body", [b"\x0a\x05abc", b"\x0a", b"\xff" * 12, b"\x0b", b"\x08\x01", b"\x0a\x01\xff"])
def test_damaged_bytes_say_that_they_are(body: bytes) -> None:
    with pytest.raises(UnreadableError):
        to_json(RouteConfiguration, body)
