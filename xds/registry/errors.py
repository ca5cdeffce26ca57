"""Why a command was refused. Each message is a sentence for people that says what to do next."""

from __future__ import annotations

from dataclasses import dataclass

from xds.registry.request import Request


class RegistryError(Exception):
    """A command that the registry refused; its state is as it was."""


class NotFoundError(RegistryError):
    """There is no such workload, port, intercept or session."""


class AlreadyExistsError(RegistryError):
    """The session has an intercept of that name."""


class InvalidError(RegistryError):
    """What was asked for can't be."""


class NotAllowedError(RegistryError):
    """A setting forbids it."""


class StaleEpochError(RegistryError):
    """A newer connection of the same session has taken over."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """The intercept in the way. `idle` in seconds; `witness` is a request that both would take.

    Not `proven` means that the two could not be proved disjoint.
    """

    intercept: str
    name: str
    owner: str
    yours: bool
    port: int
    idle: float
    witness: Request | None
    proven: bool
    others: int = 0


class ConflictError(RegistryError):
    """Another intercept is in the way."""

    def __init__(self, message: str, conflict: Conflict) -> None:
        super().__init__(message)
        self.conflict = conflict
