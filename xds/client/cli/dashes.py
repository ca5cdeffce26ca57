"""A command of its own after `--`, with flags that aren't ours."""

from __future__ import annotations

import click

from xds.terminal.failure import usage

COMMAND_KEY = "byway.command"
"""Where the context's `meta` has it: a tuple of words, absent where there was no `--`."""


class AfterDashes(click.Command):
    """Keeps what follows `--` apart."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what comes before `--`."""
        if "--" in args:
            at = args.index("--")
            args, ctx.meta[COMMAND_KEY] = args[:at], tuple(args[at + 1 :])
            if not ctx.meta[COMMAND_KEY]:
                raise usage("there is no command after --", hint="leave -- out, or give the command to run")
        return super().parse_args(ctx, args)
