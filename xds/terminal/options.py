"""The options that every command has."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from xds.paths import StateDir
from xds.terminal.output import FORMATS

F = TypeVar("F", bound=Callable[..., Any])

STATE_ENV = "BYWAY_STATE"


class Seconds(click.FloatRange):
    """A duration in seconds, from a tenth to a day: `nan` and `inf` are floats too, but nobody waits so long."""

    def __init__(self) -> None:
        super().__init__(min=0.1, max=86_400.0)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Raises click.BadParameter."""
        number: float = click.FLOAT.convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return float(super().convert(value, param, ctx))


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
