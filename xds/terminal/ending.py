"""How every command ends: with its result, a sentence, or an error that programs can read; never with a traceback."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from xds.terminal.failure import Exit, FailureError, usage
from xds.terminal.output import data, note, show, styled

UNWRITABLE = frozenset({errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What writing the output may fail of, whoever reads it being gone, or the disk full. Of what else a command writes it
speaks itself.
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
        note(f"{styled('Error:', stream=sys.stderr, fg='red')} {failure}")


def of_click(error: click.ClickException, program: str) -> FailureError:
    """A mistake on the command line, as click found it."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context is not None else program
    message = error.format_message().rstrip(".")
    return usage(message[:1].lower() + message[1:], hint=f"see `{path} --help`")


def run(command: click.Command, program: str, arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit code and never raises."""
    output = wanted_format(arguments)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        result = command.main(list(arguments), prog_name=program, standalone_mode=False)
        return result if isinstance(result, int) else Exit.OK
    except FailureError as failure:
        report(failure, output)
        return failure.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        show(error.format_message() + "\n")
        return Exit.OK
    except click.ClickException as error:
        report(of_click(error, program), output)
        return Exit.USAGE
    except (click.Abort, KeyboardInterrupt):
        # Another one, while Python ends, would make the exit code that of a killed process.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        report(FailureError("interrupted", code="interrupted", exit_code=Exit.INTERRUPTED), output)
        return Exit.INTERRUPTED
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        _forget_output()
        if error.errno != errno.EPIPE:
            report(FailureError(f"can't write the output: {os.strerror(error.errno).lower()}"), "table")
        return Exit.FAILED


def _forget_output() -> None:
    """Nobody takes our output: Python must not complain about what is left of it at exit either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def until_interrupted() -> Iterator[None]:
    """Ctrl-C in the block is how the command ends, and no error."""
    try:
        yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise click.exceptions.Exit(Exit.INTERRUPTED) from None
