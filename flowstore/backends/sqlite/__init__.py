"""Results in one SQLite file."""

from flowstore.backends.sqlite.backend import SQLiteBackend
from flowstore.backends.sqlite.engine import SQLiteEngine

__all__ = ["SQLiteBackend", "SQLiteEngine"]
