"""Hints for a storage that cannot push: what is awaited is looked at again and again.

One poll asks for all awaited ids together, however many wait for each, and there are none while nobody waits.
What was stored and replaced between two polls is never told, and no wait needs it: hints may be lost. A store
of any id cannot be found that way, so whoever watches all of them is told to look again, and reads the
history.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import islice
from typing import Final

from flowstore.engine.hints import ANY_ID, Change, Hints
from flowstore.engine.orphans import let_go
from flowstore.engine.rows import FINAL, STATUSES, Entry
from flowstore.engine.verbs import Engine
from flowstore.engine.wrapper import EngineWrapper
from flowstore.errors import StorageError

_STEP: Final = 500
_ENDS: Final = frozenset({*map(Change, FINAL), Change.DELETED, Change.EXPIRED})
"""The changes after which whoever still waits watches again."""
_IN_PLACE: Final = ("progress", "expires_at", "check")
"""What changes without a write of the record."""


def _wall_clock() -> int:
    return time.time_ns() // 1_000


class Polling(EngineWrapper):
    """``inner``, whose ``watch`` only has to read; what it reports itself is passed on as well.

    ``interval``: the time between two polls, as seconds or a timedelta. ``clock``: microseconds since the
    epoch, to tell what has expired from what was deleted, and to forget what nobody watched again.
    """

    def __init__(
        self,
        inner: Engine,
        interval: float | timedelta = 0.05,
        clock: Callable[[], int] = _wall_clock,
    ) -> None:
        super().__init__(inner)
        self._interval = interval.total_seconds() if isinstance(interval, timedelta) else interval
        self._clock = clock
        self._hints: Hints
        self._watched: dict[str, tuple[Entry | None, int]] = {}
        """By id what stood there when it was last read, and until when to look."""
        self._poller: asyncio.Task[None] | None = None

    async def open(self, hints: Hints) -> None:
        self._hints = hints
        await self.inner.open(hints)

    async def close(self) -> None:
        if (poller := self._poller) is not None:
            poller.cancel()
            await asyncio.wait([poller])
        await self.inner.close()

    def abandon(self) -> None:
        let_go(self._poller)
        self._poller = None
        self._watched = {}
        super().abandon()

    async def watch(self, ids: Sequence[str], until: int) -> list[Entry | None]:
        entries = await self.inner.watch(ids, until)
        # Only now: what is written from here on differs from what was just read.
        self._watched.update(
            (task_id, (_seen(entry), until)) for task_id, entry in zip(ids, entries, strict=True)
        )
        if self._poller is None:
            self._poller = asyncio.get_running_loop().create_task(self._poll())
        return entries

    async def _poll(self) -> None:
        is_broken = False
        try:
            while self._watched:
                await asyncio.sleep(self._interval)
                if not self._hints.is_waiting:
                    self._watched.clear()
                    return
                try:
                    await self._look()
                except StorageError:  # whoever waits meets it as well, in a read of its own
                    is_broken = True
                    continue
                if is_broken:
                    self._hints.look_again()
                is_broken = False
        finally:
            self._poller = None  # in the step that ends it: a watch that follows starts another one

    async def _look(self) -> None:
        ids = iter([task_id for task_id in self._watched if task_id != ANY_ID])
        while step := list(islice(ids, _STEP)):
            watched = {task_id: self._watched[task_id] for task_id in step}
            entries = await self.inner.read(step, with_body=False)
            for (task_id, known), entry in zip(watched.items(), entries, strict=True):
                if self._watched[task_id] is known:  # else it was watched again, and this may be older
                    self._compare(task_id, entry, *known)
        if ANY_ID in self._watched:
            self._hints.look_again()

    def _compare(self, task_id: str, entry: Entry | None, before: Entry | None, until: int) -> None:
        now = self._clock()
        change = _change(before, entry, now)
        is_at_end = change in _ENDS and (entry is None or change is not Change.EXPIRED)
        if is_at_end or until <= now:
            del self._watched[task_id]
        else:
            self._watched[task_id] = _seen(entry), until
        if change is not None:
            self._hints.changed([task_id], change)


def _seen(entry: Entry | None) -> Entry | None:
    return entry and entry._replace(body=None)


def _change(before: Entry | None, after: Entry | None, now: int) -> Change | None:
    """What happened in between, if anything. Of several changes the last one counts."""
    if before == after:
        return None
    if after is None or after.status not in STATUSES:  # what cannot be read is gone, too
        return Change.EXPIRED if before is not None and before.is_expired(now) else Change.DELETED
    if before is None or before._replace(**{name: getattr(after, name) for name in _IN_PLACE}) != after:
        return Change(after.status)
    return Change.REPORTED if before.expires_at == after.expires_at else Change.EXPIRED
