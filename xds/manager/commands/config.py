"""`byway config`: looks at a standalone file without starting anything."""

from __future__ import annotations

from pathlib import Path

import click

from xds.config import ConfigError, StandaloneConfig, load
from xds.terminal.options import output_option
from xds.terminal.output import data, is_data, show

PROBLEMS = 2
"""The exit code when the file can't be used."""


@click.group()
def config() -> None:
    """Look at the file of `byway manager --standalone`."""


@config.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@output_option
def config_check(file: Path, output: str) -> None:
    """Check FILE and print every problem with its line and key.

    Exits with 0 when the manager would start with it, else with 2.
    """
    try:
        checked = load(file)
    except ConfigError as error:
        show(data(_problems(file, error), output) if is_data(output) else _problems_as_text(file, error))
        click.get_current_context().exit(PROBLEMS)
    else:
        show(data(_counts(file, checked), output) if is_data(output) else _counts_as_text(file, checked))


def _problems_as_text(file: Path, error: ConfigError) -> str:
    return f"{error}\n{file}: {_count(len(error.problems), 'problem')}\n"


def _problems(file: Path, error: ConfigError) -> dict[str, object]:
    return {"file": str(file), "ok": False, "problems": [problem.as_dict() for problem in error.problems]}


def _counts_as_text(file: Path, checked: StandaloneConfig) -> str:
    counts: tuple[str, ...] = (
        _count(len(checked.workloads), "workload"),
        _count(checked.instance_count, "instance"),
        _count(len(checked.users), "user"),
    )
    if checked.gateways:
        counts = (*counts, _count(len(checked.gateways), "gateway"))
    return f"{file}: ok: {', '.join(counts)}\n"


def _counts(file: Path, checked: StandaloneConfig) -> dict[str, object]:
    counts = {
        "workloads": len(checked.workloads),
        "instances": checked.instance_count,
        "users": len(checked.users),
        "gateways": len(checked.gateways),
    }
    return {"file": str(file), "ok": True, **counts}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
