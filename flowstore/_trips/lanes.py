"""Lanes: concurrent calls share round trips to the storage.

A lane has at most one trip in flight, and calls made meanwhile leave together in the next. There is no
timer: a lone call leaves at once, and batches grow by themselves as the storage gets slower. Waiting some
milliseconds for company would slow down a lone call and gain nothing under load.

One trip at a time also keeps order: all writes of an id take the same lane, so they reach the storage in the
order of the calls. With two trips in flight, a later write could overtake an earlier one.

A call that finds its lane empty makes the trip itself, in its own task, if the trip before carried a single
call as well: a task, a future and two turns of the loop cost a lone call a quarter of its time. After a trip
of several, the next one leaves from the driver, a turn later, so that a crowd that wakes up together goes
together. What a cancelled caller had in flight for itself alone is cancelled with it.

A caller's deadline starts when it calls, not when its trip leaves. The queue is in order of deadlines, so the
trip's deadline is that of its first call, and a call whose time ran out in the queue is never sent. A caller
that is cancelled does not cancel a trip of several, which carries the writes of others.

The error of a trip does not say which item caused it. So the trip is bisected until the bad item fails alone.
Repeating a part is safe: what failed was rolled back, or the engine recognises a write that it has applied
already. What was carried out, but is not confirmed, is not sent again: after as long a wait, another try
would say that it stands, as if that had been asked. If the storage cannot be reached, bisecting would only
multiply the timeouts: the lane gives up and fails everything in its queue, where each call would otherwise
wait out its deadline in vain.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from copy import copy
from itertools import chain
from typing import Any, Final

from flowstore._trips.background import in_background
from flowstore._trips.deadlines import Deadline, no_answer
from flowstore.engine import let_go
from flowstore.errors import (
    AccessDenied,
    StorageError,
    StorageFull,
    StorageTimeout,
    StorageUnavailable,
    StoreReplaced,
    Unconfirmed,
)

Verb = Callable[[Sequence[Any], int], Coroutine[Any, Any, Sequence[Any]]]

MAX_ITEMS: Final = 500
MAX_TRIP_BYTES: Final = 4 * 2**20
MAX_QUEUED_BYTES: Final = 32 * 2**20
_ITEM_BYTES: Final = 256  # rough overhead of an item beyond its payload


class _Call:
    """The request of one caller: items that travel in one trip, and the future of their answers."""

    __slots__ = ("answer", "deadline", "items", "now", "size", "verb")

    def __init__(self, verb: Verb, items: Sequence[Any], size: int, now: int, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        self.verb = verb
        self.items = items
        self.size = size
        self.now = now
        self.deadline = loop.time() + timeout
        self.answer: asyncio.Future[Sequence[Any]] = loop.create_future()

    def fail(self, error: Exception) -> None:
        if not self.answer.done() and not self.is_orphaned:
            self.answer.set_exception(error)

    @property
    def is_orphaned(self) -> bool:
        """Whether its event loop was closed, so that nobody can wait for the answer."""
        return self.answer.get_loop().is_closed()


class Lane:
    """A queue of calls, in the order in which they were made, with at most one trip in flight."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._deadline = Deadline()
        self._queue: deque[_Call] = deque()
        self._queued_bytes = 0
        self._turns: deque[asyncio.Future[None]] = deque()
        self.bytes_per_answer = 0
        """The average of the last trip. The size of the answers is only known once they are here, so this
        is the estimate that limits the next trip.
        """
        self._driver: asyncio.Task[None] | None = None
        self._was_lone = False
        self._is_taken = False
        """Whether a call makes its trip itself."""

    async def call(self, verb: Verb, items: Sequence[Any], size: int = 0, now: int = 0) -> Sequence[Any]:
        """The answers of ``verb`` to ``items``, in order. ``size``: the payload of the items, in bytes.

        The calls of one trip are carried out with the latest ``now`` among them.
        """
        if not self._was_lone or self._is_taken or self._driver is not None or self._queue:
            return await self.submit(verb, items, size, now)
        self._is_taken = True
        try:
            at = asyncio.get_running_loop().time() + self._timeout
            return await self._deadline.meet(verb(items, now), at)
        except (StorageUnavailable, StoreReplaced) as error:
            self._give_up([], error)
            raise
        except TimeoutError as error:
            if isinstance(error, StorageError):
                raise
            late = no_answer(self._timeout)
            self._give_up([], late)
            raise late from error
        finally:
            self._is_taken = False
            self._start()

    def submit(
        self, verb: Verb, items: Sequence[Any], size: int = 0, now: int = 0
    ) -> asyncio.Future[Sequence[Any]]:
        """The future of what ``call`` returns. A cancelled caller does not cancel the trip."""
        call = _Call(verb, items, size + _ITEM_BYTES * len(items), now, self._timeout)
        self._queue.append(call)
        self._queued_bytes += call.size
        self._start()
        return call.answer

    def _start(self) -> None:
        if not self._queue or self._driver is not None or self._is_taken:
            return
        if not self._queue[0].is_orphaned:  # a call that died with its loop is finalised in any other
            self._driver = in_background(self._drive())
            self._driver.add_done_callback(self._driver_done)

    def _driver_done(self, driver: asyncio.Task[None]) -> None:
        self._driver = None
        self._admit_next()  # the rest of the queue may have been dropped, cancelled or too late
        if driver.cancelled():  # perhaps before its first step
            self._give_up([], StorageError("interrupted before it was carried out"))
        self._start()

    @property
    def queued(self) -> int:
        """How many calls wait for a trip to begin."""
        return len(self._queue)

    @property
    def has_room(self) -> bool:
        return self._queued_bytes < MAX_QUEUED_BYTES and not self._turns

    async def room(self) -> None:
        """Return when the queue has room for another call. First come, first served.

        They are let in one at a time: all at once would see the same room, and overfill it together.
        """
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._turns.append(turn)
        try:
            await turn
        finally:
            self._turns.remove(turn)
            loop.call_soon(self._admit_next)

    async def drained(self) -> None:
        """Return when no trip is in flight and none is queued."""
        while self._driver is not None:
            await asyncio.wait([self._driver])
        self._deadline.stop()

    def abandon(self) -> None:
        """Send nothing any more: its loop is closed, and with it whoever could wait for an answer."""
        self._queue.clear()  # a call of that loop that is finalised later would send it from the next loop
        self._queued_bytes = 0
        let_go(self._driver)

    def _admit_next(self) -> None:
        if self._turns and self._queued_bytes < MAX_QUEUED_BYTES and not self._turns[0].done():
            self._turns[0].set_result(None)

    async def _drive(self) -> None:
        trip: list[_Call] = []
        try:
            while trip := self._take():
                self._was_lone = len(trip) == 1
                self._admit_next()  # before the trip: the next caller encodes while it is on its way
                await self._deliver(trip)
        except BaseException:
            self._give_up(trip, StorageError("interrupted; whether the call was carried out is unknown"))
            raise

    def _take(self) -> list[_Call]:
        """The first call, and those right behind it with the same verb that fit in one trip.

        The first is taken whatever its size. Calls that were cancelled, or whose time is up, are dropped.
        """
        trip: list[_Call] = []
        items = size = 0
        most = min(MAX_ITEMS, MAX_TRIP_BYTES // max(1, self.bytes_per_answer))
        now = asyncio.get_running_loop().time()
        while self._queue:
            call = self._queue[0]
            if call.deadline <= now:
                call.fail(StorageTimeout(f"the storage did not come to this call within {self._timeout:g} s"))
            if not call.answer.done():
                # A call with another verb ends the trip. Skipping it to pick more of the same kind from
                # behind would let a later write of an id overtake an earlier one.
                items += len(call.items)
                size += call.size
                if trip and (call.verb != trip[0].verb or items > most or size > MAX_TRIP_BYTES):
                    break
                trip.append(call)
            self._queue.popleft()
            self._queued_bytes -= call.size
        return trip

    async def _deliver(self, trip: list[_Call]) -> None:
        """Make the trip. If it fails it is bisected, so that a bad item fails its own call only.

        When two single calls in a row fail for lack of space or permission, the items are not to blame, and
        the rest fails without being sent.
        """
        parts, hopeless = [trip], 0
        while parts:
            part = parts.pop()
            try:
                answers = await self._answers(part)
            except (StorageUnavailable, StoreReplaced) as error:
                self._give_up([*part, *chain(*parts)], error)
                return
            except Unconfirmed as error:  # each of them was carried out, and may be no more
                _fail_each(part, error)
            except Exception as error:
                if part[0].is_orphaned:  # the error is that of the closed loop, and would repeat itself
                    raise
                if len(part) > 1:
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]  # a stack: the first half goes first, in order
                    continue
                part[0].fail(error)
                hopeless += isinstance(error, AccessDenied | StorageFull)
                if hopeless == 2:
                    _fail_each(chain(*parts), error)
                    return
            else:
                _answer_each(part, answers)
                hopeless = 0

    async def _answers(self, trip: list[_Call]) -> Sequence[Any]:
        items = [item for call in trip for item in call.items]
        try:
            # The latest: with an earlier one, a record that a caller has seen expire would be live again.
            now = max(call.now for call in trip)
            return await self._deadline.meet(trip[0].verb(items, now), trip[0].deadline)
        except TimeoutError as error:
            if isinstance(error, StorageError):
                raise
            raise no_answer(self._timeout) from error

    def _give_up(self, trip: list[_Call], error: Exception) -> None:
        """Fail the trip and everything behind it: the next trip would fail alike, after as long a wait."""
        calls = [*trip, *self._queue]
        self._queue.clear()
        self._queued_bytes = 0
        _fail_each(calls, error)
        # Those that wait for room as well: they would only queue up behind a storage that is down.
        for turn in self._turns:
            if not turn.done() and not turn.get_loop().is_closed():
                turn.set_exception(copy_of(error))


def portions(sizes: Sequence[int]) -> Iterator[slice]:
    """Where to divide a call of many items, so that each part but one of a single item fits in a trip."""
    start = size = 0
    for place, more in enumerate(sizes):
        size += more
        if size > MAX_TRIP_BYTES and place > start:
            yield slice(start, place)
            start, size = place, more
    yield slice(start, len(sizes))


def _answer_each(trip: list[_Call], answers: Sequence[Any]) -> None:
    start = 0
    for call in trip:
        end = start + len(call.items)
        if not call.answer.done():
            call.answer.set_result(answers[start:end])
        start = end


def _fail_each(calls: Iterable[_Call], error: Exception) -> None:
    for call in calls:
        call.fail(copy_of(error))


def copy_of(error: Exception) -> Exception:
    """A copy of the error for one more caller: a shared one would collect the tracebacks of all of them."""
    twin = copy(error)
    twin.__cause__ = error.__cause__
    return twin
