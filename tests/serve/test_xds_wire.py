"""The codec against the library's own: what it reads is what betterproto2 reads, and the other way round."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterEdsClusterConfig
from envoy_data_plane.envoy.config.core.v3 import BuildVersion, Extension, Locality, Node
from envoy_data_plane.envoy.service.discovery.v3 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from envoy_data_plane.envoy.type.v3 import SemanticVersion
from envoy_data_plane.google.protobuf import Any as AnyMessage
from envoy_data_plane.google.protobuf import Struct
from envoy_data_plane.google.rpc import Status
from hypothesis import given
from hypothesis import strategies as st

from xds.serve import CLUSTER, LISTENER, ROUTE, Resource, wire
from xds.serve.protobuf import encode_field
from xds.serve.wire import (
    ErrorDetail,
    decode_delta_request,
    decode_node,
    decode_sotw_request,
    delta_prefix,
    sotw_prefix,
    with_nonce,
)

FIRST_REQUEST = (Path(__file__).parent / "data" / "envoy-1.40-first-delta-request.bin").read_bytes()

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.lists(text, max_size=4)
statuses = st.none() | st.builds(Status, code=st.integers(0, 16), message=text)
json = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
versions = st.builds(SemanticVersion, major_number=st.integers(0, 300), minor_number=st.integers(0, 300))


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    metadata = draw(st.dictionaries(text, json, max_size=3))
    return Node(
        id=draw(text),
        cluster=draw(text),
        metadata=Struct.from_dict(metadata) if metadata else None,
        locality=draw(st.none() | st.builds(Locality, region=text)),
        user_agent_name=draw(text),
        user_agent_build_version=draw(st.none() | st.builds(BuildVersion, version=versions)),
        extensions=draw(st.lists(st.builds(Extension, name=text, category=text), max_size=3)),
        client_features=draw(names),
    )


sotw_requests = st.builds(
    DiscoveryRequest,
    version_info=text,
    node=st.none() | nodes(),
    resource_names=names,
    type_url=text,
    response_nonce=text,
    error_detail=statuses,
)
delta_requests = st.builds(
    DeltaDiscoveryRequest,
    node=st.none() | nodes(),
    type_url=text,
    resource_names_subscribe=names,
    resource_names_unsubscribe=names,
    initial_resource_versions=st.dictionaries(text, text, max_size=4),
    response_nonce=text,
    error_detail=statuses,
)

# Field numbers that no request has, in each wire type.
unknown_fields = st.lists(
    st.one_of(
        st.binary(max_size=8).map(lambda value: encode_field(90, value)),
        st.integers(0, 127).map(lambda value: bytes([0xD8, 0x05, value])),
        st.binary(min_size=8, max_size=8).map(lambda value: bytes([0xD9, 0x05]) + value),
        st.binary(min_size=4, max_size=4).map(lambda value: bytes([0xDD, 0x05]) + value),
    ),
    max_size=3,
).map(b"".join)

resources = st.lists(
    st.builds(Resource.of, st.sampled_from([LISTENER, ROUTE]), text, st.binary(max_size=50)), max_size=4
)


def error_of(status: Any) -> ErrorDetail | None:
    return None if status is None else ErrorDetail(status.code, status.message)


@given(sotw_requests, unknown_fields, unknown_fields)
def test_a_sotw_request_reads_as_the_library_reads_it(message: DiscoveryRequest, before: bytes, after: bytes) -> None:
    request = decode_sotw_request(before + bytes(message) + after)
    assert request.type_url == message.type_url
    assert request.names == tuple(message.resource_names)
    assert request.version_info == message.version_info
    assert request.nonce == message.response_nonce
    assert request.error == error_of(message.error_detail)
    assert request.node == (bytes(message.node) if message.node is not None else b"")


@given(delta_requests, unknown_fields, unknown_fields)
def test_a_delta_request_reads_as_the_library_reads_it(
    message: DeltaDiscoveryRequest, before: bytes, after: bytes
) -> None:
    request = decode_delta_request(before + bytes(message) + after)
    assert request.type_url == message.type_url
    assert request.subscribe == tuple(message.resource_names_subscribe)
    assert request.unsubscribe == tuple(message.resource_names_unsubscribe)
    assert request.initial_versions == message.initial_resource_versions
    assert request.nonce == message.response_nonce
    assert request.error == error_of(message.error_detail)
    assert request.node == (bytes(message.node) if message.node is not None else b"")


@given(nodes(), unknown_fields)
def test_a_node_reads_as_the_library_reads_it(message: Node, unknown: bytes) -> None:
    node = decode_node(bytes(message) + unknown)
    assert (node.id, node.cluster, node.user_agent_name) == (message.id, message.cluster, message.user_agent_name)
    build = message.user_agent_build_version
    if build is not None and build.version is not None:
        version = build.version
        assert node.user_agent_version == f"{version.major_number}.{version.minor_number}.{version.patch}"
    assert node.metadata == (message.metadata.to_dict() if message.metadata is not None else {})


@given(resources, text, text, text)
def test_a_sotw_response_is_what_the_library_would_write(
    content: list[Resource], version: str, identifier: str, nonce: str
) -> None:
    data = with_nonce(sotw_prefix(ROUTE, version, content, identifier), nonce)
    message = DiscoveryResponse.parse(data)
    assert message.version_info == version
    assert message.resources == [AnyMessage(type_url=each.type_url, value=each.body) for each in content]
    assert message.type_url == ROUTE
    assert message.nonce == nonce
    assert message.control_plane is not None
    assert message.control_plane.identifier == identifier


@given(resources, names, text, text)
def test_a_delta_response_is_what_the_library_would_write(
    content: list[Resource], removed: list[str], identifier: str, nonce: str
) -> None:
    data = with_nonce(delta_prefix(ROUTE, content, removed, identifier), nonce)
    message = DeltaDiscoveryResponse.parse(data)
    assert [(each.name, each.version) for each in message.resources] == [(each.name, each.version) for each in content]
    assert [each.resource for each in message.resources] == [
        AnyMessage(type_url=each.type_url, value=each.body) for each in content
    ]
    assert message.type_url == ROUTE
    assert list(message.removed_resources) == removed
    assert message.nonce == nonce
    assert message.control_plane is not None
    assert message.control_plane.identifier == identifier


@given(st.binary(max_size=200))
def test_whatever_comes_in_raises_nothing_but_value_errors(data: bytes) -> None:
    for decode in (decode_sotw_request, decode_delta_request, decode_node):
        with suppress(ValueError):
            read = decode(data)
            if isinstance(read, wire.Node):
                _ = read.metadata


@given(delta_requests, st.data())
def test_a_truncated_request_is_an_error_or_a_shorter_request(
    message: DeltaDiscoveryRequest, data: st.DataObject
) -> None:
    whole = bytes(message)
    part = whole[: data.draw(st.integers(0, len(whole)))]
    with suppress(ValueError):
        assert len(decode_delta_request(part).subscribe) <= len(message.resource_names_subscribe)


@pytest.mark.parametrize("size", [1, 2, 5, 100, 1200, 30_000, len(FIRST_REQUEST) - 1])
def test_a_cut_request_of_a_real_envoy_is_said_to_be_truncated(size: int) -> None:
    with pytest.raises(ValueError, match="truncated"):
        decode_delta_request(FIRST_REQUEST[:size])


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b"\x08\x01", "version_info"),
        (b"\x18\x01", "resource_names"),
        (b"\x20\x01", "type_url"),
        (b"\x2d\x01\x02\x03\x04", "response_nonce"),
        (b"\x30\x01", "error_detail"),
        (encode_field(6, encode_field(1, b"x")), "error_detail.code"),
    ],
)
def test_a_wrong_wire_type_is_an_error_that_names_the_field(data: bytes, field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} has wire type"):
        decode_sotw_request(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x80", "truncated"),
        (b"\x0a\x05ab", "says 5 bytes, 2 are left"),
        (b"\x0a\x02\xff\xfe", "not UTF-8"),
        (b"\x00\x01", "field number 0"),
        (b"\x80" * 10 + b"\x01", "more than ten bytes"),
        (b"\x0b\x0c", "wire type 3"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x", "1 are left"),
    ],
)
def test_malformed_input_is_an_error_that_says_what_is_wrong(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode_sotw_request(data)


def test_a_nack_is_not_lost_for_a_text_that_is_not_utf8() -> None:
    error = decode_delta_request(encode_field(7, encode_field(2, b"bad \xff byte"))).error
    assert error == ErrorDetail(0, "bad � byte")


def test_metadata_that_is_nested_without_end_is_an_error() -> None:
    value = b""
    for _ in range(200):
        value = encode_field(1, encode_field(1, "k") + encode_field(2, encode_field(5, value)))
    with pytest.raises(ValueError, match="nested more than"):
        _ = decode_node(encode_field(3, value)).metadata


def test_the_first_request_of_a_real_envoy_is_read_without_its_extensions() -> None:
    message = DeltaDiscoveryRequest.parse(FIRST_REQUEST)
    assert message.node is not None
    assert len(message.node.extensions) == 516
    started = perf_counter()
    request = decode_delta_request(FIRST_REQUEST)
    node = decode_node(request.node)
    took = perf_counter() - started
    assert request.type_url == CLUSTER
    assert (node.id, node.cluster) == (message.node.id, message.node.cluster)
    assert (node.user_agent_name, node.user_agent_version) == ("envoy", "1.40.0")
    assert took < 0.005, "a general parser takes 9 ms; this has to be far less"


@pytest.mark.parametrize(
    ("cluster", "name"),
    [
        (Cluster(name="c"), None),
        (Cluster(name="c", eds_cluster_config=ClusterEdsClusterConfig()), "c"),
        (Cluster(name="c", eds_cluster_config=ClusterEdsClusterConfig(service_name="s")), "s"),
    ],
)
def test_a_cluster_says_under_which_name_it_asks_for_endpoints(cluster: Cluster, name: str | None) -> None:
    assert Resource.of(CLUSTER, "c", bytes(cluster)).endpoints == name


def test_a_cluster_that_is_no_message_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="the body of cluster 'c' is no Cluster: truncated"):
        Resource.of(CLUSTER, "c", b"\x0a\x05")
    assert Resource.of(ROUTE, "r", b"\x0a\x05").endpoints is None
