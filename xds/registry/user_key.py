"""The value of the key field that stands for a user."""

from __future__ import annotations

import hashlib


def key_value(user: str) -> str:
    """The user's value of the key field: unique to the user and the same for ever, so that bookmarks keep working.

    It is routing, not a secret. The hash keeps users apart whose names differ only in what is left out here.
    """
    plain = "".join(char if char.isascii() and char.isalnum() else "-" for char in user.lower()).strip("-") or "user"
    return f"{plain[:32]}-{hashlib.sha256(user.encode()).hexdigest()[:6]}"
