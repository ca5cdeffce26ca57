"""Files that hold what was printed when somebody last looked at it. BYWAY_REWRITE_GOLDENS=1 writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).with_name("golden")


def check_golden(name: str, text: str) -> None:
    """Compare a text with the file of that name."""
    path = FOLDER / f"{name}.txt"
    if os.environ.get("BYWAY_REWRITE_GOLDENS") == "1":
        FOLDER.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"BYWAY_REWRITE_GOLDENS=1 rewrites {path.name}"
