"""The session that a daemon left behind, so that the next one resumes it instead of opening another.

A session's token goes only where it came from: `resumable` asks for the same manager and the same credentials.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from xds.paths import write_private


@dataclass(frozen=True, slots=True)
class SavedSession:
    """What is needed to resume. `token` is secret."""

    manager: str
    token_file: str
    session_id: str
    token: str
    epoch: int

    def resumable(self, *, manager: str, token_file: Path) -> bool:
        """Whether it belongs to this manager and this user."""
        return (self.manager, self.token_file) == (manager, str(token_file))

    def save(self, path: Path) -> None:
        """Write it, readable by the user alone. Raises OSError."""
        write_private(path, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> SavedSession | None:
        """Read it; None where there is none or it can't be understood, since a new session is always possible."""
        try:
            data = json.loads(path.read_text())
            return cls(
                manager=str(data["manager"]),
                token_file=str(data["token_file"]),
                session_id=str(data["session_id"]),
                token=str(data["token"]),
                epoch=int(data["epoch"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None
