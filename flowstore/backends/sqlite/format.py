"""The format of a file: created, migrated, or that of a newer program and read where that is safe.

PRAGMA user_version is the number of the format. The table ``compatibility`` says which older programs may
still use the file: one that knows format ``oldest_writer`` or later may write, ``oldest_reader`` or later may
read. So a change that adds a column need not lock older programs out.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final, NamedTuple

from flowstore._trips.read_only import read_only_refusal, too_old
from flowstore.backends.sqlite.connection import is_of_readers, transaction
from flowstore.backends.sqlite.migrations import MIGRATIONS, run_script
from flowstore.backends.sqlite.statements import SCHEMA, SQL
from flowstore.errors import AccessDenied, CorruptStore, SchemaTooNew

FORMAT: Final = 4
_APPLICATION_ID: Final = int.from_bytes(b"flow", "big")
NO_NAMESPACE: Final = -1
"""The number of a namespace that is not there, in a file that may not be written here."""


class Opened(NamedTuple):
    """A namespace of a file. ``refusal``: why it can only be read; None when it can be written, too."""

    number: int
    refusal: SchemaTooNew | AccessDenied | None


def open_namespace(raw: sqlite3.Connection, path: Path, name: str) -> Opened:
    """Create or migrate the schema where needed, and find the namespace.

    Raises SchemaTooNew for a file that this program may not even read, CorruptStore for one that is not
    flowstore's.
    """
    if _user_version(raw) < FORMAT:
        _update(raw, path)
    _check_application(raw, path)
    refusal: SchemaTooNew | AccessDenied | None = _refusal(raw, path)
    if refusal is None:
        try:
            with transaction(raw):
                raw.execute(SQL["add_namespace"], (name,))
                raw.execute(SQL["unmark_dropped"], (name,))
        except sqlite3.OperationalError as error:
            if not is_of_readers(error):
                raise
            refusal = AccessDenied(f"{path}: {error}")
            refusal.__cause__ = error
    return Opened(namespace_number(raw, name), refusal)


def look_into(raw: sqlite3.Connection, path: Path, name: str) -> Opened:
    """Find the namespace, for a program that writes nothing.

    Raises as ``open_namespace``, and AccessDenied for a file of an older format, or without any.
    """
    found = _user_version(raw)
    if found < FORMAT and not raw.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall():
        raise AccessDenied(f"{path}: is empty, and read_only=True makes no store of it")
    _check_application(raw, path)
    if found < FORMAT:
        raise too_old(str(path), found, FORMAT)
    return Opened(namespace_number(raw, name), _refusal(raw, path) or read_only_refusal())


def namespace_number(raw: sqlite3.Connection, name: str) -> int:
    numbers = raw.execute(SQL["find_namespace"], (name,)).fetchall()
    return numbers[0][0] if numbers else NO_NAMESPACE


def _update(raw: sqlite3.Connection, path: Path) -> None:
    """In one transaction, so that a process that dies halfway leaves the file as it was."""
    with transaction(raw):
        found = _user_version(raw)  # again, under the lock: another process may have been faster
        if found == 0:
            _create(raw, path)
        elif found < FORMAT:
            _check_application(raw, path)
            for number in range(found, FORMAT):
                if number not in MIGRATIONS:
                    raise CorruptStore(f"{path}: is of format {number}, from before the first release")
                MIGRATIONS[number](raw)
            raw.execute(f"PRAGMA user_version = {FORMAT}")


def _create(raw: sqlite3.Connection, path: Path) -> None:
    if raw.execute("SELECT 1 FROM sqlite_schema").fetchall():
        raise CorruptStore(f"{path}: is a database of another program")
    run_script(raw, SCHEMA["file"])
    run_script(raw, SCHEMA["records"])
    raw.execute("INSERT INTO compatibility VALUES (?, ?)", (FORMAT, FORMAT))
    raw.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    raw.execute(f"PRAGMA user_version = {FORMAT}")


def _refusal(raw: sqlite3.Connection, path: Path) -> SchemaTooNew | None:
    found = _user_version(raw)
    [(oldest_writer, oldest_reader)] = raw.execute(SQL["compatibility"]).fetchall() or [(found, found)]
    if oldest_writer is None or oldest_reader is None:  # of a page that was zeroed
        raise CorruptStore(f"{path}: does not say which programs may use it")
    if oldest_reader > FORMAT:
        raise SchemaTooNew(str(path), found, FORMAT)
    return SchemaTooNew(str(path), found, FORMAT, is_readable=True) if oldest_writer > FORMAT else None


def _user_version(raw: sqlite3.Connection) -> int:
    [(found,)] = raw.execute("PRAGMA user_version").fetchall()
    return int(found)


def _check_application(raw: sqlite3.Connection, path: Path) -> None:
    if raw.execute("PRAGMA application_id").fetchall() != [(_APPLICATION_ID,)]:
        raise CorruptStore(f"{path}: is a database of another program")
