"""One SQLite connection in a thread of its own, used one whole hop at a time; and its errors, translated."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import aiosqlite

from flowstore.errors import (
    AccessDenied,
    CorruptStore,
    StorageError,
    StorageFull,
    StorageTimeout,
    StorageUnavailable,
    StoreReplaced,
)

T = TypeVar("T")

_TRANSLATED: Final[dict[int, type[StorageError]]] = {
    sqlite3.SQLITE_BUSY: StorageTimeout,
    sqlite3.SQLITE_LOCKED: StorageTimeout,
    sqlite3.SQLITE_CANTOPEN: StorageUnavailable,
    sqlite3.SQLITE_READONLY: AccessDenied,
    sqlite3.SQLITE_PERM: AccessDenied,
    sqlite3.SQLITE_FULL: StorageFull,
    sqlite3.SQLITE_CORRUPT: CorruptStore,
    sqlite3.SQLITE_NOTADB: CorruptStore,
}


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Driver errors become flowstore's, naming the file; the driver's stays the cause."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        raise _TRANSLATED.get(code, StorageError)(f"{path}: {error}") from error


class Connection(aiosqlite.Connection):
    """aiosqlite's, with three differences: a call is one whole hop, its thread never holds up exit, and
    what happens in a file that is not there any more is an error.

    A transaction of several aiosqlite calls can be torn apart by a cancellation; a function that
    runs as a whole in the connection's thread cannot. SQLite itself goes on in a deleted file as if
    nothing had happened.
    """

    def __init__(self, path: Path, timeout: float, *setup: str) -> None:
        super().__init__(lambda: self._open(timeout, setup), iter_chunk_size=64)
        self._thread.daemon = True
        self._path = path
        self._file: tuple[int, int]

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """``work`` in the connection's thread; it goes on to its end even when the caller is cancelled."""
        with translated(self._path):
            result: T = await self._execute(self._work, work)  # type: ignore[no-untyped-call]  # aiosqlite's
            return result

    def _open(self, timeout: float, setup: tuple[str, ...]) -> sqlite3.Connection:
        raw = _connect(self._path, timeout, setup)
        self._file = _identity(self._path)
        return raw

    def _work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self._conn)
        finally:
            if self._file != _identity(self._path):
                raise StoreReplaced(
                    f"{self._path}: was deleted, or replaced by another file, while it was open"
                )


def _identity(path: Path) -> tuple[int, int]:
    """Of the file that is there now; (0, 0) when there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return 0, 0
    return found.st_dev, found.st_ino


def _connect(path: Path, timeout: float, setup: tuple[str, ...]) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    raw = sqlite3.connect(path, timeout=timeout, isolation_level=None, cached_statements=256)
    try:
        _run_until_unlocked(raw, "PRAGMA journal_mode = WAL", timeout)
        for statement in setup:
            raw.execute(statement)
    except BaseException:
        raw.close()
        raise
    return raw


def _run_until_unlocked(raw: sqlite3.Connection, statement: str, timeout: float) -> None:
    """SQLite does not wait for the lock that a change of the journal mode needs."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            raw.execute(statement).fetchall()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextmanager
def transaction(raw: sqlite3.Connection) -> Iterator[None]:
    """A write transaction: all of the block or none of it."""
    raw.execute("BEGIN IMMEDIATE")
    try:
        yield
        raw.execute("COMMIT")
    except BaseException:
        if raw.in_transaction:
            raw.execute("ROLLBACK")
        raise
