"""The compiler's own encoder and its splicing, against betterproto2's `bytes()`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import betterproto2
import pytest
from envoy_data_plane.envoy.config.core.v3 import HeaderValue, HeaderValueOption, Metadata
from envoy_data_plane.envoy.config.core.v3 import HeaderValueOptionHeaderAppendAction as Append
from envoy_data_plane.envoy.config.route.v3 import (
    HeaderMatcher,
    QueryParameterMatcher,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher
from envoy_data_plane.envoy.type.v3 import Int64Range
from envoy_data_plane.google.protobuf import Any as AnyMessage
from envoy_data_plane.google.protobuf import ListValue, Struct, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compile.canonical import MESSAGES, sections
from tests.compile.goldens import NAMES, golden_state
from xds.compile import encode as encoding
from xds.compile.encode import encode
from xds.compile.workload import compile_workload

ALL = {name: sections(compile_workload(golden_state(name))) for name in NAMES}
"""The resources of every golden file."""


@pytest.fixture
def authored(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[betterproto2.Message, bytes]]]:
    """Every message that is encoded from here on, with the bytes that came of it; nothing is kept from before."""
    seen: list[tuple[betterproto2.Message, bytes]] = []

    def record(message: betterproto2.Message) -> bytes:
        data = encode(message)
        seen.append((message, data))
        return data

    for name, module in list(sys.modules.items()):
        if name.startswith("xds.compile"):
            if getattr(module, "encode", None) is encode:
                monkeypatch.setattr(module, "encode", record)
            _forget(module)
    yield seen
    for name, module in list(sys.modules.items()):
        if name.startswith("xds.compile"):
            _forget(module)


def _forget(module: Any) -> None:
    for value in vars(module).values():
        if hasattr(value, "cache_clear") and value is not getattr(encoding, "_plan"):  # noqa: B009
            value.cache_clear()


def test_every_message_that_is_authored_has_the_bytes_of_betterproto2(
    authored: list[tuple[betterproto2.Message, bytes]],
) -> None:
    for name in NAMES:
        compile_workload(golden_state(name))
    kinds = {type(message).__name__ for message, _ in authored}
    assert {"Route", "Cluster", "Listener", "LocalityLbEndpoints", "HttpConnectionManager", "TcpProxy"} <= kinds
    for message, data in {data: (message, data) for message, data in authored}.values():
        assert data == bytes(message), type(message)


@pytest.mark.parametrize("name", NAMES)
def test_a_spliced_resource_has_the_bytes_of_the_typed_message(name: str) -> None:
    for kind, named in ALL[name].items():
        for resource, data in named.items():
            assert bytes(MESSAGES[kind].parse(data)) == data, resource


def test_a_spliced_route_configuration_is_the_one_that_is_authored_whole() -> None:
    for name in NAMES:
        for resource, data in ALL[name]["routes"].items():
            routes = RouteConfiguration.parse(data).virtual_hosts[0].routes
            host = VirtualHost(name="all", domains=["*"], routes=routes)
            assert data == bytes(RouteConfiguration(name=resource, virtual_hosts=[host]))


texts = st.text(max_size=20)
values = st.recursive(
    st.one_of(
        st.builds(Value, string_value=texts),
        st.builds(Value, number_value=st.floats(allow_nan=False)),
        st.builds(Value, bool_value=st.booleans()),
    ),
    lambda inner: st.one_of(
        st.builds(Value, list_value=st.builds(ListValue, values=st.lists(inner, max_size=3))),
        st.builds(Value, struct_value=st.builds(Struct, fields=st.dictionaries(texts, inner, max_size=3))),
    ),
    max_leaves=5,
)
structs = st.builds(Struct, fields=st.dictionaries(texts, values, max_size=4))
strings = st.one_of(
    st.builds(StringMatcher, exact=texts, ignore_case=st.booleans()),
    st.builds(StringMatcher, prefix=texts),
    st.builds(StringMatcher, safe_regex=st.builds(RegexMatcher, regex=texts)),
)
integers = st.integers(-(1 << 63), (1 << 63) - 1)
headers = st.one_of(
    st.builds(
        HeaderMatcher,
        name=texts,
        string_match=strings,
        invert_match=st.booleans(),
        treat_missing_header_as_empty=st.booleans(),
    ),
    st.builds(HeaderMatcher, name=texts, present_match=st.booleans(), invert_match=st.booleans()),
    st.builds(HeaderMatcher, name=texts, range_match=st.builds(Int64Range, start=integers, end=integers)),
)
query = st.one_of(
    st.builds(QueryParameterMatcher, name=texts, present_match=st.booleans()),
    st.builds(QueryParameterMatcher, name=texts, string_match=strings),
)
conditions: dict[str, Any] = {
    "headers": st.lists(headers, max_size=3),
    "query_parameters": st.lists(query, max_size=2),
    "case_sensitive": st.none() | st.booleans(),
}
matches = st.one_of(
    st.builds(RouteMatch, prefix=texts, **conditions),
    st.builds(RouteMatch, path=texts, **conditions),
    st.builds(RouteMatch, safe_regex=st.builds(RegexMatcher, regex=texts), **conditions),
)
durations = st.none() | st.timedeltas(timedelta(days=-3), timedelta(days=400))
options = st.builds(
    HeaderValueOption,
    header=st.builds(HeaderValue, key=texts, value=texts, raw_value=st.binary(max_size=4)),
    append_action=st.sampled_from(Append),
    keep_empty_value=st.booleans(),
)
routes = st.builds(
    Route,
    name=texts,
    match=matches,
    route=st.builds(RouteAction, cluster=texts, timeout=durations, idle_timeout=durations),
    metadata=st.none() | st.builds(Metadata, filter_metadata=st.dictionaries(texts, structs, max_size=2)),
    response_headers_to_add=st.lists(options, max_size=2),
    response_headers_to_remove=st.lists(texts, max_size=2),
    request_body_buffer_limit=st.none() | st.integers(0, (1 << 64) - 1),
    typed_per_filter_config=st.dictionaries(
        texts, st.builds(AnyMessage, type_url=texts, value=st.binary(max_size=8)), max_size=2
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.one_of(structs, headers, matches, routes))
def test_any_message_has_the_bytes_of_betterproto2(message: betterproto2.Message) -> None:
    assert encode(message) == bytes(message)
