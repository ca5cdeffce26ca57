"""The options that every command has."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from xds.paths import StateDir
from xds.terminal.output import FORMATS

F = TypeVar("F", bound=Callable[..., Any])

STATE_ENV = "BYWAY_STATE"
LONGEST = 86_400.0
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


class Seconds(click.FloatRange):
    """A duration in seconds, from a tenth to a day: `nan` and `inf` are floats too, but nobody waits so long."""

    def __init__(self) -> None:
        super().__init__(min=0.1, max=LONGEST)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Raises click.BadParameter."""
        number: float = click.FLOAT.convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return float(super().convert(value, param, ctx))


class Duration(click.ParamType[float]):
    """A duration as people write it: `30s`, `2m`, `1h`, `500ms`, or a number of seconds. Up to a day."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds. Raises click.BadParameter."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|)", str(value).strip(), re.ASCII)
        seconds = float(found[1]) * UNITS[found[2]] if found else 0.0
        if not 0.0 < seconds <= LONGEST:
            self.fail(f"{value!r} is no duration such as 30s, 2m or 500ms, of a day at most", param, ctx)
        return seconds


def _state(ctx: click.Context, param: click.Parameter, value: Path | None) -> StateDir:  # noqa: ARG001  click's shape
    return StateDir(value.expanduser().absolute()) if value is not None else StateDir.default()


def state_option(function: F) -> F:
    """`--state-dir`, as `state: StateDir`."""
    return click.option(
        "--state-dir",
        "state",
        type=click.Path(file_okay=False, path_type=Path),
        envvar=STATE_ENV,
        callback=_state,
        metavar="DIR",
        help="Where Byway keeps its state on this machine.  [env: BYWAY_STATE]",
    )(function)


def output_option(function: F) -> F:
    """`-o`, as `output: str`."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(FORMATS),
        default="table",
        metavar="FORMAT",
        help="table (default), wide, json or yaml.",
    )(function)


def common(function: F) -> F:
    """Both."""
    return state_option(output_option(function))
