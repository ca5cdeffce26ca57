"""A group of commands that are imported when they are called, not before."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import click
from click.shell_completion import CompletionItem

from xds.terminal.failure import not_yet, usage

NOTHING: Mapping[str, str] = MappingProxyType({})


class LazyGroup(click.Group):
    """`lazy` maps a command's name to its function, as MODULE:NAME, and its line of help.

    `absent` maps the commands that Telepresence has and Byway doesn't to what to do instead.
    """

    def __init__(
        self,
        *args: Any,
        lazy: Mapping[str, tuple[str, str]],
        sections: Mapping[str, Sequence[str]],
        absent: Mapping[str, str] = NOTHING,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy
        self._sections = sections
        self._absent = absent

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Every command's name, in the help's order."""
        return [name for names in self._sections.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self._lazy:
            return None
        module, _, name = self._lazy[cmd_name][0].partition(":")
        try:
            command = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            if error.name is None or not module.startswith(error.name):
                raise
            command_line = f"{ctx.command_path} {cmd_name}"
            raise usage(f"this installation has no `{command_line}`", hint="install the whole of byway") from error
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was called; says so where Byway doesn't have it."""
        name = args[0] if args else ""
        if name in self._absent:
            raise not_yet(f"{ctx.command_path} {name}", hint=self._absent[name])
        if name and not name.startswith("-") and name not in self._lazy:
            close = difflib.get_close_matches(name, self._lazy, n=1)
            hint = f"did you mean `{ctx.command_path} {close[0]}`?" if close else f"see `{ctx.command_path} --help`"
            raise usage(f"there is no command {name!r}", hint=hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The commands by section, from the lines kept here: nothing is imported for it."""
        wide = max(map(len, self._lazy))
        for title, names in self._sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(wide), self._lazy[name][1]) for name in names])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command's name; click's own way would import every command for its help."""
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(CompletionItem(name, help=self._lazy[name][1]) for name in names), *options]
