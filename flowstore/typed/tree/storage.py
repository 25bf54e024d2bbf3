"""Entries in a tree of files: ``<base_dir>/<id>.json``. The files are for people and other programs to read.

Every call is one hop to a thread, and what has begun there is finished, whatever becomes of the caller.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Final, Literal, TypeVar

from anyio import CapacityLimiter, to_thread

from flowstore._trips.lifecycle import Lifecycle
from flowstore._values.arguments import check_duration, check_int
from flowstore.typed.storage import EntryStorage, Kind, New, Recent, Stored
from flowstore.typed.tree.files import Tree
from flowstore.typed.tree.names import checked_names_of
from flowstore.typed.tree.news import News
from flowstore.typed.tree.watchers import Watcher
from flowstore.typed.turns import Turns

T = TypeVar("T")
Durability = Literal["full", "normal"]

DURABILITIES: Final = ("full", "normal")
_AT_ONCE: Final = 8
"""How many threads may write; and as many may read, so that they go on where writers wait for a lock."""


class TreeStorage(EntryStorage):
    """A tree of files that any number of processes of one machine may share.

    ``base_dir`` is made when the storage opens. ``durability``: "full" has what was written on the disk
    before the call returns, and "normal" leaves that to the system, as in SQLite. ``op_timeout``: how many
    seconds to wait for the lock of an id. ``recheck_interval``: every how many seconds waits look at the
    files, even without being told of any.
    """

    def __init__(
        self,
        base_dir: str | os.PathLike[str],
        *,
        durability: Durability = "full",
        clock: Callable[[], int] | None = None,
        op_timeout: float = 10.0,
        max_bytes: int = 64 * 2**20,
        recheck_interval: float = 15.0,
    ) -> None:
        self._base = _checked_base(base_dir)
        if durability not in DURABILITIES:
            raise ValueError(f"durability: expected one of {', '.join(DURABILITIES)}, got {durability!r:.80}")
        self._is_synced = durability == "full"
        self._clock = clock or _wall_clock
        self.op_timeout = check_duration("op_timeout", op_timeout)
        self._recheck_interval = check_duration("recheck_interval", recheck_interval)
        self.max_bytes = check_int("max_bytes", max_bytes, 1)
        self.turns = Turns()
        self._beginning = Lock()
        self._here = self._begin(None)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._base!r})"

    def _begin(self, before: _Life | None) -> _Life:
        tree = Tree(self._base, self._is_synced, self._clock, self.op_timeout)
        return _Life(tree, self._recheck_interval, before)

    @property
    def _life(self) -> _Life:
        """As in ``Core``: the life in the current loop, or a new one if that of the last one is closed."""
        if self._here.lifecycle.is_orphaned:
            with self._beginning:
                if (orphan := self._here).lifecycle.is_orphaned:
                    self._here = self._begin(orphan)
        return self._here

    async def open(self) -> None:
        await self._life.lifecycle.open()

    async def close(self) -> None:
        await self._life.lifecycle.close()

    async def create(self, entries: Sequence[New]) -> list[bool]:
        life = self._life
        return await life.write(life.tree.create, entries)

    async def replace(self, entry: New, standing: Stored) -> bool:
        life = self._life
        return await life.write(life.tree.replace, entry, standing)

    async def overwrite(self, entry: New) -> Stored | None:
        """In one step, under the lock of the id."""
        life = self._life
        return await life.write(life.tree.overwrite, entry)

    async def read(self, ids: Sequence[str], *, with_data: bool = True) -> list[Stored | None]:
        life = self._life
        return await life.read(life.tree.read, ids, with_data)

    async def remove(self, id: str) -> bool:
        life = self._life
        return await life.write(life.tree.remove, id)

    async def scan(self, prefix: str, after: str | None, limit: int) -> list[Stored]:
        life = self._life
        return await life.read(life.tree.scan, prefix, after, limit)

    async def steps(
        self, prefix: str, after: str | None, size: int, most: int
    ) -> AsyncGenerator[list[Stored], None]:
        """One walk: a scan for each step would list a large folder again and again."""
        life = self._life
        entries = life.tree.entries(prefix, after)
        while found := await life.read(life.tree.step, entries, size):
            yield found
            if len(found) < size:
                return
            size = min(2 * size, most)

    async def recent(self, wanted: Recent) -> list[Stored]:
        """It reads the headers of all files."""
        life = self._life
        return await life.read(life.tree.recent, wanted)

    async def kinds(self) -> list[Kind]:
        """It reads the headers of all files."""
        life = self._life
        return await life.read(life.tree.kinds)

    async def clear(self) -> int:
        life, total, is_done = self._life, 0, False
        places = life.tree.places()
        while not is_done:
            count, is_done = await life.write(life.tree.clear, places)
            total += count
        return total

    async def appeared(self, id: str, timeout: float | None) -> None:
        checked_names_of(id)
        life = self._life
        async with life.lifecycle:
            await life.news.appeared(id, timeout)

    def changes(self, prefix: str) -> AsyncGenerator[str, None]:
        """Its first step looks at all folders below the prefix, for what was written since this call.

        The call itself does nothing in the loop: it may come from a thread without one.
        """
        return self._followed(Watcher(prefix, self._here.news.audience.heard))

    async def _followed(self, watcher: Watcher) -> AsyncGenerator[str, None]:
        life = self._life
        try:
            async with life.lifecycle:
                await life.news.follow(watcher)
            while True:
                # Not over the yield: whoever closes the storage would wait for the next step of this.
                async with life.lifecycle:
                    id = await watcher.next()
                yield id
        finally:
            life.news.audience.unwatch(watcher)


class _Life:
    """The storage in one event loop. ``before``: one whose loop was closed before it was."""

    def __init__(self, tree: Tree, recheck_interval: float, before: _Life | None) -> None:
        self.tree = tree
        self.news = News(tree, recheck_interval, self._run)
        self._before = before
        self._writers: CapacityLimiter
        self._readers: CapacityLimiter
        self.lifecycle = Lifecycle(self._open, self._end_waits, self._close, lambda error: None)
        if before is not None:
            before.news.abandon()
            self.lifecycle.is_closed = before.lifecycle.is_closed

    async def write(self, work: Callable[..., T], *args: Any) -> T:
        async with self.lifecycle:
            return await self._in_thread(self._writers, work, *args)

    async def read(self, work: Callable[..., T], *args: Any) -> T:
        async with self.lifecycle:
            return await self._in_thread(self._readers, work, *args)

    async def _run(self, work: Callable[..., T], *args: Any) -> T:
        return await self._in_thread(self._readers, work, *args)

    async def _in_thread(self, limiter: CapacityLimiter, work: Callable[..., T], *args: Any) -> T:
        return await to_thread.run_sync(partial(self._call, work, *args), limiter=limiter)

    def _call(self, work: Callable[..., T], *args: Any) -> T:
        with self.tree.call():
            return work(*args)

    async def _open(self) -> None:
        self._writers, self._readers = CapacityLimiter(_AT_ONCE), CapacityLimiter(_AT_ONCE)
        await to_thread.run_sync(self._begin, limiter=self._writers)
        self.news.open()

    def _begin(self) -> None:
        if self._before is not None:
            self._before.news.work_off()
            self._before = None
        self.tree.open()

    async def _end_waits(self) -> None:
        self.news.audience.close()

    async def _close(self) -> None:
        await self.news.close()
        await to_thread.run_sync(self.tree.close, limiter=self._readers)


def _checked_base(base_dir: str | os.PathLike[str]) -> str:
    if not isinstance(base_dir, str | os.PathLike):
        raise TypeError(f"base_dir: expected str or a path, got {type(base_dir).__name__}")
    base = os.fspath(base_dir)
    if not isinstance(base, str) or not base or "\0" in base:
        raise ValueError(f"base_dir: expected the path of a folder, got {base!r:.200}")
    return str(Path(base).absolute())


def _wall_clock() -> int:
    return time.time_ns() // 1_000
