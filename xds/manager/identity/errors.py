"""What can be wrong with the manager's own secrets."""

from __future__ import annotations


class IdentityError(Exception):
    """A file of the manager's secrets can't be used; says which, and what to do. The file is left as it is."""
