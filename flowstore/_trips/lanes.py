"""Concurrent calls share trips to the storage: what is asked for during a trip leaves together in the next.

No call waits for others to join it, so one that comes alone leaves at once. Writes of one id keep the
order in which they were asked for: they share a lane, where one trip is under way at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from copy import copy
from itertools import chain
from typing import Any, Final

from flowstore._trips.deadlines import Deadline, no_answer
from flowstore.errors import (
    AccessDenied,
    StorageError,
    StorageFull,
    StorageTimeout,
    StorageUnavailable,
    StoreReplaced,
)

Verb = Callable[[list[Any], int], Coroutine[Any, Any, Sequence[Any]]]

MAX_ITEMS: Final = 500
MAX_TRIP_BYTES: Final = 4 * 2**20
MAX_QUEUED_BYTES: Final = 32 * 2**20
_ITEM_BYTES: Final = 256  # about what an item weighs beyond its payload


class _Call:
    """What one caller asked for: items for one trip, and where their answers go."""

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
        if not self.answer.done() and not self.is_forsaken:
            self.answer.set_exception(error)

    @property
    def is_forsaken(self) -> bool:
        """Whether its event loop was closed under it, so that nobody can wait for the answer."""
        return self.answer.get_loop().is_closed()


class Lane:
    """Calls in the order of asking, of which at most one trip is under way."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._deadline = Deadline()
        self._queue: deque[_Call] = deque()
        self._queued_bytes = 0
        self._turns: deque[asyncio.Future[None]] = deque()
        self.bytes_per_answer = 0
        """What the answers of the last trip weighed: how much the next will bring is not known before."""
        self._driver: asyncio.Task[None] | None = None

    def submit(
        self, verb: Verb, items: Sequence[Any], size: int = 0, now: int = 0
    ) -> asyncio.Future[Sequence[Any]]:
        """The answers of ``verb`` to ``items``, in order. ``size``: what the items weigh, in bytes.

        A trip happens at the latest ``now`` of its calls.
        """
        call = _Call(verb, items, size + _ITEM_BYTES * len(items), now, self._timeout)
        self._queue.append(call)
        self._queued_bytes += call.size
        self._start()
        return call.answer

    def _start(self) -> None:
        if self._queue and self._driver is None:
            self._driver = asyncio.get_running_loop().create_task(self._drive())
            self._driver.add_done_callback(self._ended)

    def _ended(self, driver: asyncio.Task[None]) -> None:
        self._driver = None
        if driver.cancelled():  # perhaps before its first step
            self._give_up([], StorageError("interrupted before it was carried out"))
        self._start()

    @property
    def has_room(self) -> bool:
        return self._queued_bytes < MAX_QUEUED_BYTES and not self._turns

    async def room(self) -> None:
        """Return when the queue is short enough for another call; first come, first let in, one at a time."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._turns.append(turn)
        try:
            await turn
        finally:
            self._turns.remove(turn)
            loop.call_soon(self._let_in)

    async def drained(self) -> None:
        """Return when no trip is under way and none is asked for."""
        while self._driver is not None:
            await asyncio.wait([self._driver])
        self._deadline.stop()

    def _let_in(self) -> None:
        if self._turns and self._queued_bytes < MAX_QUEUED_BYTES and not self._turns[0].done():
            self._turns[0].set_result(None)

    async def _drive(self) -> None:
        trip: list[_Call] = []
        try:
            while trip := self._take():
                self._let_in()
                await self._deliver(trip)
        except BaseException:
            self._give_up(trip, StorageError("interrupted; whether the call was carried out is unknown"))
            raise

    def _take(self) -> list[_Call]:
        """The first call, and those right behind it with the same verb while they fit in one trip.

        A call that was cancelled or is too late takes no room.
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
                items += len(call.items)
                size += call.size
                if trip and (call.verb != trip[0].verb or items > most or size > MAX_TRIP_BYTES):
                    break
                trip.append(call)
            self._queue.popleft()
            self._queued_bytes -= call.size
        return trip

    async def _deliver(self, trip: list[_Call]) -> None:
        """Make the trip. One that fails is made again in halves, so that a bad item fails alone.

        Where two in a row fail alone for want of room or of a right, it is not the items, and the rest
        fails untried.
        """
        parts, hopeless = [trip], 0
        while parts:
            part = parts.pop()
            try:
                answers = await self._answers(part)
            except (StorageUnavailable, StoreReplaced) as error:
                self._give_up([*part, *chain(*parts)], error)
                return
            except Exception as error:
                if part[0].is_forsaken:
                    raise
                if len(part) > 1:
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
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
            now = max(call.now for call in trip)
            return await self._deadline.meet(trip[0].verb(items, now), trip[0].deadline)
        except TimeoutError as error:
            if isinstance(error, StorageError):
                raise
            raise no_answer(self._timeout) from error

    def _give_up(self, trip: list[_Call], error: Exception) -> None:
        """Fail the trip, and who waits behind it: the next would fare alike, and take as long to find out."""
        calls = [*trip, *self._queue]
        self._queue.clear()
        self._queued_bytes = 0
        _fail_each(calls, error)
        for turn in self._turns:
            if not turn.done() and not turn.get_loop().is_closed():
                turn.set_exception(another(error))


def _answer_each(trip: list[_Call], answers: Sequence[Any]) -> None:
    start = 0
    for call in trip:
        end = start + len(call.items)
        if not call.answer.done():
            call.answer.set_result(answers[start:end])
        start = end


def _fail_each(calls: Iterable[_Call], error: Exception) -> None:
    for call in calls:
        call.fail(another(error))


def another(error: Exception) -> Exception:
    """An equal error for one more caller; each collects a traceback of its own."""
    twin = copy(error)
    twin.__cause__ = error.__cause__
    return twin
