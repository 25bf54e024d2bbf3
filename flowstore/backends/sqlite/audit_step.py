"""What one step of an audit of a SQLite file reads, finds and mends."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, Final

from flowstore.backends.sqlite.connection import is_damage
from flowstore.backends.sqlite.statements import SQL, named_statements
from flowstore.engine import WHOLE_STORE, AuditedRecord, Flaw, FlawKind

AUDIT: Final = named_statements("audit.sql")
COLUMNS: Final = {"facet": 7, "timeline": 5, "item": 8}
"""The tables that are indexes themselves, and how many columns they have."""
_TABLES: Final = {
    "add_facet": {"facet"},
    "drop_facet": {"facet"},
    "log_time": {"timeline", "item"},
    "drop_time": {"timeline", "item"},
    "drop_item": {"item"},
}
"""Those that have to be in order for a statement."""
BEHIND: Final = b""
"""A blob comes after all texts, and after all numbers."""


class Step:
    def __init__(
        self, raw: sqlite3.Connection, path: Path, ns: int, prefix: str, limit: int, repair: Collection[str]
    ) -> None:
        self._raw = raw
        self._path = path
        self.ns = ns
        self.prefix = prefix
        self.behind = behind(prefix)
        self.limit = limit
        self.repair = repair
        self.records: list[AuditedRecord] = []
        self.flaws: list[Flaw] = []
        self.has_lost_ids = False
        self.unsorted: frozenset[str] = frozenset()
        self._reindexed: set[str] = set()

    def is_damage(self, error: sqlite3.Error) -> bool:
        return is_damage(error, self._path)

    def rows(self, statement: str, *values: object) -> list[Any]:
        # Always fetchall: a cursor that is not exhausted keeps its snapshot, and the WAL can never be reset.
        return self._raw.execute(AUDIT[statement], (self.ns, *values)).fetchall()

    def tried(self, where: str, statement: str, *values: object) -> list[Any] | None:
        """The rows; None where they cannot be read, which is a flaw."""
        try:
            return self.rows(statement, *values)
        except sqlite3.Error as error:
            if not self.is_damage(error):
                raise
            self.found(FlawKind.DAMAGED, WHOLE_STORE, where, str(error))
            return None

    def each(self, rows: Iterable[Any], look: Callable[[Any], None]) -> None:
        """Look at each row, but for what cannot be read: whatever is there is found where it is walked."""
        for row in rows:
            try:
                look(row)
            except sqlite3.Error as error:
                if not self.is_damage(error):
                    raise

    def found(
        self,
        kind: FlawKind,
        task_id: str,
        where: str,
        reason: str,
        mend: Callable[[], bool] | None = None,
    ) -> None:
        is_repaired = mend is not None and task_id in self.repair and mend()
        self.flaws.append(Flaw(kind, task_id, where, reason, is_repaired))

    def run(self, statement: str, *values: object) -> bool:
        """Carry out a statement of the engine; whether it has changed anything."""
        if not self.unsorted.isdisjoint(_TABLES[statement]):
            return False
        return self._raw.execute(SQL[statement], values).rowcount > 0

    def set_tally(self, status: int, tasks: int) -> bool:
        return self._raw.execute(AUDIT["set_tally"], (self.ns, status, tasks)).rowcount > 0

    def reindex(self, statement: str) -> bool:
        """Make an index anew from the rows, once in a step."""
        if statement not in self._reindexed:
            try:
                self._raw.execute(AUDIT[statement])
            except sqlite3.Error as error:  # also where two rows have come to have the same id
                if not self.is_damage(error) and not isinstance(error, sqlite3.IntegrityError):
                    raise
                return False
            self._reindexed.add(statement)
        return True

    def put_in_order(self, table: str) -> bool:
        """Put the rows of a table where their keys belong; False, and nothing is done, if some are lost."""
        columns = ", ".join(f"c{number}" for number in range(1, COLUMNS[table] + 1))
        self._raw.execute("SAVEPOINT sorting")
        try:
            # Without types, which would convert what is in a column of any type.
            self._raw.execute(f"CREATE TEMP TABLE sorted ({columns})")
            self._raw.execute(f"INSERT INTO temp.sorted SELECT * FROM {table}")
            self._raw.execute(f"DELETE FROM {table}")  # without a condition it searches for nothing
            self._raw.execute(f"INSERT OR IGNORE INTO {table} SELECT * FROM temp.sorted ORDER BY {columns}")
            self._raw.execute("DROP TABLE temp.sorted")
        except sqlite3.Error as error:
            self._raw.execute("ROLLBACK TO sorting")
            if not self.is_damage(error) and not isinstance(error, sqlite3.IntegrityError):
                raise
            return False
        finally:
            self._raw.execute("RELEASE sorting")
        return True


def behind(prefix: str) -> str | bytes:
    """The first text behind all those with this prefix."""
    for size in range(len(prefix), 0, -1):
        following = ord(prefix[size - 1]) + 1
        if following <= 0x10FFFF:
            return prefix[: size - 1] + chr(0xE000 if following == 0xD800 else following)
    return BEHIND
