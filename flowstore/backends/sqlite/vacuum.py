"""Room that nothing uses, given back to the file system.

SQLite puts what is removed on a list of free pages and uses them again. In a file that was made with
auto_vacuum = INCREMENTAL it can also move pages from the end of the file there, some at a time, and cut the
end off. A file that was made without can only be written anew as a whole, which also makes it such a file.

The file itself gets shorter with the next checkpoint that carries over the whole WAL.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from flowstore.backends.sqlite.connection import transaction

PAGES: Final = 500
"""How many are cut off in one transaction, during which nobody else can write: for some 20 ms."""
_PATIENCE: Final = 100
"""Milliseconds that a checkpoint may wait for readers. Nobody else can write in that time, either."""


def cut(raw: sqlite3.Connection) -> int:
    """Cut some of the free pages off; how many bytes. When none is left, the file gets shorter."""
    with transaction(raw):
        before = _size(raw)
        [(free,)] = raw.execute("PRAGMA freelist_count").fetchall()
        for _ in range(min(free, PAGES)):
            # One by one: it is a statement without columns, of which Python takes a single step.
            raw.execute("PRAGMA incremental_vacuum(1)")
        freed = before - _size(raw)
    if not freed:
        _checkpoint(raw)
    return freed


def write_anew(raw: sqlite3.Connection) -> int:
    """Without any free page; how many bytes shorter it is."""
    before = _size(raw)
    raw.execute("PRAGMA auto_vacuum = INCREMENTAL")
    raw.execute("VACUUM")
    _checkpoint(raw)
    return max(0, before - _size(raw))


def _size(raw: sqlite3.Connection) -> int:
    [(pages,)] = raw.execute("PRAGMA page_count").fetchall()
    [(size,)] = raw.execute("PRAGMA page_size").fetchall()
    return int(pages * size)


def _checkpoint(raw: sqlite3.Connection) -> None:
    """As far as readers let it; the next one of anybody carries on."""
    [(patience,)] = raw.execute("PRAGMA busy_timeout").fetchall()
    raw.execute(f"PRAGMA busy_timeout = {_PATIENCE}")
    try:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        raw.execute(f"PRAGMA busy_timeout = {patience}")
