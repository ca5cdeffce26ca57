"""The file that tells a server what to serve, and what to change when it is told to."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path

from xds.serve.store import Key


@dataclass(slots=True)
class Seed:
    """The resources that each of so many groups starts with, and what changes, change after change."""

    groups: int
    state: dict[Key, bytes] = field(default_factory=dict)
    changes: list[dict[Key, bytes]] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """As the peer reads it."""
        content = {
            "groups": self.groups,
            "state": _items(self.state),
            "changes": [_items(each) for each in self.changes],
        }
        path.write_text(json.dumps(content))

    @classmethod
    def read(cls, path: Path) -> Seed:
        """What `write` wrote."""
        content = json.loads(path.read_text())
        return cls(content["groups"], _resources(content["state"]), [_resources(each) for each in content["changes"]])


def _items(those: dict[Key, bytes]) -> list[dict[str, str]]:
    return [
        {"type": kind, "name": name, "body": base64.b64encode(body).decode()} for (kind, name), body in those.items()
    ]


def _resources(items: list[dict[str, str]]) -> dict[Key, bytes]:
    return {(one["type"], one["name"]): base64.b64decode(one["body"]) for one in items}
