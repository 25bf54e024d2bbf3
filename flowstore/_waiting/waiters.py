"""All waits of a backend: one registry, one reader and one timer, however many waiters there are.

A wait registers, reads, then sleeps, in this order. A write before the read is found by the read; a write
after it finds the id registered and sends a hint. Read first, and a write in between goes unnoticed.

Hints may be lost, doubled or late, so a hint decides nothing: it marks the id stale, and the row that the
reader finds decides. Every ``recheck_interval`` all awaited ids turn stale: a lost hint delays a wait, and
never hangs it.

There is one reader for each part of the storage. Ids that turn stale during a read share the next one.

A read may be older than a wait that begins while it is in flight. Such a wait joins ``Waitlist.later`` and is
settled by a read of its own; otherwise a wait begun after ``store`` had returned could get what stood before.

An absent record is either not stored yet or gone. It is gone only if it had been seen before the read began
(``was_seen``, taken before the await): a hint that arrives during the read may be about a write that the read
was too early to find, and the wait would end with ResultDeleted just as its task starts.

A hint of a finished status is followed by ``read``, which registers nothing and is cheaper. If the record is
not finished after all, the id is watched again, since the storage dropped the registration with its hint.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Final

from flowstore._observing.observers import NOBODY, Observers
from flowstore._waiting.durations import Durations
from flowstore._waiting.outages import Outage
from flowstore._waiting.reading import Batch, Reader
from flowstore._waiting.rechecks import Missed, Recheck
from flowstore._waiting.subscribers import Follower, Subscriber
from flowstore._waiting.waitlist import REMOVALS, Waiting, Waitlist
from flowstore.engine import ANY_ID, Change, Entry
from flowstore.errors import BackendClosed, StorageUnavailable, WaitsEnded, WaitTimeout
from flowstore.models import FINISHED, TaskResult, TaskStatus

_LONGEST_TURN: Final = 0.005
_SHUTDOWN: Final = "the program is shutting down, and waits for no results any more"
_ENDS: Final = frozenset(map(Change, FINISHED))
_UNFINISHED: Final = frozenset(TaskStatus) - FINISHED

Read = Callable[[Sequence[str]], Awaitable[Sequence[Entry | None]]]


class Waiters:
    """The waits of one backend, and the ``Hints`` that its engine reports to. Lives in one event loop."""

    def __init__(
        self,
        watch: Read,
        read: Read,
        decode: Callable[[Entry], TaskResult],
        clock: Callable[[], int],
        recheck_interval: float,
        observers: Observers = NOBODY,
        part_of: Callable[[str], int] = lambda _: 0,
    ) -> None:
        self._watch = watch
        self._read = read
        self._decode = decode
        self._clock = clock
        self._recheck = Recheck(recheck_interval, self._look_at_all)
        self._missed = Missed(observers)
        self._durations = Durations(observers, clock)
        self.outage = Outage(observers)
        self.entries: dict[str, Waitlist] = {}
        self._followers: set[Follower] = set()
        self._part_of = part_of
        self._readers: dict[int, Reader] = {}
        """By the part that each reads."""
        self.is_closed = False
        self.is_refusing = False
        """Whether nobody may begin to wait, as the waits of this backend are over."""

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def is_waiting(self) -> bool:
        return bool(self.entries) or self._missed.is_expecting

    def register(self, task_id: str, timeout: float | None = None, call: int = 0) -> Waiting:
        """A future of the finished result. Every future must be given back with ``release``.

        It fails with WaitTimeout after ``timeout`` seconds; None: never. ``call``: one of CALLS.
        """
        entry, loop = self._entry(task_id), asyncio.get_running_loop()
        future: Waiting = loop.create_future()
        entry.futures[future] = (
            None if timeout is None else loop.call_later(timeout, self.time_out, task_id, future, timeout)
        )
        self._durations.begin(task_id, future, call)
        self._read_soon(task_id)
        return future

    def _entry(self, task_id: str) -> Waitlist:
        """The waitlist that a new member joins: not one whose read is in flight, which may be too old."""
        if self.is_closed:
            raise BackendClosed("the backend is closed")
        if self.is_refusing:
            raise WaitsEnded(_SHUTDOWN)
        entry = self.entries.get(task_id)
        if entry is None:
            entry = self.entries[task_id] = Waitlist(self._clock())
        elif self._reader(task_id).lists.get(task_id) is entry:
            entry.later = entry.later or Waitlist(self._clock())
            return entry.later
        return entry

    def _read_soon(self, task_id: str) -> None:
        self._mark_stale((task_id,))
        self._recheck.start()

    def show_to(self, task_id: str, subscriber: Subscriber) -> None:
        """Show the current state to ``subscriber``, and those that follow. End it with ``unwatch``."""
        self._entry(task_id).watchers.add(subscriber)
        self._read_soon(task_id)

    def unwatch(self, task_id: str, watcher: Subscriber) -> None:
        entry = self.entries.get(task_id)
        if entry is not None:
            entry.unwatch(watcher)
            self._drop_unused(task_id, entry)

    def follow(self, follower: Follower) -> None:
        """Pass the changes of all ids to ``follower``. End it with ``unfollow``."""
        self._entry(ANY_ID).watchers.add(follower)
        self._followers.add(follower)
        self._read_soon(ANY_ID)

    def unfollow(self, follower: Follower) -> None:
        self._followers.discard(follower)
        self.unwatch(ANY_ID, follower)

    def release(self, task_id: str, future: Waiting) -> None:
        """End a wait, whatever its outcome."""
        if future.done() and not future.cancelled():
            future.exception()  # marks it as retrieved; the loop would log it otherwise
        entry = self.entries.get(task_id)
        if entry is not None:
            entry.release(future)
            self._drop_unused(task_id, entry)
        self._durations.end(task_id, future)

    def _drop_unused(self, task_id: str, entry: Waitlist) -> None:
        if entry.later is not None and entry.later.is_unused:
            entry.later = None
        if entry.is_unused:
            entry.stop_timer()
            self._remove(task_id)

    def _remove(self, task_id: str) -> None:
        del self.entries[task_id]
        self._reader(task_id).stale.discard(task_id)
        if not self.entries:
            self._recheck.stop()

    def changed(self, ids: Collection[str], change: Change, at: int | None = None) -> None:
        for follower in self._followers:
            follower.heard(ids, change)
        for task_id in ids:
            self._missed.hinted(task_id)
            entry = self.entries.get(task_id)
            if entry is None:
                continue
            reader = self._reader(task_id)
            if change in _ENDS:
                reader.stale.add_finished(task_id)
            elif change in REMOVALS or not entry.is_seen or entry.heeds(change):
                # Other changes matter only to watchers, but the first one tells when the record expires.
                reader.stale.add((task_id,))
            entry.note(change, at)
            reader.start()

    def interrupted(self, error: Exception) -> None:
        self.outage.hints_lost(error)

    def look_again(self) -> None:
        self._missed.stop_asking()
        for follower in self._followers:
            follower.cut_off()
        self._mark_stale(self.entries)
        self.outage.hints_back()

    def _look_at_all(self) -> None:
        """As it is time. What is to be read anyway will not have been found by that."""
        others = set(self.entries)
        for reader in self._readers.values():
            others -= reader.stale.ids | reader.lists.keys()
        self._missed.ask(others)
        self._durations.rechecked(len(self.entries))
        for follower in self._followers:
            follower.missed()
        self._mark_stale(self.entries)

    def end(self) -> None:
        """Wake all waiters with WaitsEnded, and let nobody wait any more."""
        self.is_refusing = True
        self._end_all(WaitsEnded(_SHUTDOWN))

    async def close(self) -> None:
        """Wake all waiters with BackendClosed and stop the readers."""
        self.is_closed = True
        self._end_all(BackendClosed("the backend was closed during the wait"))
        self._missed.close()
        for reader in self._readers.values():
            await reader.close()

    def _end_all(self, error: BackendClosed) -> None:
        for entry in self.entries.values():
            entry.join()
        self.settle_all(list(self.entries), error)
        for reader in self._readers.values():
            reader.stale.clear()
        self._recheck.stop()

    def abandon(self) -> None:
        """Stop: the loop is closed, so nobody can be woken."""
        self.is_closed = True
        for reader in self._readers.values():
            reader.abandon()

    def time_out(self, task_id: str, future: Waiting, timeout: float) -> None:
        if not future.done():
            error = WaitTimeout(task_id, timeout)
            error.__cause__ = self.trouble_of(task_id)
            future.set_exception(error)

    def trouble_of(self, task_id: str) -> StorageUnavailable | None:
        """Why it could not be read, if the last attempt has failed."""
        return self.outage.troubles.get(self._part_of(task_id))

    def _mark_stale(self, ids: Iterable[str]) -> None:
        for task_id in ids:
            reader = self._reader(task_id)
            reader.stale.add((task_id,))
            reader.start()

    def _reader(self, task_id: str) -> Reader:
        part = self._part_of(task_id)
        reader = self._readers.get(part)
        if reader is None:
            reader = self._readers[part] = Reader(self, part)
        return reader

    @property
    def reading(self) -> int:
        return sum(reader.is_at_work for reader in self._readers.values())

    def ids_of(self, part: int) -> list[str]:
        return [task_id for task_id in self.entries if self._part_of(task_id) == part]

    def ask(self, ids: Sequence[str], *, is_enough: bool) -> Awaitable[Sequence[Entry | None]]:
        return self._read(ids) if is_enough else self._watch(ids)

    def read_failed(self, part: int, error: StorageUnavailable) -> None:
        self._missed.stop_asking()
        self.outage.read_failed(part, error)

    def read_answered(self, part: int) -> None:
        self.outage.read_answered(part)

    async def show(self, reader: Reader, batch: Batch, rows: list[Entry | None]) -> None:
        """Apply the rows. Others have their turn in between: to decode a large result takes milliseconds."""
        clock = asyncio.get_running_loop().time
        rested = clock()
        for place, task_id in enumerate(batch.ids):
            self._show_row(task_id, rows[place], batch.seen[place], batch)
            rows[place] = None  # read bytes and decoded values of all of them would be twice the memory
            if clock() - rested > _LONGEST_TURN:
                try:
                    await asyncio.sleep(0)
                except BaseException:
                    reader.put_back(batch.ids[place + 1 :])
                    raise
                rested = clock()

    def _show_row(self, task_id: str, row: Entry | None, was_seen: bool, batch: Batch) -> None:
        """Apply a row to those it was read for. ``was_seen``: seen before this read began."""
        entry = self.entries.get(task_id)
        # During the read all of them may have left and others come: a new waitlist, newer than the row.
        if entry is None or entry is not batch.lists[task_id]:
            return
        if task_id == ANY_ID:
            for follower in self._followers:
                follower.registered()
        if row is not None and row.status not in _UNFINISHED and not row.is_expired(self._clock()):
            self._durations.woken(task_id, entry.futures, row.updated_at)
            self._settle(task_id, entry, self._outcome(row))
        elif batch.is_enough:  # the hint was outdated, and the registration ended with it
            self._reader(task_id).stale.add((task_id,))
        else:
            self._settle_unfinished(task_id, entry, was_seen, row)
        is_over = self.entries.get(task_id) is not entry
        if not is_over and not batch.is_enough:
            self._durations.subscribed(task_id, entry.futures)
        self._missed.answered(task_id, is_over=is_over)

    def settle_all(self, ids: Iterable[str], error: Exception) -> None:
        for task_id in ids:
            if (entry := self.entries.get(task_id)) is not None:
                self._settle(task_id, entry, error)

    def _settle(self, task_id: str, entry: Waitlist, outcome: TaskResult | Exception) -> None:
        """End all waits of ``entry``. Those that joined later start afresh, with nothing seen or gone."""
        # The entry leaves the registry before its futures are released, so that a wait that begins in
        # between is never merged into one that has its outcome.
        entry.settle(outcome)
        if entry.later is not None:
            self.entries[task_id], entry.later = entry.later, None
        else:
            self._remove(task_id)

    def _settle_unfinished(self, task_id: str, entry: Waitlist, was_seen: bool, row: Entry | None) -> None:
        now = self._clock()
        if row is None or row.is_expired(now):
            if gone := entry.gone_by(was_seen, row is not None, now):
                self._settle(task_id, entry, gone(task_id))
        else:
            entry.is_seen, entry.gone, entry.expires_at = True, None, row.expires_at
            entry.arm(now, lambda: self._mark_stale((task_id,)))
            if entry.watchers:
                entry.show(self._outcome(row._replace(body=None)))

    def _outcome(self, row: Entry) -> TaskResult | Exception:
        try:
            return self._decode(row)
        except Exception as error:
            return error
