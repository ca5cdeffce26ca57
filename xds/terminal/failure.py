"""How commands fail: one sentence that says what is wrong, one that says what to do, and an exit code."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes; `byway --help` and `xdsctl --help` document them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_CONNECTED = 3
    """Of xdsctl: the manager or Envoy can't be reached."""
    CONFLICT = 4
    NOT_ACKNOWLEDGED = 5
    """Of xdsctl: not every sidecar is in sync, where that was asked."""
    INTERRUPTED = 130


class FailureError(Exception):
    """A command failed. `code` is for programs (snake_case), `message` and `hint` are for people."""

    def __init__(
        self, message: str, *, hint: str = "", code: str = "failed", exit_code: int = Exit.FAILED, **details: object
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
        self.exit_code = int(exit_code)
        self.details = details

    def as_dict(self) -> dict[str, object]:
        """What `-o json` and `-o yaml` print."""
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint, **self.details}}

    def __str__(self) -> str:
        if not self.hint:
            return self.message
        return f"{self.message}{' ' if self.message.endswith('?') else '; '}{self.hint}"


def usage(message: str, *, hint: str = "") -> FailureError:
    """The command line is wrong."""
    return FailureError(message, hint=hint, code="invalid_argument", exit_code=Exit.USAGE)


def not_yet(what: str, *, hint: str = "") -> FailureError:
    """Something that Telepresence has and Byway doesn't."""
    return FailureError(f"{what}: not yet", hint=hint, code="unimplemented", exit_code=Exit.USAGE)


def not_connected(message: str = "not connected", *, hint: str = "run `byway connect`") -> FailureError:
    """There is no daemon, or no session."""
    return FailureError(message, hint=hint, code="not_connected", exit_code=Exit.NOT_CONNECTED)
