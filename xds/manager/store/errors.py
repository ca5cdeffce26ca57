"""Why the store refused. Each message is a sentence for people that says what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType


class StoreError(Exception):
    """The store can't be used, or a change could not be stored; what was stored before is as it was.

    `about` are the ids of what was not stored, as fields of a log line.
    """

    about: Mapping[str, str] = MappingProxyType({})


class StoreFullError(StoreError):
    """There is no room for the change. The store works again as soon as there is."""


class UnreadableError(ValueError):
    """A stored row is not what this version of Byway writes."""
