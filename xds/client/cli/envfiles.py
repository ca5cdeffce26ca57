"""The workload's environment in files, and for a process.

`--env-file` writes NAME=VALUE lines. A shell unquotes values, `docker run --env-file` does not
(https://docs.docker.com/reference/cli/docker/container/run/#env), so only values without special characters mean the
same to both; the others are quoted for the shell, where an unquoted value could run a command. What no line can hold is
left to `--env-json`. Either way the user is told the names.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xds.terminal.failure import FailureError, usage

INTERCEPT_ID = "BYWAY_INTERCEPT_ID"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
SAFE = re.compile(r"[A-Za-z0-9_@%+=:,./-]*\Z")


@dataclass(slots=True)
class Dotenv:
    """A file's text, and which variables are quoted or left out."""

    text: str = ""
    quoted: list[str] = field(default_factory=list)
    omitted: list[str] = field(default_factory=list)

    def warnings(self, path: Path) -> list[str]:
        """What the user should know of the file."""
        found = []
        if self.quoted:
            names = ", ".join(self.quoted)
            found.append(f"{path}: quoted for the shell, docker would keep the quotes (use --env-json there): {names}")
        if self.omitted:
            names = ", ".join(self.omitted)
            found.append(
                f"{path}: left out, since a line can't hold the value or a shell the name (--env-json): {names}"
            )
        return found


def dotenv(environment: Mapping[str, str]) -> Dotenv:
    """The environment as lines, sorted by name."""
    result = Dotenv()
    for name, value in sorted(environment.items()):
        if not NAME.match(name) or any(character in value for character in "\n\r\0"):
            result.omitted.append(name)
            continue
        if SAFE.match(value):
            result.text += f"{name}={value}\n"
        else:
            result.quoted.append(name)
            escaped = value.replace("'", "'\"'\"'")
            result.text += f"{name}='{escaped}'\n"
    return result


def check_writable(flag: str, path: Path | None) -> None:
    """Find out before anything is created that a file can't be written. Raises FailureError."""
    if path is None:
        return
    folder = path.absolute().parent
    if path.is_dir():
        raise usage(f"{flag}: {path} is a directory")
    if not folder.is_dir():
        raise usage(f"{flag}: there is no directory {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise usage(f"{flag}: cannot write to {folder}")


def write_files(environment: Mapping[str, str], env_file: Path | None, env_json: Path | None) -> list[str]:
    """Write what was asked for, for the user's eyes alone; returns warnings. Raises FailureError."""
    warnings: list[str] = []
    try:
        if env_file is not None:
            lines = dotenv(environment)
            write_whole(env_file, lines.text)
            warnings += lines.warnings(env_file)
        if env_json is not None:
            write_whole(env_json, json.dumps(dict(sorted(environment.items())), indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise FailureError(f"cannot write {error.filename or env_file or env_json}: {error.strerror}") from error
    return warnings


def write_whole(path: Path, text: str) -> None:
    """Write a file of mode 0600, whole or not at all. Raises OSError."""
    if path.exists() and not path.is_file():
        # /dev/stdout, a named pipe: written to, not replaced.
        path.write_text(text)
        return
    # mkstemp makes the file 0600 before there is anything in it; the directory is the user's and stays as it is.
    handle, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
