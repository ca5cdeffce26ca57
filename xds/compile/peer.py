"""Who sent a request to a gateway: written over whatever the request says, before any route is looked at."""

from __future__ import annotations

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation as Mutation
from envoy_data_plane.envoy.config.core.v3 import TypedExtensionConfig
from envoy_data_plane.envoy.extensions.http.early_header_mutation.header_mutation.v3 import HeaderMutation

from xds.compile.encode import pack
from xds.compile.route import OVERWRITE, header

PEER = "x-byway-peer"
"""The request header with the name in the sender's certificate, see `xds.compile.names.identity`."""


def naming_the_peer() -> TypedExtensionConfig:
    """The extension of a connection manager that writes the header."""
    mutation = Mutation(append=header(PEER, "%DOWNSTREAM_PEER_URI_SAN%", OVERWRITE))
    return TypedExtensionConfig(name="peer", typed_config=pack(HeaderMutation(mutations=[mutation])))
