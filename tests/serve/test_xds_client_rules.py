"""What the client library sends, read by the messages' own codec, with which it shares no code."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import pytest
from envoy_data_plane.envoy.service.discovery.v3 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
    Resource,
)
from envoy_data_plane.google.protobuf import Any as AnyMessage
from hypothesis import given
from hypothesis import strategies as st

from xds.serve import CLUSTER, ENDPOINT, LISTENER, ROUTE
from xds.serve.client import DeltaClient, Follower, SotwClient, node
from xds.serve.client.messages import (
    WRAPPER,
    Response,
    decode_delta_response,
    decode_sotw_response,
    encode_node,
    encode_struct,
)
from xds.serve.protobuf import encode_field
from xds.serve.wire import decode_node

ME = node(id="node-1", cluster="tests", metadata={"NAMESPACE": "dev"})


def body(name: str) -> bytes:
    return encode_field(1, name)


def cluster(name: str) -> bytes:
    return body(name) + encode_field(3, b"")


def delta_response(type_url: str, nonce: str, *names: str, removed: Any = (), bodies: Any = body) -> bytes:
    return bytes(
        DeltaDiscoveryResponse(
            type_url=type_url,
            nonce=nonce,
            resources=[
                Resource(name=name, version=f"{name}@1", resource=AnyMessage(type_url=type_url, value=bodies(name)))
                for name in names
            ],
            removed_resources=list(removed),
        )
    )


def sotw_response(type_url: str, nonce: str, version: str, *names: str) -> bytes:
    found = [AnyMessage(type_url=type_url, value=body(name)) for name in names]
    return bytes(DiscoveryResponse(type_url=type_url, nonce=nonce, version_info=version, resources=found))


def delta(request: bytes) -> DeltaDiscoveryRequest:
    return DeltaDiscoveryRequest.parse(request)


def sotw(request: bytes) -> DiscoveryRequest:
    return DiscoveryRequest.parse(request)


def test_the_node_goes_with_the_first_request_of_a_stream_only() -> None:
    client = DeltaClient(ME)
    first, second = delta(client.subscribe(CLUSTER)), delta(client.subscribe(LISTENER))
    assert first.node is not None
    assert (first.node.id, first.node.cluster) == ("node-1", "tests")
    assert second.node is None
    again, more = map(delta, client.restart())
    assert again.node == first.node
    assert more.node is None


@pytest.mark.parametrize("kind", [DeltaClient, SotwClient])
def test_everything_is_asked_for_by_naming_nothing(kind: Any) -> None:
    first = kind(ME).subscribe(CLUSTER)
    assert delta(first).resource_names_subscribe == [] if kind is DeltaClient else sotw(first).resource_names == []


def test_after_a_name_everything_is_asked_for_by_a_star() -> None:
    one, two = DeltaClient(ME), SotwClient(ME)
    for client in (one, two):
        client.subscribe(CLUSTER, ["a"])
    assert delta(one.subscribe(CLUSTER)).resource_names_subscribe == ["*"]
    assert sotw(two.subscribe(CLUSTER)).resource_names == ["a", "*"]


def test_unsubscribing_everything_in_sotw_is_not_taken_for_asking_for_everything() -> None:
    client = SotwClient(ME)
    client.subscribe(ROUTE, ["a"])
    client.acknowledge(client.receive(sotw_response(ROUTE, "n1", "1", "a")))
    last = sotw(client.unsubscribe(ROUTE, ["a"]))
    assert (last.resource_names, last.response_nonce) == ([], "n1")
    assert client.held(ROUTE) == {}
    assert client.restart() == []


def test_an_acknowledgement_has_the_nonce_and_nothing_is_held_before_it() -> None:
    client = DeltaClient(ME)
    client.subscribe(CLUSTER)
    response = client.receive(delta_response(CLUSTER, "n1", "a", "b"))
    assert client.held(CLUSTER) == {}
    request = delta(client.acknowledge(response))
    assert (request.response_nonce, request.error_detail) == ("n1", None)
    assert {name: each.body for name, each in client.held(CLUSTER).items()} == {"a": body("a"), "b": body("b")}


def test_a_refusal_has_the_text_and_changes_nothing_that_is_held() -> None:
    client = SotwClient(ME)
    client.subscribe(CLUSTER)
    client.acknowledge(client.receive(sotw_response(CLUSTER, "n1", "1", "a")))
    request = sotw(client.refuse(client.receive(sotw_response(CLUSTER, "n2", "2", "b")), "not me"))
    assert (request.version_info, request.response_nonce) == ("1", "n2")
    assert request.error_detail is not None
    assert (request.error_detail.code, request.error_detail.message) == (3, "not me")
    assert set(client.held(CLUSTER)) == {"a"}


def test_a_request_before_the_answer_has_the_nonce_answered_last() -> None:
    client = SotwClient(ME)
    client.subscribe(ROUTE, ["a"])
    client.acknowledge(client.receive(sotw_response(ROUTE, "n1", "1", "a")))
    response = client.receive(sotw_response(ROUTE, "n2", "2", "a"))
    assert sotw(client.subscribe(ROUTE, ["b"])).response_nonce == "n1"
    assert sotw(client.acknowledge(response)).resource_names == ["a", "b"]


def test_a_full_set_removes_what_it_leaves_out_and_routes_remove_nothing() -> None:
    client = SotwClient(ME)
    for type_url in (CLUSTER, ROUTE):
        client.subscribe(type_url, ["a", "b"])
        client.acknowledge(client.receive(sotw_response(type_url, "n1", "1", "a", "b")))
        response = client.receive(sotw_response(type_url, "n2", "2", "b"))
        client.acknowledge(response)
        assert response.removed == (("a",) if type_url == CLUSTER else ())
    assert set(client.held(CLUSTER)) == {"b"}
    assert set(client.held(ROUTE)) == {"a", "b"}


def test_a_name_that_does_not_exist_is_absent_until_it_appears() -> None:
    client = DeltaClient(ME)
    client.subscribe(ROUTE, ["a"])
    client.acknowledge(client.receive(delta_response(ROUTE, "n1", removed=["a"])))
    assert client.absent(ROUTE) == {"a"}
    client.acknowledge(client.receive(delta_response(ROUTE, "n2", "a")))
    assert (client.absent(ROUTE), set(client.held(ROUTE))) == (frozenset(), {"a"})


def test_a_new_delta_stream_resumes_with_the_versions_held_and_no_nonce() -> None:
    client = DeltaClient(ME, keep_bodies=False)
    client.subscribe(CLUSTER)
    client.acknowledge(client.receive(delta_response(CLUSTER, "n1", "a", "b", removed=["c"])))
    client.subscribe(ENDPOINT, ["x"])
    clusters, endpoints = map(delta, client.restart())
    assert clusters.initial_resource_versions == {"a": "a@1", "b": "b@1"}
    assert (clusters.response_nonce, clusters.resource_names_subscribe) == ("", [])
    assert (endpoints.initial_resource_versions, endpoints.resource_names_subscribe) == ({}, ["x"])


def test_a_new_sotw_stream_resumes_with_the_version_and_no_nonce() -> None:
    client = SotwClient(ME)
    client.subscribe(ROUTE, ["a"])
    client.acknowledge(client.receive(sotw_response(ROUTE, "n1", "7", "a")))
    (request,) = map(sotw, client.restart())
    assert (request.version_info, request.response_nonce, request.resource_names) == ("7", "", ["a"])


def test_unsubscribing_the_wildcard_keeps_what_is_named() -> None:
    client = DeltaClient(ME)
    client.subscribe(CLUSTER)
    client.subscribe(CLUSTER, ["a"])
    client.acknowledge(client.receive(delta_response(CLUSTER, "n1", "a", "b")))
    assert delta(client.unsubscribe(CLUSTER, ["*"])).resource_names_unsubscribe == ["*"]
    assert set(client.held(CLUSTER)) == {"a"}


@pytest.mark.parametrize(
    ("names", "type_url", "problem"),
    [
        (["a", "a"], CLUSTER, "'a' comes more than once in one response"),
        ([""], CLUSTER, "a resource has no name"),
        (["a"], ROUTE, f"'a' is a {ROUTE} in a response of {CLUSTER}"),
    ],
)
def test_what_no_client_may_take_is_refused(names: list[str], type_url: str, problem: str) -> None:
    found = [Resource(name=name, resource=AnyMessage(type_url=type_url, value=b"")) for name in names]
    client = DeltaClient(ME)
    client.subscribe(CLUSTER)
    response = client.receive(bytes(DeltaDiscoveryResponse(type_url=CLUSTER, nonce="n1", resources=found)))
    assert response.problem == problem
    request = delta(client.answer(response))
    assert request.error_detail is not None
    assert request.error_detail.message == problem
    assert client.held(CLUSTER) == {}


def test_a_heartbeat_leaves_the_resource_as_it_was() -> None:
    client = DeltaClient(ME)
    client.subscribe(CLUSTER)
    client.acknowledge(client.receive(delta_response(CLUSTER, "n1", "a")))
    beat = client.receive(bytes(DeltaDiscoveryResponse(type_url=CLUSTER, nonce="n2", resources=[Resource(name="a")])))
    assert beat.problem == ""
    client.acknowledge(beat)
    assert client.held(CLUSTER)["a"].body == body("a")


def test_a_wrapped_resource_of_sotw_has_the_wrappers_name() -> None:
    wrapped = Resource(name="outer", version="v", resource=AnyMessage(type_url=CLUSTER, value=body("inner")))
    found = DiscoveryResponse(type_url=CLUSTER, resources=[AnyMessage(type_url=WRAPPER, value=bytes(wrapped))])
    (resource,) = decode_sotw_response(bytes(found)).resources
    assert (resource.name, resource.version, resource.type_url, resource.body) == ("outer", "v", CLUSTER, body("inner"))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_node_metadata_reads_as_it_was_written(metadata: Any) -> None:
    found = decode_node(encode_node(node(id="n", metadata=metadata)))
    assert found.metadata == metadata
    assert encode_struct(metadata) == encode_struct(dict(reversed(metadata.items())))


def test_whole_numbers_in_metadata_are_numbers() -> None:
    value = decode_node(encode_node(node(id="n", metadata={"a": 3}))).metadata["a"]
    assert isinstance(value, float)
    assert math.isclose(value, 3)


@given(st.binary(max_size=60))
def test_bytes_that_are_no_response_raise_a_value_error_and_nothing_else(data: bytes) -> None:
    for decode in (decode_delta_response, decode_sotw_response):
        with suppress(ValueError):
            assert isinstance(decode(data), Response)


def test_a_follower_asks_for_what_clusters_and_listeners_name_and_for_listeners_after_clusters() -> None:
    client = DeltaClient(ME)
    follower = Follower(client)
    assert [delta(each).type_url for each in follower.begin()] == [CLUSTER]
    answers = follower.answer(client.receive(delta_response(CLUSTER, "n1", "a", "b", bodies=cluster)))
    ack, endpoints, listeners = map(delta, answers)
    assert (ack.type_url, ack.response_nonce) == (CLUSTER, "n1")
    assert (endpoints.type_url, endpoints.resource_names_subscribe) == (ENDPOINT, ["a", "b"])
    assert (listeners.type_url, listeners.resource_names_subscribe) == (LISTENER, [])
    ack, fewer = map(delta, follower.answer(client.receive(delta_response(CLUSTER, "n2", removed=["a"]))))
    assert fewer.resource_names_unsubscribe == ["a"]
    assert client.names(ENDPOINT) == {"b"}


def test_a_follower_refuses_a_cluster_that_it_cannot_read() -> None:
    client = DeltaClient(ME)
    follower = Follower(client)
    follower.begin()
    data = delta_response(CLUSTER, "n1", "a", bodies=lambda _: b"\xff")
    (request,) = map(delta, follower.answer(client.receive(data)))
    assert request.error_detail is not None
    assert client.held(CLUSTER) == {}
