"""The file that `translate` and `validate` start from: its option, and what is wrong with it in words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from xds.terminal.failure import Exit, FailureError, usage

if TYPE_CHECKING:
    from xds.config import StateFile
    from xdsctl.translated import Translated

STDIN = Path("/dev/stdin")


def read_state(file: Path) -> StateFile:
    """The state in a file, `-` for stdin. Raises FailureError with every problem."""
    from xds.config import ConfigError, load_state

    try:
        return load_state(STDIN if str(file) == "-" else file)
    except ConfigError as error:
        problems = [problem.as_dict() for problem in error.problems]
        raise FailureError(
            str(error),
            hint=f"{len(problems)} problem{'' if len(problems) == 1 else 's'} in {file}",
            code="bad_file",
            exit_code=Exit.USAGE,
            problems=problems,
        ) from None


def choose(nodes: list[Translated], wanted: str) -> list[Translated]:
    """Those that a text may stand for; all without one. Raises FailureError for none."""
    from xdsctl.nodes import matching, unknown

    if not wanted:
        return nodes
    kept = set(matching([one.node for one in nodes], wanted))
    if not kept:
        error = unknown([one.node for one in nodes], wanted)
        raise usage(f"--node: {error.message}", hint=error.hint)
    return [one for one in nodes if one.node in kept]
