"""The completion script of a shell, for any of the commands."""

from __future__ import annotations

import click

SHELLS = click.Choice(["bash", "zsh", "fish"])


def script(command: click.Command, program: str, shell: str) -> str:
    """What the shell has to read; it calls the program back for each Tab."""
    from click.shell_completion import get_completion_class

    shell_class = get_completion_class(shell)
    assert shell_class is not None
    return shell_class(command, {}, program, f"_{program.upper()}_COMPLETE").source() + "\n"
