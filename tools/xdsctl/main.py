"""`xdsctl`: the commands by name, and how every one of them ends."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

import click
from click.shell_completion import CompletionItem

from xds import __version__
from xdsctl.failure import Exit, FailureError, usage
from xdsctl.output import BAD, data, note, show, styled

COMMANDS = {
    "status": ("xdsctl.status:status", "Say how far every sidecar is."),
    "get": ("xdsctl.get:get", "Show the resources of a sidecar."),
    "completion": ("xdsctl.completion:completion", "Print the completion script of a shell."),
    "version": ("xdsctl.version:version", "Print the versions."),
}

EPILOG = """\b
Exit codes:
  0    done
  1    failed
  2    wrong command line, or refused input
  3    the manager, or with --live Envoy, can't be reached
  5    `xdsctl status --exit-code`: not every sidecar is in sync
  130  interrupted

\b
With -o json or -o yaml errors are printed that way too, on stdout:
  {"error": {"code": "...", "message": "...", "hint": "..."}}
"""


class Commands(click.Group):
    """Commands that are imported when they are called, not before: help and completion are to be quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Every command's name."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was called."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in COMMANDS:
            close = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"did you mean `xdsctl {close[0]}`?" if close else "see `xdsctl --help`"
            raise usage(f"there is no command {name!r}", hint=hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The commands, from the lines kept here: nothing is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command's name."""
        options = click.Command.shell_complete(self, ctx, incomplete)
        names = [CompletionItem(name, help=line) for name, (_, line) in COMMANDS.items() if name.startswith(incomplete)]
        return [*names, *options]


@click.command(
    cls=Commands,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="xdsctl", message="%(prog)s %(version)s")
def cli() -> None:
    """What Byway's sidecars are meant to have, what they have, and what they refused.

    It asks the manager, with the administrator's token; on the manager's machine it finds both by itself.

    \b
    Start here:
      xdsctl status
      xdsctl status orders-1
      xdsctl get routes orders-1
      xdsctl get routes orders-1 --live
    """


def wanted_format(arguments: Sequence[str]) -> str:
    """The `-o` of a command line that may be too wrong to be parsed."""
    found = "table"
    words = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    for at, word in enumerate(words):
        if word in {"-o", "--output"} and at + 1 < len(words):
            found = words[at + 1]
        elif word.startswith("--output="):
            found = word.partition("=")[2]
        elif word.startswith("-o") and not word.startswith("--"):
            found = word[2:].removeprefix("=")
    return found if found in {"json", "yaml"} else "table"


def report(failure: FailureError, output: str) -> None:
    """Print a failure: as data on stdout, or as a sentence on stderr."""
    if output in {"json", "yaml"}:
        show(data(failure.as_dict(), output))
    else:
        note(f"{styled('Error:', BAD, stream=sys.stderr)} {failure}")


def of_click(error: click.ClickException) -> FailureError:
    """A mistake on the command line, as click found it."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context is not None else "xdsctl"
    message = error.format_message().rstrip(".")
    return usage(message[:1].lower() + message[1:], hint=f"see `{path} --help`")


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit code and never raises."""
    output = wanted_format(arguments)
    try:
        result = cli.main(list(arguments), prog_name="xdsctl", standalone_mode=False)
        return result if isinstance(result, int) else Exit.OK
    except FailureError as failure:
        report(failure, output)
        return failure.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        show(error.format_message() + "\n")
        return Exit.OK
    except click.ClickException as error:
        report(of_click(error), output)
        return Exit.USAGE
    except (click.Abort, KeyboardInterrupt):
        report(FailureError("interrupted", code="interrupted"), output)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output is gone; Python must not complain about it at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED


def main() -> None:
    """The entry point of the `xdsctl` command."""
    sys.exit(run(sys.argv[1:]))
