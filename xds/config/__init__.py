"""The standalone file and the settings: reading them, and saying what is wrong with them.

`load` reads the file of `byway manager --standalone`, `load_state` one with intercepts in it, for tools that run
nothing, and `parse_settings` the same settings from a ConfigMap's data. They raise ConfigError, which holds every
problem with its line, column and key.
"""

from xds.config.durations import DurationError, format_duration, parse_duration
from xds.config.problems import ConfigError, Problem
from xds.config.protocols import by_app_protocol, by_port_name
from xds.config.settings import parse_settings
from xds.config.standalone import StandaloneConfig, load
from xds.config.state_file import StateFile, load_state

__all__ = [
    "ConfigError",
    "DurationError",
    "Problem",
    "StandaloneConfig",
    "StateFile",
    "by_app_protocol",
    "by_port_name",
    "format_duration",
    "load",
    "load_state",
    "parse_duration",
    "parse_settings",
]
