"""Who waits for what in one event loop: for an id to appear, or for any write below a prefix."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple

from flowstore.errors import BackendClosed
from flowstore.typed.tree.files import Written

_LINUX_COARSE: Final = 5
"""The number of CLOCK_REALTIME_COARSE, which the kernel takes the times of files from."""
_LAG: Final = 1_000 if sys.platform == "linux" else 20_000_000
"""Nanoseconds that the times of files may be behind ``_file_clock``, which file systems round."""
_MOST_TOLD: Final = 1_000


class Moment(NamedTuple):
    """By the clock, which somebody may set, and by one that only runs; in nanoseconds."""

    wall: int
    monotonic: int

    @classmethod
    def now(cls) -> Moment:
        return cls(_file_clock(), time.monotonic_ns())

    @property
    def of_files(self) -> int:
        """Files that were moved after this moment have this time or a later one."""
        passed = time.monotonic_ns() - self.monotonic
        return min(self.wall, _file_clock() - passed) - _LAG


def _file_clock() -> int:
    """The time that a file would get now, in nanoseconds."""
    return time.clock_gettime_ns(_LINUX_COARSE) if sys.platform == "linux" else time.time_ns()


def _by_monotonic(moment: Moment) -> int:
    return moment.monotonic


class Watcher:
    """Of one prefix: the ids that were written and not taken yet, each once.

    ``known``: what this process knew of when it was made, which may be as new as files can tell.
    """

    def __init__(self, prefix: str, known: Mapping[str, Written]) -> None:
        self.prefix = prefix
        self.known = known
        self.began = Moment.now()
        self.is_closed = False
        self._ids: dict[str, None] = {}
        self._waking: asyncio.Future[None] | None = None

    def add(self, id: str) -> None:
        self._ids.pop(id, None)
        self._ids[id] = None
        self._wake()

    def close(self) -> None:
        self.is_closed = True
        self._wake()

    async def next(self) -> str:
        """The next id. Raises BackendClosed."""
        while not self._ids:
            if self.is_closed:
                raise BackendClosed("the backend is closed")
            self._waking = asyncio.get_running_loop().create_future()
            await self._waking
        id = next(iter(self._ids))
        del self._ids[id]
        return id

    def _wake(self) -> None:
        if self._waking is not None and not self._waking.done():
            self._waking.set_result(None)


class Audience:
    """All who wait, and what they have been told.

    ``told`` has the last writes that this process made or heard of, so that one who looks at the files
    finds out which it has missed. It has two halves, of which the older one is dropped at each look.
    """

    def __init__(self) -> None:
        self._waits: dict[str, set[asyncio.Future[None]]] = {}
        self._watchers: set[Watcher] = set()
        self._told: dict[str, Written] = {}
        self._told_before: dict[str, Written] = {}
        self._is_closed = False

    @property
    def is_waiting(self) -> bool:
        return bool(self._waits or self._watchers) and not self._is_closed

    @property
    def ids(self) -> list[str]:
        """Those that are awaited."""
        return list(self._waits)

    def watched(self, since: Moment) -> dict[str, Moment]:
        """The prefixes, each with the moment since when something may have been missed below it."""
        found: dict[str, Moment] = {}
        for watcher in self._watchers:
            began = max(since, watcher.began, key=_by_monotonic)
            found[watcher.prefix] = min(began, found.get(watcher.prefix, began), key=_by_monotonic)
        return found

    @contextmanager
    def waiting(self, id: str) -> Iterator[asyncio.Future[None]]:
        """What is done when the id has appeared, or the storage is closed."""
        wait: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waits = self._waits.setdefault(id, set())
        waits.add(wait)
        try:
            yield wait
        finally:
            waits.discard(wait)
            if not waits:
                self._waits.pop(id, None)

    def check_open(self) -> None:
        if self._is_closed:
            raise BackendClosed("the backend is closed")

    def watch(self, watcher: Watcher) -> None:
        self._watchers.add(watcher)

    def unwatch(self, watcher: Watcher) -> None:
        self._watchers.discard(watcher)

    def note(self, written: Iterable[Written]) -> None:
        """Remember what this process has written; from any thread."""
        for one in written:
            self._told[one.id] = one
        if len(self._told) > _MOST_TOLD and not self._watchers:
            self.forget()

    def forget(self) -> None:
        """Begin another half of what was told."""
        self._told_before, self._told = self._told, {}

    @property
    def heard(self) -> dict[str, Written]:
        """The last writes that this process made or heard of; from any thread, as dicts copy at once."""
        return self._told_before | self._told

    def has_heard(self, one: Written) -> bool:
        return self._told.get(one.id, self._told_before.get(one.id)) == one

    def tell(self, written: Iterable[Written]) -> None:
        for one in written:
            self._told[one.id] = one
            self.wake(one.id)
            for watcher in list(self._watchers):
                if one.id.startswith(watcher.prefix):
                    watcher.add(one.id)

    def wake(self, id: str) -> None:
        for wait in self._waits.get(id, ()):
            if not wait.done():
                wait.set_result(None)

    def close(self) -> None:
        self._is_closed = True
        for id in self._waits:
            self.wake(id)
        for watcher in list(self._watchers):
            watcher.close()
