"""The manager's durable store: a manager that is killed at any moment loses nothing that it answered."""

from xds.manager.store.errors import StoreError, StoreFullError, UnreadableError
from xds.manager.store.sqlite import Loaded, SqliteStore, StoreStatistics
from xds.manager.store.times import LATENESS

__all__ = ["LATENESS", "Loaded", "SqliteStore", "StoreError", "StoreFullError", "StoreStatistics", "UnreadableError"]
