"""How commands fail: one sentence that says what is wrong, one that says what to do, and an exit code."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes; `xdsctl --help` documents them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_SYNCED = 5
    INTERRUPTED = 130


class FailureError(Exception):
    """A command failed. `code` is for programs (snake_case), `message` and `hint` are for people."""

    def __init__(self, message: str, *, hint: str = "", code: str = "failed", exit_code: int = Exit.FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
        self.exit_code = int(exit_code)

    def as_dict(self) -> dict[str, object]:
        """What `-o json` and `-o yaml` print."""
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint}}

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


def usage(message: str, *, hint: str = "") -> FailureError:
    """The command line is wrong."""
    return FailureError(message, hint=hint, code="invalid_argument", exit_code=Exit.USAGE)
