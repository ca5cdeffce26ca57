"""`byway config`: looks at a standalone file without starting anything."""

from __future__ import annotations

import json
from pathlib import Path

import click

from xds.manager.config import ConfigError, StandaloneConfig, load

PROBLEMS = 2
"""The exit code when the file can't be used."""


@click.group()
def config() -> None:
    """Look at the file of `byway manager --standalone`."""


@config.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print the result.")
def config_check(file: Path, output: str) -> None:
    """Check FILE and print every problem with its line and key.

    Exits with 0 when the manager would start with it, else with 2.
    """
    try:
        checked = load(file)
    except ConfigError as error:
        click.echo(_problems_as_json(file, error) if output == "json" else _problems_as_text(file, error))
        click.get_current_context().exit(PROBLEMS)
    else:
        click.echo(_ok_as_json(file, checked) if output == "json" else _ok_as_text(file, checked))


def _problems_as_text(file: Path, error: ConfigError) -> str:
    return f"{error}\n{file}: {_count(len(error.problems), 'problem')}"


def _problems_as_json(file: Path, error: ConfigError) -> str:
    problems = [problem.as_dict() for problem in error.problems]
    return json.dumps({"file": str(file), "ok": False, "problems": problems}, indent=2)


def _ok_as_text(file: Path, checked: StandaloneConfig) -> str:
    counts = (
        _count(len(checked.workloads), "workload"),
        _count(checked.instance_count, "instance"),
        _count(len(checked.users), "user"),
    )
    return f"{file}: ok: {', '.join(counts)}"


def _ok_as_json(file: Path, checked: StandaloneConfig) -> str:
    counts = {
        "workloads": len(checked.workloads),
        "instances": checked.instance_count,
        "users": len(checked.users),
    }
    return json.dumps({"file": str(file), "ok": True, **counts}, indent=2)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
