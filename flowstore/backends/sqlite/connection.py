"""One SQLite connection in a thread of its own, used one whole hop at a time; and its errors, translated."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Final, TypeVar

import aiosqlite
from aiosqlite.core import _STOP_RUNNING_SENTINEL, set_exception, set_result

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
    sqlite3.SQLITE_IOERR_SHMSIZE: StorageFull,
    sqlite3.SQLITE_IOERR_SHORT_READ: CorruptStore,  # the file or its WAL ends before a page that is in it
}

_OF_FILE_SYSTEM: Final[dict[int, type[StorageError]]] = {
    errno.EACCES: AccessDenied,
    errno.EPERM: AccessDenied,
    errno.EROFS: AccessDenied,
    errno.ENOSPC: StorageFull,
    errno.EDQUOT: StorageFull,
}

_creating: Final = Lock()


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Errors of SQLite and of the file system become flowstore's, naming the file, and stay the cause."""
    try:
        yield
    except sqlite3.Error as error:
        raise _kind(error)(f"{path}: {error}") from error
    except UnicodeDecodeError as error:  # Python's own, where SQLite's text quotes damaged bytes
        raise CorruptStore(f"{path}: the error of SQLite cannot be read: {error}") from error
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        kind = _OF_FILE_SYSTEM.get(error.errno or 0, StorageUnavailable)
        raise kind(f"{path}: cannot be opened: {error.strerror}") from error


def _kind(error: sqlite3.Error) -> type[StorageError]:
    if "Could not decode to UTF-8" in str(error) or "malformed JSON" in str(error):  # they have no code
        return CorruptStore
    code = getattr(error, "sqlite_errorcode", 0)
    return _TRANSLATED.get(code) or _TRANSLATED.get(code & 0xFF, StorageError)


class Connection(aiosqlite.Connection):
    """aiosqlite's, with three differences: a call is one whole hop, its thread outlives the loop but never
    holds up exit, and what happens in a file that is not there any more is an error.

    A transaction of several aiosqlite calls can be torn apart by a cancellation; a function that
    runs as a whole in the connection's thread cannot. SQLite itself goes on in a deleted file as if
    nothing had happened.
    """

    def __init__(self, path: Path, timeout: float, *setup: str) -> None:
        super().__init__(lambda: self._open(timeout, setup), iter_chunk_size=64)
        self._thread = Thread(target=_serve, args=(self._tx,), name=f"flowstore {path.name}", daemon=True)
        self._path = path
        self._file: tuple[int, int]
        self._opened: sqlite3.Connection | None = None

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """``work`` in the connection's thread; it goes on to its end even when the caller is cancelled."""
        with translated(self._path):
            result: T = await self._execute(self._work, work)  # type: ignore[no-untyped-call]  # aiosqlite's
            return result

    def post(self, call: Callable[[], None]) -> None:
        """``call`` in the connection's thread, in its turn. It is not waited for, and must not raise."""
        self._tx.put_nowait((None, call))

    def _open(self, timeout: float, setup: tuple[str, ...]) -> sqlite3.Connection:
        _create(self._path)
        found = _identity(self._path)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "was deleted while it was opened", str(self._path))
        self._file = found
        self._opened = _connect(self._path, timeout, setup)
        return self._opened

    def stop(self) -> asyncio.Future[Any] | None:
        """As aiosqlite's, which does not know of a connection that was made for a cancelled caller."""
        self._tx.put_nowait((None, self._close_opened))
        return super().stop()

    def _close_opened(self) -> None:
        if self._opened is not None:
            self._opened.close()

    def _work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self._conn)
        finally:
            if self._file != _identity(self._path):
                raise StoreReplaced(
                    f"{self._path}: was deleted, or replaced by another file, while it was open"
                )


def _serve(calls: SimpleQueue[tuple[asyncio.Future[Any] | None, Callable[[], Any]]]) -> None:
    """aiosqlite's would die of its first answer to a closed loop, and would keep its connection alive."""
    answer = None
    while answer is not _STOP_RUNNING_SENTINEL:
        future, call = calls.get()
        settle: Callable[..., None] = set_result
        try:
            answer = call()
        except BaseException as error:
            answer, settle = error, set_exception
        if future is not None:
            with suppress(RuntimeError):  # the loop is closed, nobody waits for the answer
                future.get_loop().call_soon_threadsafe(settle, future, answer)
        if answer is not _STOP_RUNNING_SENTINEL:
            answer = None
        del future, call


def _identity(path: Path) -> tuple[int, int] | None:
    """Of the file that is there now; None when there is none, or none that can be reached."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _create(path: Path) -> None:
    """Make the file, for its owner only, unless it is there.

    One that is there is not even opened: closing it again would drop the locks that SQLite holds on it
    for all connections of this process. Another process would find nobody using the file and delete
    the WAL under them. Hence the lock, too: nobody connects between this opening and closing.
    """
    with _creating, suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _connect(path: Path, timeout: float, setup: tuple[str, ...]) -> sqlite3.Connection:
    raw = sqlite3.connect(
        f"{path.as_uri()}?mode=rw", uri=True, timeout=timeout, isolation_level=None, cached_statements=256
    )
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
