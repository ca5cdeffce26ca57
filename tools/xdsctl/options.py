"""The options that say which manager to ask, as whom, and for which types."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from xds.paths import StateDir
from xds.terminal.failure import Exit, FailureError, usage
from xdsctl.resources import ALIASES, TYPES

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Access:
    """Where the manager is, and what proves that we may ask it. Files are read when they are needed."""

    state: StateDir
    manager: str = ""
    token_file: Path | None = None

    def address(self) -> str:
        """HOST:PORT of the manager. Raises FailureError."""
        if self.manager:
            host, _, port = self.manager.rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65536:
                raise usage(f"--manager: {self.manager!r} is not HOST:PORT", hint="as in --manager 127.0.0.1:7071")
            return self.manager
        try:
            return self.state.address.read_text().strip()
        except OSError:
            raise FailureError(
                f"no manager is known to {self.state.root}",
                hint="give --manager HOST:PORT, or the --state-dir of the manager",
                code="no_manager",
                exit_code=Exit.NOT_CONNECTED,
            ) from None

    def token(self) -> str:
        """The administrator's token. Raises FailureError."""
        path = self.token_file or self.state.admin_token
        try:
            token = path.read_text().strip()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise FailureError(
                f"can't read the administrator's token {path}: {reason}",
                hint="give --admin-token-file, or the --state-dir of the manager",
                code="no_token",
            ) from None
        if not token.isascii() or not token.isprintable() or not token:
            raise FailureError(
                f"there is no token in {path}", hint="the manager writes manager/admin.token", code="no_token"
            )
        return token


def access_of(params: dict[str, Any]) -> Access:
    """What the options say; the completion of a half-typed line has only some of them."""
    directory, token_file = params.get("state_dir"), params.get("admin_token_file")
    state = StateDir(Path(directory).expanduser().absolute()) if directory else StateDir.default()
    return Access(state, params.get("manager") or "", Path(token_file) if token_file else None)


def access_options(function: F) -> F:
    """`--manager`, `--admin-token-file` and `--state-dir`, as `access: Access`."""

    @click.option(
        "--manager", metavar="HOST:PORT", help="The manager.  [default: the one that runs with the state directory]"
    )
    @click.option(
        "--admin-token-file",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="The administrator's token.  [default: manager/admin.token in the state directory]",
    )
    @click.option(
        "--state-dir",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="BYWAY_STATE",
        metavar="DIR",
        help="Where Byway keeps its state on this machine.  [env: BYWAY_STATE]",
    )
    @functools.wraps(function)
    def wrapped(
        *args: Any, manager: str | None, admin_token_file: Path | None, state_dir: Path | None, **kwargs: Any
    ) -> Any:
        params = {"manager": manager, "admin_token_file": admin_token_file, "state_dir": state_dir}
        return function(*args, access=access_of(params), **kwargs)

    return wrapped  # type: ignore[return-value]


class TypeName(click.ParamType[str]):
    """A type of resource, under any of its names."""

    name = "type"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Its plural."""
        if value.lower() not in ALIASES:
            self.fail(f"{value!r} is none of {', '.join(TYPES)}", param, ctx)
        return ALIASES[value.lower()]

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """The plurals."""
        return [CompletionItem(name) for name in TYPES if name.startswith(incomplete)]


def type_option(function: F) -> F:
    """`--type`, any number of times, as `kinds: tuple[str, ...]`."""
    return click.option(
        "--type",
        "kinds",
        metavar="TYPE",
        type=TypeName(),
        multiple=True,
        help="Only listeners, routes, clusters or endpoints; may be given more than once.",
    )(function)
