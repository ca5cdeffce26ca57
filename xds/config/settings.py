"""The settings, by the names that users know: in the standalone file, and in the ConfigMap `traffic-manager`.

| name | value | default |
| --- | --- | --- |
| `grpc.connectionTTL` | a duration above zero | `24h` |
| `intercept.inactiveBlockTimeout` | a duration; with `0` nobody who pauses can block | `10m` |
| `intercept.allowGlobalIntercepts` | `true` or `false` | `true` |
| `intercept.defaultHeader` | a header name | `x-telepresence-id` |

Names nest (`intercept: {defaultHeader: x-user}`) or are written with a dot (`intercept.defaultHeader: x-user`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from xds.config.durations import DurationError, parse_duration
from xds.config.nodes import Context, Entry, Mark, Node, Scalar, Sequence, StopReadingError
from xds.config.nodes import Mapping as MappingNode
from xds.config.problems import ConfigError, did_you_mean, shown
from xds.config.reader import Value, listed
from xds.registry.refusals import header_name
from xds.registry.regex import ConditionError
from xds.registry.settings import Settings


def parse_settings(mapping: Mapping[str, object], *, source: str = "settings") -> Settings:
    """The settings in a mapping, nested or dotted; what isn't mentioned has its default.

    Values may be of YAML's types or all texts, as in a ConfigMap's `data`. `source` is named in the messages. Raises
    ConfigError with all problems; a name that isn't a setting is one.
    """
    context = Context(source)
    settings = Settings()
    with contextlib.suppress(StopReadingError):
        settings = read_settings(Value.root(context, _node(mapping)))
    if context.problems:
        raise ConfigError(context.problems)
    return settings


def read_settings(value: Value) -> Settings:
    """The settings in a value of the file. Problems are reported to the value's context; the default stands in."""
    found: dict[str, Any] = {}
    seen: dict[str, Value] = {}
    for name, leaf in _leaves(value):
        if name in seen:
            hint = f"line {seen[name].mark.line} has it already" if leaf.mark.line else "leave one out"
            leaf.fail_key("each setting once", found=f"{name} again", hint=hint)
            continue
        seen[name] = leaf
        field, read = _SETTINGS[name]
        read_value = read(leaf)
        if read_value is not None:
            found[field] = read_value
    return Settings(**found)


def _leaves(value: Value) -> list[tuple[str, Value]]:
    """Every setting with its dotted name; what is none has been reported."""
    leaves: list[tuple[str, Value]] = []
    for key, entry in value.entries(f"a mapping with the keys {listed(_GROUPS)}").items():
        if key in _SETTINGS:
            leaves.append((key, replace(entry, key=f"{value.key}.{key}" if value.key else key)))
        elif key in _GROUPS:
            known = [name.removeprefix(f"{key}.") for name in _SETTINGS if name.startswith(f"{key}.")]
            for inner, leaf in entry.entries(f"a mapping with the keys {listed(known)}").items():
                if inner in known:
                    leaves.append((f"{key}.{inner}", leaf))
                else:
                    _unknown(leaf, f"{key}.{inner}", inner)
        else:
            _unknown(entry, key, key)
    return leaves


def _unknown(value: Value, name: str, word: str) -> None:
    # The last part of the name alone is the usual mistake: `inactiveBlockTimeout` without `intercept`.
    by_last = {full.rpartition(".")[2].lower(): full for full in _SETTINGS}
    full = by_last.get(word.rpartition(".")[2].lower())
    hint = f"did you mean {shown(full)}?" if full else did_you_mean(name, _SETTINGS)
    value.fail_key(f"one of {listed(_SETTINGS)}", found=f"the key {shown(word)}", hint=hint)


def _duration(value: Value, *, zero: bool) -> float | None:
    expected = "a duration such as 10m, 24h or 1h30m"
    text = value.text(expected)
    if text is None:
        return None
    try:
        seconds = parse_duration(text)
    except DurationError as error:
        value.fail(expected, hint=error.reason)
        return None
    if seconds == 0 and not zero:
        value.fail("a duration above zero", hint="every session would end at once")
        return None
    return seconds


def _ttl(value: Value) -> float | None:
    return _duration(value, zero=False)


def _timeout(value: Value) -> float | None:
    return _duration(value, zero=True)


def _header(value: Value) -> str | None:
    expected = "the name of a header that only Byway's users send"
    name = value.text(expected)
    if name is None:
        return None
    lower = name.lower()
    if name.startswith(":"):
        value.fail(expected, hint="a colon begins the names of HTTP/2's pseudo headers, which every request has")
        return None
    try:
        header_name(name, "", what="")
    except ConditionError as error:
        value.fail(expected, hint=str(error).removeprefix(": "))
        return None
    if lower in _ON_EVERY_REQUEST:
        value.fail(expected, hint=f"{lower} has a meaning of its own; choose another")
        return None
    return lower


# What else can't tell one user's requests from all others: the key header must be absent from ordinary traffic.
_ON_EVERY_REQUEST: Final = frozenset(
    {"accept", "baggage", "content-length", "content-type", "cookie", "date", "host", "tracestate", "traceparent"}
    | {"user-agent"}
)
_SETTINGS: Final[Mapping[str, tuple[str, Callable[[Value], object]]]] = {
    "grpc.connectionTTL": ("connection_ttl", _ttl),
    "intercept.inactiveBlockTimeout": ("inactive_block_timeout", _timeout),
    "intercept.allowGlobalIntercepts": ("allow_global_intercepts", Value.boolean),
    "intercept.defaultHeader": ("default_header", _header),
}
_GROUPS: Final = tuple(dict.fromkeys(name.partition(".")[0] for name in _SETTINGS))
_LEVELS: Final = 3


def _node(value: object, levels: int = _LEVELS) -> Node:
    """A Python value as a tree without places; below the levels that settings have, only its kind."""
    here = Mark()
    match value:
        case Mapping():
            inner = value.items() if levels else ()
            return MappingNode(here, {str(key): Entry(here, _node(item, levels - 1)) for key, item in inner})
        case list() | tuple():
            return Sequence(here)
        case None:
            return Scalar(here, "", "null")
        case bool():
            return Scalar(here, str(value).lower(), "bool")
        case _:
            return Scalar(here, str(value))
