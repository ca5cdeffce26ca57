"""Where resources refer to others: to the stream that everything comes by."""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import AggregatedConfigSource, ApiVersion, ConfigSource


def ads(*, wait: bool = False) -> ConfigSource:
    """From the stream that everything comes by; `wait` for the first answer without a limit of time."""
    source = ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)
    if wait:
        source.initial_fetch_timeout = timedelta(0)
    return source
