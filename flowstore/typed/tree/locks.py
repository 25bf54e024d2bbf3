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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    """A lock that is held, with the note in its file and the place for a new file."""

    def __init__(self, new: str, descriptor: int) -> None:
        self.new = new
        """Where the holder may write a file that is to replace another one."""
        self._descriptor = descriptor

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


class Locks:
    """The locks in a folder, for the threads of one storage."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._queues = [Lock() for _ in range(STRIPES)]

    @contextmanager
    def held(self, stripe: int, deadline: float, timeout: float) -> Iterator[Stripe]:
        """Hold a lock for the block.

        Raises StorageTimeout at ``deadline``, of the monotonic clock; ``timeout`` is what that came from.
        """
        queue = self._queues[stripe]
        if not queue.acquire(timeout=max(0, deadline - time.monotonic())):
            raise self._late(stripe, timeout)
        try:
            with self._locked(stripe, deadline, timeout) as descriptor:
                yield Stripe(f"{self._folder}/{stripe:02x}{NEW}", descriptor)
        finally:
            queue.release()

    @contextmanager
    def _locked(self, stripe: int, deadline: float, timeout: float) -> Iterator[int]:
        path, pause = f"{self._folder}/{stripe:02x}{LOCK}", _FIRST_PAUSE
        while (descriptor := _try_lock(path)) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._late(stripe, timeout)
            time.sleep(min(left, pause * random.uniform(0.5, 1)))
            pause = min(2 * pause, _LONGEST_PAUSE)
        try:
            yield descriptor
        finally:
            _unlock(descriptor)

    def _late(self, stripe: int, timeout: float) -> StorageTimeout:
        return StorageTimeout(
            f"{self._folder}/{stripe:02x}{LOCK}: others held this lock for all of op_timeout, {timeout:g} s"
        )


def _try_lock(path: str) -> int | None:
    """The descriptor of the lock; None if somebody else has it."""
    with _forking:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        _held.add(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink:  # or somebody has removed the file, and others lock another one
            return descriptor
    except BlockingIOError:
        pass
    except BaseException:
        _close(descriptor)
        raise
    _close(descriptor)
    return None


def _unlock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        _close(descriptor)


def _close(descriptor: int) -> None:
    with _forking:
        _held.discard(descriptor)
        os.close(descriptor)
