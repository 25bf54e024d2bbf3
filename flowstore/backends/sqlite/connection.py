"""One SQLite connection in a thread of its own, used one whole hop at a time; and its errors, translated.

A transaction is one function that runs as a whole in the connection's thread. Made of several awaits it could
be cancelled between BEGIN and COMMIT, and would lock all other processes out; and each await is one more
thread hop, where one hop costs more than the statement. A cancelled caller leaves its hop running: SQLite
is not stopped halfway, and the next hop waits its turn.

POSIX locks belong to a process, not to a descriptor: closing any descriptor of a file drops every lock that
the process holds on it. So nothing but SQLite opens the database file: ``rights.create`` makes one and never
opens an existing one, and ``_is_there`` uses stat. Break that, and another process takes the file for unused
and deletes its WAL, with the writes in it.

In a file that was deleted or replaced SQLite goes on and reports success, for its descriptor remains valid.
So after every hop the path is compared with the file that was opened; a write into a deleted file must fail.
Where the path is a symbolic link, SQLite's other files lie beside what it leads to, and so must everything of
ours; but it is the path that is compared, for a link may come to lead to another file.

SQLite waits for a lock inside of the call, which blocks the thread. Readers and writers therefore have a
connection each, or a read would wait for whatever the writer is waiting for.
"""

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
from threading import Thread
from typing import Any, Final, TypeVar

import aiosqlite
from aiosqlite.core import _STOP_RUNNING_SENTINEL, set_exception, set_result

from flowstore._local.rights import follow
from flowstore.backends.sqlite.rights import BESIDE, create, prepare
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
    sqlite3.SQLITE_IOERR_SHORT_READ: CorruptStore,  # the file or its WAL is cut off
}

_OF_FILE_SYSTEM: Final[dict[int, type[StorageError]]] = {
    errno.EACCES: AccessDenied,
    errno.EPERM: AccessDenied,
    errno.EROFS: AccessDenied,
    errno.ENOSPC: StorageFull,
    errno.EDQUOT: StorageFull,
}


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and the file system into flowstore's; they name the file and keep the cause."""
    try:
        yield
    except sqlite3.Error as error:
        raise _kind(error, path)(f"{path}: {error}") from error
    except UnicodeDecodeError as error:  # from sqlite3, when the message quotes damaged bytes
        raise CorruptStore(f"{path}: the error of SQLite cannot be read: {error}") from error
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        kind = _OF_FILE_SYSTEM.get(error.errno or 0, StorageUnavailable)
        raise kind(f"{path}: cannot be opened: {error.strerror}") from error


def is_damage(error: sqlite3.Error, path: Path) -> bool:
    """Whether it means that what is in the file cannot be read."""
    return _kind(error, path) is CorruptStore


def _kind(error: sqlite3.Error, path: Path) -> type[StorageError]:
    if "Could not decode to UTF-8" in str(error) or "malformed JSON" in str(error):  # these have no code
        return CorruptStore
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF == sqlite3.SQLITE_CANTOPEN and _is_denied(path):
        return AccessDenied
    return _TRANSLATED.get(code) or _TRANSLATED.get(code & 0xFF, StorageError)


def _is_denied(path: Path) -> bool:
    """Whether rights explain that SQLite cannot open a file: it says the same of one that is not there."""
    path = Path(os.path.realpath(path))
    if not os.path.exists(path):
        return False
    # To the files beside it as well, as on a file system that is mounted read-only.
    beside = [name for name in (f"{path}{end}" for end in BESIDE) if os.path.exists(name)]
    may_read = all(_may(name, os.R_OK) for name in (str(path), *beside))
    return not may_read or not _may(str(path.parent), os.W_OK | os.X_OK)


def _may(path: str, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def is_of_readers(error: sqlite3.Error) -> bool:
    """Whether it means that this user may read the file, and not write it."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY


class Connection(aiosqlite.Connection):
    """aiosqlite's connection with three differences: a call is one whole hop; the thread survives the end of
    the event loop but does not keep the interpreter from exiting; a file that disappeared is an error.
    """

    def __init__(
        self, path: Path, mode: int | None, timeout: float, *setup: str, read_only: bool = False
    ) -> None:
        super().__init__(lambda: self._open(mode, timeout, setup), iter_chunk_size=64)
        self._is_read_only = read_only
        self._thread = Thread(target=_serve, args=(self._tx,), name=f"flowstore {path.name}", daemon=True)
        self._path = path
        self.file: Path
        """What the path leads to, once it is open."""
        self._identity: tuple[int, int] | None = None
        self._opened: sqlite3.Connection | None = None

    def another(self, timeout: float, *setup: str) -> Connection:
        """One to the same file, or none. It creates nothing."""
        made = Connection(self._path, None, timeout, *setup, read_only=self._is_read_only)
        made._identity = self._identity
        return made

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` in the connection's thread. It runs to its end even if the caller is cancelled."""
        result: T = await self._execute(self._work, work)  # type: ignore[no-untyped-call]  # aiosqlite's
        return result

    def post(self, call: Callable[[], None]) -> None:
        """Queue ``call`` for the connection's thread and return at once. It must not raise."""
        self._tx.put_nowait((None, call))

    def _open(self, mode: int | None, timeout: float, setup: tuple[str, ...]) -> sqlite3.Connection:
        with translated(self._path):
            self.file = Path(os.path.realpath(self._path))
            if self._identity is None:
                self._create(mode)
                found = os.stat(self.file)
                self._identity = found.st_dev, found.st_ino
            self._check_there()
            self._opened = (_connect_reader if self._is_read_only else _connect)(self.file, timeout, setup)
            return self._opened

    def _create(self, mode: int | None) -> None:
        if not self._is_read_only:
            create(self.file, mode)
        elif not os.path.lexists(self.file):
            raise StorageUnavailable(f"{self._path}: there is no such file, and read_only=True makes none")

    def stop(self) -> asyncio.Future[Any] | None:
        """As aiosqlite's, and close a connection that was opened for a caller who had been cancelled.

        aiosqlite never learns of that one; left open, it would keep its locks.
        """
        self._tx.put_nowait((None, self._close_opened))
        return super().stop()

    async def end(self) -> None:
        """Stop, and wait until what is under way has ended."""
        if (ended := self.stop()) is not None:
            await asyncio.wait([ended])

    def _close_opened(self) -> None:
        if self._opened is not None:
            self._opened.close()

    def _work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        # Afterwards, not before: a file replaced during the work would go unnoticed until the next hop. In
        # `finally`, since an error that SQLite reports is often only a symptom of the missing file.
        with translated(self._path):
            try:
                return work(self._conn)
            finally:
                self._check_there()

    def _check_there(self) -> None:
        if not self._is_there():
            raise StoreReplaced(f"{self._path}: was deleted, or replaced by another file, while it was open")

    def _is_there(self) -> bool:
        try:
            found = os.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:  # such as a folder that must not be looked into: that says nothing about the file
            return True
        return self._identity == (found.st_dev, found.st_ino)


def _serve(calls: SimpleQueue[tuple[asyncio.Future[Any] | None, Callable[[], Any]]]) -> None:
    """The thread: aiosqlite's dies at its first answer to a closed loop; later calls would hang for ever."""
    answer = None
    while answer is not _STOP_RUNNING_SENTINEL:
        future, call = calls.get()
        settle: Callable[..., None] = set_result
        try:
            answer = call()
        except BaseException as error:
            answer, settle = error, set_exception
        if future is not None:
            with suppress(RuntimeError):  # the loop is closed and nobody awaits the answer
                future.get_loop().call_soon_threadsafe(settle, future, answer)
        if answer is not _STOP_RUNNING_SENTINEL:
            answer = None
        del future, call  # while it waits for the next call, it must not keep the last one alive


def _connect(path: Path, timeout: float, setup: tuple[str, ...]) -> sqlite3.Connection:
    with _connected(path, "rw", timeout) as raw:
        if not path.stat().st_size:  # only a file without a single page can be made so
            _run_until_unlocked(raw, "PRAGMA auto_vacuum = INCREMENTAL", timeout)
        _run_until_unlocked(raw, "PRAGMA journal_mode = WAL", timeout)
        for statement in setup:
            raw.execute(statement)
    return raw


def _connect_reader(path: Path, timeout: float, setup: tuple[str, ...]) -> sqlite3.Connection:
    """The file stays as it is, and so does what is in its WAL. SQLite makes an empty one, with its index."""
    _check_beside(path)
    with _connected(path, "ro", timeout) as raw:
        for statement in setup:
            raw.execute(statement)
        raw.execute("SELECT 1 FROM sqlite_schema").fetchall()
    return raw


def _check_beside(path: Path) -> None:
    """Raise AccessDenied where a reader could not make what SQLite needs beside the file, or should not.

    Whoever may not write the file would make files that those who may cannot use.
    """
    is_there = all(os.path.exists(f"{path}{end}") for end in BESIDE)
    may_make = _may(str(path), os.W_OK) and _may(str(path.parent), os.W_OK | os.X_OK)
    if not is_there and not may_make and _may(str(path), os.R_OK):
        raise AccessDenied(
            f"{path}: its -wal and -shm files are not there, and this user may not make them; "
            "they are there while a program that may write has the file open"
        )


@contextmanager
def _connected(path: Path, mode: str, timeout: float) -> Iterator[sqlite3.Connection]:
    """A connection that is set up in the block. What lies beside the file has its rights afterwards."""
    prepare(path)
    raw = sqlite3.connect(
        f"{path.as_uri()}?mode={mode}", uri=True, timeout=timeout, isolation_level=None, cached_statements=256
    )
    try:
        yield raw
        for name in BESIDE:  # made by SQLite, or before the file had the rights that it has now
            follow(f"{path}{name}", os.stat(path))
    except BaseException:
        raw.close()
        raise


def _run_until_unlocked(raw: sqlite3.Connection, statement: str, timeout: float) -> None:
    """Retry ``statement`` for ``timeout`` seconds: a change of the journal mode ignores busy_timeout."""
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
def snapshot(raw: sqlite3.Connection) -> Iterator[None]:
    """A read transaction: all that is read in the block was there at the same time."""
    raw.execute("BEGIN")
    try:
        yield
    finally:
        if raw.in_transaction:
            raw.execute("ROLLBACK")


@contextmanager
def transaction(raw: sqlite3.Connection) -> Iterator[None]:
    """A write transaction: all of the block or none of it."""
    # A deferred transaction that begins to write after a read fails at once with "database is locked",
    # whatever busy_timeout says.
    raw.execute("BEGIN IMMEDIATE")
    try:
        yield
        raw.execute("COMMIT")
    except BaseException:
        if raw.in_transaction:
            raw.execute("ROLLBACK")
        raise
