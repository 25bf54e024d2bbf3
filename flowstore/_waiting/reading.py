"""Who reads awaited ids: one reader for each part of the storage, or one for all where there are no parts.

A part that cannot be reached, or does not answer, holds up its own reader only. An id is of one part, so its
rows come from one reader, in the order of the reads: with two, an old row could arrive after a newer one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from flowstore._trips.background import in_background
from flowstore._trips.patience import Pauses
from flowstore._waiting.portions import Portions
from flowstore._waiting.stale import Stale
from flowstore._waiting.waitlist import Waitlist
from flowstore.engine import Entry, let_go
from flowstore.errors import StorageTimeout, StorageUnavailable


@dataclass
class Batch:
    """What was read for whom. ``is_enough``: it was a ``read``, which has registered nothing."""

    ids: Sequence[str]
    lists: Mapping[str, Waitlist]
    seen: Sequence[bool]
    """For each whether the record had been seen before the read began."""
    is_enough: bool


class Waits(Protocol):
    """Those that a reader works for."""

    entries: dict[str, Waitlist]

    @property
    def is_closed(self) -> bool: ...

    @property
    def reading(self) -> int:
        """How many readers are at work."""

    def ask(self, ids: Sequence[str], *, is_enough: bool) -> Awaitable[Sequence[Entry | None]]: ...

    async def show(self, reader: Reader, batch: Batch, rows: list[Entry | None]) -> None: ...

    def settle_all(self, ids: Iterable[str], error: Exception) -> None: ...

    def read_failed(self, part: int, error: StorageUnavailable) -> None: ...

    def read_answered(self, part: int) -> None: ...

    def ids_of(self, part: int) -> list[str]:
        """All that are awaited in a part."""


class Reader:
    """Reads what is stale in a part until nothing is."""

    def __init__(self, waits: Waits, part: int) -> None:
        self.stale = Stale()
        self.lists: Mapping[str, Waitlist] = {}
        """Those whose read is in flight."""
        self._waits = waits
        self._part = part
        self._pauses = Pauses()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_at_work(self) -> bool:
        return self._task is not None

    def start(self) -> None:
        if self.stale and self._task is None and not self._waits.is_closed:
            self._task = in_background(self._read_stale())
            self._task.add_done_callback(self._done)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def abandon(self) -> None:
        let_go(self._task)

    def put_back(self, ids: Iterable[str]) -> None:
        self.stale.add(task_id for task_id in ids if task_id in self._waits.entries)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            failure = RuntimeError(f"reading awaited results failed: {error!r}")
            self._waits.settle_all(self._waits.ids_of(self._part), failure)
        self.start()

    async def _read_stale(self) -> None:
        """Read until nothing is stale. An outage is ridden out; each wait has a deadline of its own."""
        portions = Portions()
        self._pauses.reset()
        while self.stale and not self._waits.is_closed:
            ids, is_enough = self.stale.take(max(1, portions.size // self._waits.reading))
            self.lists = {task_id: self._waits.entries[task_id] for task_id in ids}
            # Before the await: a hint during the read may be about a write that the read cannot see.
            seen = [entry.is_seen for entry in self.lists.values()]
            is_lost = False
            try:
                rows = await self._waits.ask(ids, is_enough=is_enough)
            except StorageUnavailable as error:
                is_lost = True
                self.put_back(ids)
                self._waits.read_failed(self._part, error)
                if isinstance(error, StorageTimeout):
                    portions.timed_out(len(ids))
            except Exception as error:
                self._waits.settle_all(ids, error)
            except BaseException:  # all tasks of the loop were cancelled; the rest may still be awaited
                self.put_back(ids)
                raise
            else:
                self._pauses.reset()
                self._waits.read_answered(self._part)
                portions.answered(rows)
                await self._waits.show(self, Batch(ids, self.lists, seen, is_enough), list(rows))
            finally:
                # Only now: joined earlier, the later ones would be settled by this very read.
                for entry in self.lists.values():
                    entry.join()
                self.lists = {}
            if is_lost:
                await asyncio.sleep(self._pauses.next())
