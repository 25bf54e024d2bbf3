"""A lock for each stripe of ids, which all threads and processes on a tree respect and no dead one holds.

It is flock, which the system takes back from whoever dies. A library was measured and left alone: filelock
takes 80 us for a lock that is free, where open and flock take 4 and a small file is written in 20, and it
sleeps a fixed time between its attempts. Threads of one process queue at a lock of their own first, so that
only processes have to look again and again.

The lock of a process is also held by the children that it has forked meanwhile. So a child closes what it has
inherited at once, and a lock is given back by unlocking it, which counts for the children, too.

The file of a lock is also the note of what its holder is about to do: the path that folders are made or
removed for. It is crossed out when that is done. Where the next holder finds a note, the last one has died in
the midst of it, and what is left is tidied up.
"""

from __future__ import annotations

import fcntl
import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Final
from zlib import crc32

from flowstore.errors import StorageTimeout

STRIPES: Final = 256
LOCK: Final = ".lock"
NEW: Final = ".new"
_FIRST_PAUSE: Final = 0.000_2
_LONGEST_PAUSE: Final = 0.005
_NOTE_BYTES: Final = 4_096
_CROSSED_OUT: Final = b"\n"

_held: Final[set[int]] = set()
"""The descriptors of this process that locks are held by."""
_forking: Final = Lock()
"""Held while one is opened, and through a fork, so that a child knows of each that it has."""


def _forked() -> None:
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()
    _forking.release()


os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_forked)


def stripe_of(id: str) -> int:
    return crc32(id.encode()) % STRIPES


class Stripe:
    """A lock, held in a ``with`` block, with the note in its file and the place for a new file.

    Entering raises StorageTimeout after ``timeout`` seconds. ``recover`` is called where a note is found.
    """

    def __init__(self, path: str, queue: Lock, timeout: float, recover: Callable[[Stripe], None]) -> None:
        self.new = path + NEW
        """Where the holder may write a file that is to replace another one."""
        self._path = path + LOCK
        self._queue = queue
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._recover = recover
        self._descriptor = -1

    def __enter__(self) -> Stripe:
        # Mostly nobody else is there, and the time need not be looked at.
        if not self._queue.acquire(False) and not self._queue.acquire(timeout=self._left()):
            raise self._late()
        try:
            self._descriptor = self._locked()
        except BaseException:
            self._queue.release()
            raise
        if self.note:
            self._tidy_up()
        return self

    def __exit__(self, *error: object) -> None:
        try:
            _unlock(self._descriptor)
        finally:
            self._queue.release()

    @property
    def note(self) -> str:
        """The path that was worked on, "" if that was finished."""
        found = os.pread(self._descriptor, _NOTE_BYTES, 0)
        return os.fsdecode(found.partition(b"\n")[0])

    def write(self, path: str) -> None:
        # With no block left on the disk it is done without: to remove something must always be possible.
        with suppress(OSError):
            os.pwrite(self._descriptor, os.fsencode(path) + b"\n", 0)

    def cross_out(self) -> None:
        with suppress(OSError):
            os.pwrite(self._descriptor, _CROSSED_OUT, 0)

    def _locked(self) -> int:
        pause = _FIRST_PAUSE
        while (descriptor := _try_lock(self._path)) is None:
            if not (left := self._left()):
                raise self._late()
            time.sleep(min(left, pause * random.uniform(0.5, 1)))
            pause = min(2 * pause, _LONGEST_PAUSE)
        return descriptor

    def _tidy_up(self) -> None:
        try:
            self._recover(self)
        except BaseException:
            self.__exit__()
            raise

    def _left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def _late(self) -> StorageTimeout:
        return StorageTimeout(
            f"{self._path}: others held this lock for all of op_timeout, {self._timeout:g} s"
        )


class Locks:
    """The locks in a folder, for the threads of one storage."""

    def __init__(self, folder: str, recover: Callable[[Stripe], None]) -> None:
        self._folder = folder
        self._recover = recover
        self._queues = [Lock() for _ in range(STRIPES)]

    def stripe(self, number: int, timeout: float) -> Stripe:
        return Stripe(f"{self._folder}/{number:02x}", self._queues[number], timeout, self._recover)


def _try_lock(path: str) -> int | None:
    """The descriptor of the lock; None if somebody else has it."""
    with _forking:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        _held.add(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException as error:
        _close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor


def _unlock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        _close(descriptor)


def _close(descriptor: int) -> None:
    """Of one that no lock is held by any more: a child that does not know of it does no harm."""
    _held.discard(descriptor)
    os.close(descriptor)
