"""All waits of a backend: one registry, one reader and one timer, however many waiters there are.

A wait registers, reads, then sleeps, in this order. A write before the read is found by the read; a write
after it finds the id registered and sends a hint. Read first, and a write in between goes unnoticed.

Hints may be lost, doubled or late, so a hint decides nothing: it marks the id stale, and the row that the
reader finds decides. Every ``recheck_interval`` all awaited ids turn stale: a lost hint delays a wait, and
never hangs it.

There is one reader. Ids that turn stale during a read share the next one, and rows are applied in the order
of the reads; with two readers an old row could arrive after a newer one.

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
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from flowstore._observing.observers import NOBODY, Observers
from flowstore._trips.background import in_background
from flowstore._waiting.durations import Durations
from flowstore._waiting.outages import Outage
from flowstore._waiting.portions import Portions
from flowstore._waiting.rechecks import Missed, Recheck
from flowstore._waiting.stale import Stale
from flowstore._waiting.subscribers import Follower, Subscriber
from flowstore._waiting.waitlist import REMOVALS, Waiting, Waitlist
from flowstore.engine import ANY_ID, Change, Entry, let_go
from flowstore.errors import BackendClosed, StorageTimeout, StorageUnavailable, WaitsEnded, WaitTimeout
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
    ) -> None:
        self._watch = watch
        self._read = read
        self._decode = decode
        self._clock = clock
        self._recheck = Recheck(recheck_interval, self._look_at_all)
        self._missed = Missed(observers)
        self._durations = Durations(observers, clock)
        self.outage = Outage(observers)
        self._entries: dict[str, Waitlist] = {}
        self._followers: set[Follower] = set()
        self._stale = Stale()
        self._reading: Mapping[str, Waitlist] = {}
        self._reader: asyncio.Task[None] | None = None
        self._is_closed = False
        self.is_refusing = False
        """Whether nobody may begin to wait, as the waits of this backend are over."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def is_waiting(self) -> bool:
        return bool(self._entries) or self._missed.is_expecting

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
        if self._is_closed:
            raise BackendClosed("the backend is closed")
        if self.is_refusing:
            raise WaitsEnded(_SHUTDOWN)
        entry = self._entries.get(task_id)
        if entry is None:
            entry = self._entries[task_id] = Waitlist(self._clock())
        elif self._reading.get(task_id) is entry:
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
        entry = self._entries.get(task_id)
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
        entry = self._entries.get(task_id)
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
        del self._entries[task_id]
        self._stale.discard(task_id)
        if not self._entries:
            self._recheck.stop()

    def changed(self, ids: Collection[str], change: Change, at: int | None = None) -> None:
        for follower in self._followers:
            follower.heard(ids, change)
        for task_id in ids:
            self._missed.hinted(task_id)
            entry = self._entries.get(task_id)
            if entry is None:
                continue
            if change in _ENDS:
                self._stale.add_finished(task_id)
            elif change in REMOVALS or not entry.is_seen or entry.heeds(change):
                # Other changes matter only to watchers, but the first one tells when the record expires.
                self._stale.add((task_id,))
            entry.note(change, at)
        self._start_reading()

    def interrupted(self, error: Exception) -> None:
        self.outage.hints_lost(error)

    def look_again(self) -> None:
        self._missed.stop_asking()
        for follower in self._followers:
            follower.cut_off()
        self._mark_stale(self._entries)
        self.outage.hints_back()

    def _look_at_all(self) -> None:
        """As it is time. What is to be read anyway will not have been found by that."""
        self._missed.ask(self._entries.keys() - self._stale.ids - self._reading.keys())
        self._durations.rechecked(len(self._entries))
        for follower in self._followers:
            follower.missed()
        self._mark_stale(self._entries)

    def end(self) -> None:
        """Wake all waiters with WaitsEnded, and let nobody wait any more."""
        self.is_refusing = True
        self._end_all(WaitsEnded(_SHUTDOWN))

    async def close(self) -> None:
        """Wake all waiters with BackendClosed and stop the reader."""
        self._is_closed = True
        self._end_all(BackendClosed("the backend was closed during the wait"))
        self._missed.close()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])

    def _end_all(self, error: BackendClosed) -> None:
        for entry in self._entries.values():
            entry.join()
        self._settle_all(list(self._entries), error)
        self._stale.clear()
        self._recheck.stop()

    def abandon(self) -> None:
        """Stop: the loop is closed, so nobody can be woken."""
        self._is_closed = True
        let_go(self._reader)

    def time_out(self, task_id: str, future: Waiting, timeout: float) -> None:
        if not future.done():
            error = WaitTimeout(task_id, timeout)
            error.__cause__ = self.outage.trouble
            future.set_exception(error)

    def _mark_stale(self, ids: Iterable[str]) -> None:
        self._stale.add(ids)
        self._start_reading()

    def _start_reading(self) -> None:
        if self._stale and self._reader is None and not self._is_closed:
            self._reader = in_background(self._read_stale())
            self._reader.add_done_callback(self._reader_done)

    def _reader_done(self, reader: asyncio.Task[None]) -> None:
        self._reader = None
        if not reader.cancelled() and (error := reader.exception()) is not None:
            self._settle_all(list(self._entries), RuntimeError(f"reading awaited results failed: {error!r}"))
        self._start_reading()

    async def _read_stale(self) -> None:
        """Read until nothing is stale. An outage is ridden out; each wait has a deadline of its own."""
        portions = Portions()
        self.outage.start_again()
        while self._stale and not self._is_closed:
            batch, is_enough = self._stale.take(portions.size)
            read = self._read if is_enough else self._watch
            self._reading = {task_id: self._entries[task_id] for task_id in batch}
            # Before the await: a hint during the read may be about a write that the read cannot see.
            seen = [entry.is_seen for entry in self._reading.values()]
            try:
                rows = await read(batch)
            except StorageUnavailable as error:
                self._missed.stop_asking()
                self._put_back(batch)
                self.outage.read_failed(error)
                if isinstance(error, StorageTimeout):
                    portions.timed_out(len(batch))
            except Exception as error:
                self._settle_all(batch, error)
            except BaseException:  # all tasks of the loop were cancelled; the rest may still be awaited
                self._put_back(batch)
                raise
            else:
                self.outage.read_answered()
                portions.answered(rows)
                await self._show_rows(batch, list(rows), seen, read)
            finally:
                # Only now: joined earlier, the later ones would be settled by this very read.
                for entry in self._reading.values():
                    entry.join()
                self._reading = {}
            if self.outage.trouble is not None:
                await self.outage.pause()

    async def _show_rows(
        self, batch: list[str], rows: list[Entry | None], seen: list[bool], read: Read
    ) -> None:
        """Apply the rows. Others have their turn in between: to decode a large result takes milliseconds."""
        clock = asyncio.get_running_loop().time
        rested = clock()
        for place, task_id in enumerate(batch):
            self._show_row(task_id, rows[place], seen[place], read)
            rows[place] = None  # read bytes and decoded values of all of them would be twice the memory
            if clock() - rested > _LONGEST_TURN:
                try:
                    await asyncio.sleep(0)
                except BaseException:
                    self._put_back(batch[place + 1 :])
                    raise
                rested = clock()

    def _show_row(self, task_id: str, row: Entry | None, was_seen: bool, read: Read) -> None:
        """Apply a row to those it was read for. ``was_seen``: seen before this read began."""
        entry = self._entries.get(task_id)
        # During the read all of them may have left and others come: a new waitlist, newer than the row.
        if entry is None or entry is not self._reading[task_id]:
            return
        if task_id == ANY_ID:
            for follower in self._followers:
                follower.registered()
        if row is not None and row.status not in _UNFINISHED and not row.is_expired(self._clock()):
            self._durations.woken(task_id, entry.futures, row.updated_at)
            self._settle(task_id, entry, self._outcome(row))
        elif read is self._read:  # the hint was outdated, and the registration ended with it
            self._stale.add((task_id,))
        else:
            self._settle_unfinished(task_id, entry, was_seen, row)
        is_over = self._entries.get(task_id) is not entry
        if not is_over and read is self._watch:
            self._durations.subscribed(task_id, entry.futures)
        self._missed.answered(task_id, is_over=is_over)

    def _put_back(self, batch: Iterable[str]) -> None:
        self._stale.add(task_id for task_id in batch if task_id in self._entries)

    def _settle_all(self, ids: Iterable[str], error: Exception) -> None:
        for task_id in ids:
            if (entry := self._entries.get(task_id)) is not None:
                self._settle(task_id, entry, error)

    def _settle(self, task_id: str, entry: Waitlist, outcome: TaskResult | Exception) -> None:
        """End all waits of ``entry``. Those that joined later start afresh, with nothing seen or gone."""
        # The entry leaves the registry before its futures are released, so that a wait that begins in
        # between is never merged into one that has its outcome.
        entry.settle(outcome)
        if entry.later is not None:
            self._entries[task_id], entry.later = entry.later, None
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
