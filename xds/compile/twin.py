"""Twins: routes that say which route a request takes, instead of taking it.

For somebody who asks, every route of a port gets a twin before all routes: the same match and one condition more, a
header that holds the asker's token. A request with that header is answered by the very matchers that ordinary requests
meet, in the same order, and reaches neither laptop nor app. Without the header no twin matches.

The match's bytes are those of the route; one more element of a repeated field of a protobuf message is appended to it.
"""

from __future__ import annotations

from functools import lru_cache

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.config.route.v3 import DirectResponseAction, HeaderMatcher
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from xds.compile import wire
from xds.compile.encode import encode
from xds.compile.route import OVERWRITE, header

ASKED = "x-byway-explain"
"""The request header that holds a token, and the response header `TOKEN NAME`, which no app can answer with."""


def twin(name: str, match: bytes, token: str) -> bytes:
    """The twin of a route of that name with that serialised match.

    Route: name = 14, match = 1 {headers = 6}, direct_response = 7, response_headers_to_add = 10.
    """
    asked = wire.field(6, _asked(token))
    return (
        wire.text(14, name)
        + wire.field(1, match + asked)
        + wire.field(7, _says(name))
        + wire.field(10, _ours(token, name))
    )


@lru_cache(maxsize=64)
def _asked(token: str) -> bytes:
    return encode(HeaderMatcher(name=ASKED, string_match=StringMatcher(exact=token)))


@lru_cache(maxsize=8192)
def _ours(token: str, name: str) -> bytes:
    # The answer to HEAD has no body.
    return encode(header(ASKED, f"{token} {name}", OVERWRITE))


@lru_cache(maxsize=8192)
def _says(name: str) -> bytes:
    return encode(DirectResponseAction(status=200, body=DataSource(inline_string=name)))
